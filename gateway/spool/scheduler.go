package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// Action is what became of an item in an attempt.
type Action int

// The actions. Retry is the zero value: what is not known to be done is tried again.
const (
	Retry      Action = iota // some recipients wait: try again at Outcome.At
	Done                     // every recipient is settled: remove the item
	HoldItem                 // wait for a person, or until Outcome.At
	Quarantine               // its octets cannot be read: put it aside
)

// Outcome is the answer of an attempt.
type Outcome struct {
	Action Action
	// At is when a Retry happens; zero takes the schedule. Of a HoldItem it is the end; zero is never.
	At time.Time
	// Why goes into Item.Why, unless empty.
	Why string
	// NotTried is true when no next hop was asked, so that the attempt does not count.
	NotTried bool
}

// SchedulerOptions are what a Scheduler is made with. Store and Run are required.
type SchedulerOptions struct {
	Store Store
	// Run makes one attempt to deliver the item and changes its recipients accordingly; it may call Store.Update to record what
	// is settled so far. It must return soon after ctx is cancelled. A panic counts as Retry.
	Run func(ctx context.Context, it *Item) Outcome
	// Schedule is when a Retry without At happens.
	Schedule Schedule
	// MaxConcurrent is the greatest number of attempts at a time; 0 is 100.
	MaxConcurrent int
	// MaxPerLane is the same for the items of one lane (side, or domain of the internet); 0 is MaxConcurrent.
	MaxPerLane int
	// Owner is the name of the lease; empty is "scheduler".
	Owner  string
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Scheduler tries the items of a Store when they are due.
//
// Due items of each lane (see Item.Lane) stand in two rows: new ones, which were never tried, and the backlog, oldest first. Lanes
// take turns, and so do the two rows of a lane: a backlog drains while new mail passes, and neither starves the other.
//
// An item costs one entry in memory. It is read from the store when its turn comes.
type Scheduler struct {
	opt   SchedulerOptions
	log   *slog.Logger
	wake  chan struct{}
	ended chan struct{}
	// runCtx is that of all attempts; it is cancelled when draining takes too long.
	runCtx context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	nodes  map[string]*node
	timers heap
	// When dispatch looked at the clock last: really, and by opt.Now.
	lookedAt, lookedNow time.Time
	lanes               map[string]*lane
	ring                []*lane // the lanes with due items, in the order in which they take turns
	turn                int
	running             int
	paused              bool
	closed              map[routing.Side]bool // sides that nothing is sent to
	stopping            bool
	started             bool
}

// NewScheduler makes a scheduler with every item of the store. Nothing runs before Start.
func NewScheduler(ctx context.Context, opt SchedulerOptions) (*Scheduler, error) {
	if opt.Store == nil || opt.Run == nil {
		return nil, errors.New("spool: a scheduler needs a store and a Run")
	}
	opt.complete()
	s := &Scheduler{
		opt: opt, log: opt.Logger, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		nodes: map[string]*node{}, lanes: map[string]*lane{}, timers: heap{less: dueFirst},
		closed: map[routing.Side]bool{},
	}
	s.runCtx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := opt.Store.Entries(ctx, func(e Entry) bool {
		if e.Owner == "" {
			s.place(e)
		}
		return true
	})
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("reading the queue: %w", err)
	}
	return s, nil
}

