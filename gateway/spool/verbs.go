package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kick makes waiting items that match due now, oldest first, and says how many. Held and running ones stay as they are.
// match sees Lane and Side, NextAttempt, Received and ID; nil matches all. It serves recovery of a next hop, as "all of this side".
func (s *Scheduler) Kick(match func(Entry) bool) int {
	s.mu.Lock()
	now, count := s.opt.Now().UnixNano(), 0
	for _, n := range s.nodes {
		if n.where != inTimers || n.held {
			continue
		}
		e := Entry{ID: n.id, Lane: n.lane.name, State: Waiting, NextAttempt: fromNano(n.due), Received: fromNano(n.received)}
		if match != nil && !match(e) {
			continue
		}
		count++
		if n.due > now {
			s.timers.remove(n)
			n.due = now
			s.timers.push(n)
		}
	}
	s.mu.Unlock()
	s.signal()
	return count
}

// Retry makes one item due now, in the store too, so that it holds when nothing runs the queue at the moment. It returns ErrHeld
// for a held one, ErrNotFound, and nil for one that is being delivered.
func (s *Scheduler) Retry(ctx context.Context, id string) error {
	s.mu.Lock()
	n := s.nodes[id]
	running := n != nil && n.where == inRun
	held := n != nil && n.held && !running
	s.mu.Unlock()
	switch {
	case n == nil:
		_, err := s.opt.Store.Get(ctx, id) // one that its session still delivers is running
		return err
	case held:
		return fmt.Errorf("%w: %s", ErrHeld, id)
	case running:
		return nil
	}
	err := s.change(ctx, id, func(it *Item) error {
		if it.State != Held { // since it was looked at
			it.NextAttempt = s.opt.Now()
		}
		return s.opt.Store.Release(ctx, it)
	})
	if errors.Is(err, ErrFull) { // delivering is what makes room
		s.Kick(func(e Entry) bool { return e.ID == id })
		return nil
	}
	return err
}

// Hold stops attempts for an item until Release, or until the given time unless that is zero. An attempt under way ends first.
func (s *Scheduler) Hold(ctx context.Context, id string, until time.Time, why string) error {
	return s.change(ctx, id, func(it *Item) error {
		it.State, it.HeldUntil, it.Why = Held, until, why
		return s.opt.Store.Release(ctx, it)
	})
}

// Release makes a held item due now. It does nothing to one that is not held.
func (s *Scheduler) Release(ctx context.Context, id string) error {
	return s.change(ctx, id, func(it *Item) error {
		if it.State == Held {
			it.unhold()
			it.NextAttempt = s.opt.Now()
		}
		return s.opt.Store.Release(ctx, it)
	})
}

// Drop removes an item for good. before, unless nil, is called with the item ahead of that, and can stop it with an error: it is the
// place to make a DSN.
func (s *Scheduler) Drop(ctx context.Context, id string, before func(*Item) error) error {
	return s.change(ctx, id, func(it *Item) error {
		if before != nil {
			if err := before(it); err != nil {
				return err
			}
		}
		if err := s.opt.Store.Remove(ctx, it); err != nil {
			return err
		}
		it.ID = ""
		return nil
	})
}

// change gives an item that is not being delivered to f, under a lease. f releases it, or removes it and empties its ID.
func (s *Scheduler) change(ctx context.Context, id string, f func(*Item) error) error {
	n, it, err := s.take(ctx, id)
	if err != nil {
		return err
	}
	before := it.clone()
	err = f(it)
	switch {
	case err == nil && it.ID == "":
		s.finish(n, nil)
		return nil
	case err == nil:
		s.finish(n, entryOf(it))
		return nil
	}
	// The store refused: give the item back as it was. When even that fails, the lease ends with the process.
	if rerr := s.opt.Store.Release(context.WithoutCancel(ctx), before); rerr != nil {
		s.log.Error("giving an item back", "id", id, "error", rerr)
		s.finish(n, n.again(s.opt.Now().Add(time.Minute)))
	} else {
		s.finish(n, entryOf(before))
	}
	return err
}

// take waits until an item is not being delivered, by the scheduler or a session, and takes it out of the schedule.
func (s *Scheduler) take(ctx context.Context, id string) (*node, *Item, error) {
	for {
		s.mu.Lock()
		n := s.nodes[id]
		if n != nil && n.where == inRun {
			done := n.done
			s.mu.Unlock()
			select {
			case <-done:
				continue
			case <-ctx.Done():
				return nil, nil, fmt.Errorf("%w: %s: %w", ErrClaimed, id, ctx.Err())
			}
		}
		if n != nil {
			s.unplace(n)
			s.begin(n)
			s.mu.Unlock()
			it, err := s.claimTaken(ctx, n)
			return n, it, err
		}
		s.mu.Unlock()
		// Not in the schedule: its session has it, or it is gone.
		if _, err := s.opt.Store.Get(ctx, id); err != nil {
			return nil, nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: %s: %w", ErrClaimed, id, ctx.Err())
		}
	}
}

// claimTaken leases a node that was just taken, and puts it back when that fails.
func (s *Scheduler) claimTaken(ctx context.Context, n *node) (*Item, error) {
	it, err := s.opt.Store.Claim(ctx, n.id, s.opt.Owner)
	if err == nil {
		return it, nil
	}
	if errors.Is(err, ErrNotFound) {
		s.finish(n, nil)
	} else {
		s.finish(n, n.again(s.opt.Now().Add(time.Second)))
	}
	return nil, err
}