func (o *SchedulerOptions) complete() {
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 100
	}
	if o.MaxPerLane <= 0 {
		o.MaxPerLane = o.MaxConcurrent
	}
	if o.Owner == "" {
		o.Owner = "scheduler"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Start begins to deliver. It returns at once; Drain ends it. It must be called at most once.
func (s *Scheduler) Start() {
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	go s.loop()
}

// loop is the one goroutine that decides. Attempts run in goroutines of their own, MaxConcurrent at most.
func (s *Scheduler) loop() {
	defer close(s.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, stop := s.dispatch()
		if stop {
			return
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// dispatch starts all attempts that may start now, and says how long there is nothing to do.
func (s *Scheduler) dispatch() (wait time.Duration, stop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opt.Now()
	s.noteClock(now)
	for s.timers.len() > 0 && s.timers.top().due <= now.UnixNano() {
		s.ready(s.timers.pop())
	}
	for !s.paused && !s.stopping && s.running < s.opt.MaxConcurrent {
		n := s.next()
		if n == nil {
			break
		}
		s.begin(n)
		go s.attempt(n)
	}
	if s.stopping && s.running == 0 {
		return 0, true
	}
	if s.timers.len() == 0 {
		return time.Hour, false
	}
	return min(time.Hour, time.Duration(s.timers.top().due-now.UnixNano())), false
}

// noteClock sees to it that a clock which was set back delays nothing: what was due in an hour is due in an hour by any clock. All times
// move by as much, so their order stays.
func (s *Scheduler) noteClock(now time.Time) {
	passed := time.Now() // whose difference to another is monotonic, whatever the clock says
	back := passed.Sub(s.lookedAt) - now.Round(0).Sub(s.lookedNow.Round(0))
	if !s.lookedAt.IsZero() && back > time.Minute {
		s.log.Warn("the clock was set back: the times of attempts move with it", "by", back.Round(time.Second))
		for _, n := range s.timers.nodes {
			n.due -= int64(back)
		}
	}
	s.lookedAt, s.lookedNow = passed, now
}

// begin marks a node as taken: nobody else touches its item until finish.
func (s *Scheduler) begin(n *node) {
	n.where, n.done = inRun, make(chan struct{})
	n.lane.running++
	s.running++
}

// finish ends what begin began. e is nil when the item is gone.
func (s *Scheduler) finish(n *node, e *Entry) {
	s.mu.Lock()
	n.lane.running--
	s.running--
	close(n.done)
	s.forget(n)
	if e != nil {
		s.place(*e)
	}
	s.mu.Unlock()
	s.signal()
}

func (s *Scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// attempt runs one item.
func (s *Scheduler) attempt(n *node) {
	it, err := s.opt.Store.Claim(s.runCtx, n.id, s.opt.Owner)
	switch {
	case errors.Is(err, ErrNotFound):
		s.finish(n, nil)
		return
	case errors.Is(err, ErrDamaged):
		s.log.Error("queued message cannot be read", "id", n.id, "error", err)
		s.finish(n, s.quarantineUnread(n, err))
		return
	case err != nil: // claimed by somebody else, or the store has trouble
		s.log.Warn("queued message not tried", "id", n.id, "error", err)
		s.finish(n, n.again(s.opt.Now().Add(time.Second)))
		return
	}
	if it.State == Held {
		if !it.HeldUntil.IsZero() && !s.opt.Now().Before(it.HeldUntil) {
			it.unhold()
		} else { // held since its time was set
			s.finish(n, s.record(it, Outcome{}))
			return
		}
	}
	out := s.run(it)
	s.finish(n, s.settle(it, out))
}

// quarantineUnread puts aside an item whose record cannot be decoded; it comes back in a minute when that fails.
func (s *Scheduler) quarantineUnread(n *node, cause error) *Entry {
	if err := s.opt.Store.Quarantine(s.runCtx, &Item{ID: n.id}, cause.Error()); err != nil && !errors.Is(err, ErrNotFound) {
		s.log.Error("quarantine failed", "id", n.id, "error", err)
		return n.again(s.opt.Now().Add(time.Minute))
	}
	return nil
}

// run calls Run. One message that makes it panic must not stop the mail of everybody, again at every start.
func (s *Scheduler) run(it *Item) (out Outcome) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("delivery panicked", "id", it.ID, "panic", r, "stack", string(debug.Stack()))
			out = Outcome{Action: Retry, Why: fmt.Sprintf("internal error: %v", r)}
		}
	}()
	return s.opt.Run(s.runCtx, it)
}

// settle records the outcome, and tries until the store takes it: else the message would be delivered twice. Meanwhile it keeps its
// place among the running ones, so that trouble with the disk slows deliveries down. It gives up when draining ends.
func (s *Scheduler) settle(it *Item, out Outcome) *Entry {
	s.apply(it, out)
	return s.record(it, out)
}

func (s *Scheduler) record(it *Item, out Outcome) *Entry {
	wait := 100 * time.Millisecond
	for {
		err := s.store(context.WithoutCancel(s.runCtx), it, out)
		switch {
		case err == nil && (out.Action == Done || out.Action == Quarantine), errors.Is(err, ErrNotFound):
			return nil
		case err == nil:
			return entryOf(it)
		case errors.Is(err, ErrClosed):
			return nil
		}
		s.log.Error("outcome of a delivery not recorded, trying again", "id", it.ID, "error", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
		case <-s.runCtx.Done():
			return nil
		}
	}
}

// store does to the store what the outcome asks for.
func (s *Scheduler) store(ctx context.Context, it *Item, out Outcome) error {
	switch out.Action {
	case Done:
		return s.opt.Store.Remove(ctx, it)
	case Quarantine:
		return s.opt.Store.Quarantine(ctx, it, out.Why)
	default:
		return s.opt.Store.Release(ctx, it)
	}
}

// apply writes the outcome into the item.
func (s *Scheduler) apply(it *Item, out Outcome) {
	if !out.NotTried {
		it.Attempts++
	}
	if out.Why != "" {
		it.Why = out.Why
	}
	it.State, it.HeldUntil = Waiting, time.Time{}
	switch out.Action {
	case HoldItem:
		it.State, it.HeldUntil = Held, out.At
	case Retry:
		if it.NextAttempt = out.At; out.At.IsZero() {
			it.NextAttempt = s.opt.Now().Add(s.NextDelay(it.Attempts))
		}
	}
}

// NextDelay is the wait after the given number of attempts, by the schedule in force and with jitter.
func (s *Scheduler) NextDelay(attempts int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt.Schedule.NextDelay(attempts, rand.Float64())
}

// Reload changes schedule and limits. Attempts that are already timed keep their time.
func (s *Scheduler) Reload(schedule Schedule, maxConcurrent, maxPerLane int) {
	s.mu.Lock()
	s.opt.Schedule, s.opt.MaxConcurrent, s.opt.MaxPerLane = schedule, maxConcurrent, maxPerLane
	s.opt.complete()
	s.mu.Unlock()
	s.signal()
}

// Add takes an item that was just put, without an owner, into the schedule.
func (s *Scheduler) Add(it *Item) {
	s.mu.Lock()
	if s.nodes[it.ID] == nil {
		s.place(*entryOf(it))
	}
	s.mu.Unlock()
	s.signal()
}

// Settle ends the delivery of an item that its caller put with an owner of its own: it records the outcome as after an attempt of
// the scheduler, and schedules what is left. An error means that the outcome is not recorded and the caller still owns the item.
func (s *Scheduler) Settle(ctx context.Context, it *Item, out Outcome) error {
	changed := it.clone()
	s.apply(changed, out)
	if err := s.store(ctx, changed, out); err != nil {
		return fmt.Errorf("settling %s: %w", it.ID, err)
	}
	*it = *changed
	if out.Action == Retry || out.Action == HoldItem {
		s.Add(it)
	}
	return nil
}

// Pause stops new attempts until Resume; those that run go on.
func (s *Scheduler) Pause() { s.setPaused(true) }

// Resume ends a Pause.
func (s *Scheduler) Resume() { s.setPaused(false) }

func (s *Scheduler) setPaused(p bool) {
	s.mu.Lock()
	s.paused = p
	s.mu.Unlock()
	s.signal()
}

// PauseSide stops new attempts of items that wait for a side until ResumeSide, as when every reply of it says that the
// connector is set up wrong: the mail waits instead of bouncing. The items stay waiting and do not expire meanwhile. A pause does not
// survive a restart: the next attempt shows whether the fault is still there.
func (s *Scheduler) PauseSide(side routing.Side) {
	s.mu.Lock()
	s.closed[side] = true
	s.mu.Unlock()
}

// ResumeSide ends a PauseSide: what has become due is tried, oldest first.
func (s *Scheduler) ResumeSide(side routing.Side) {
	s.mu.Lock()
	delete(s.closed, side)
	s.mu.Unlock()
	s.signal()
}

// PausedSides lists the sides that are paused, in order of name.
func (s *Scheduler) PausedSides() []routing.Side {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.closed))
}

// Drain stops the scheduler: no new attempts, those that run may end. When ctx is done first they are cancelled, waited for up
// to grace, and ctx's error is returned. What did not settle is waiting again at the next start.
func (s *Scheduler) Drain(ctx context.Context, grace time.Duration) error {
	s.mu.Lock()
	s.stopping = true
	started := s.started
	s.mu.Unlock()
	if !started {
		s.cancel()
		return nil
	}
	s.signal()
	select {
	case <-s.ended:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(grace):
	}
	return ctx.Err()
}

// Running is the number of attempts under way.
func (s *Scheduler) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// Queued is the number of items in the schedule: waiting, held, and running.
func (s *Scheduler) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.nodes)
}
