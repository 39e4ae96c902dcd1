package spool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// rig is a scheduler on a real store, in a bubble of fake time, that notes its attempts.
type rig struct {
	t     *testing.T
	store Store
	sched *Scheduler
	start time.Time
	mu    sync.Mutex
	ran   []string // IDs in the order of their attempts
	at    []time.Duration
}

func newRig(t *testing.T, store Store, opt SchedulerOptions, run func(context.Context, *Item) Outcome) *rig {
	t.Helper()
	r := &rig{t: t, store: store, start: time.Now()}
	opt.Store = store
	opt.Run = func(ctx context.Context, it *Item) Outcome {
		r.mu.Lock()
		r.ran, r.at = append(r.ran, it.ID), append(r.at, time.Since(r.start))
		r.mu.Unlock()
		return run(ctx, it)
	}
	var err error
	if r.sched, err = NewScheduler(bg, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		if err := r.sched.Drain(ctx, time.Minute); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
	return r
}

// due makes an item that is due after d.
func due(id string, d time.Duration) *Item {
	it := newItem(id, 0)
	it.Received, it.NextAttempt = time.Now(), time.Now().Add(d)
	return it
}

func (r *rig) add(items ...*Item) {
	r.t.Helper()
	for _, it := range items {
		put(r.t, r.store, it, []byte("x"))
		r.sched.Add(it)
	}
}

func (r *rig) order() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.ran, " ")
}

func (r *rig) state(id string) State {
	r.t.Helper()
	it, err := r.store.Get(bg, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return it.State
}

// pass lets d pass, and everything come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func bubble(t *testing.T, f func(t *testing.T, s *Local)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, open(t, t.TempDir(), Options{})) })
}

func done(context.Context, *Item) Outcome  { return Outcome{Action: Done} }
func again(context.Context, *Item) Outcome { return Outcome{} }

func TestRetriesBySchedule(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		outcomes := []Outcome{
			{}, {}, {}, // by the schedule: 1m, 5m, 5m
			{At: time.Now().Add(20 * time.Minute), NotTried: true, Why: "the next hop is down"},
			{}, // the fourth that counts: 5m
			{Action: Done},
		}
		r := newRig(t, s, SchedulerOptions{Schedule: Schedule{Retry: []time.Duration{time.Minute, 5 * time.Minute}}}, func(_ context.Context, it *Item) Outcome {
			it.Recipients[0].LastReply = "451 4.3.0 later"
			out := outcomes[0]
			outcomes = outcomes[1:]
			return out
		})
		r.sched.Start()
		r.add(due("A1", 10*time.Second))
		pass(15 * time.Minute)
		it, err := s.Get(bg, "A1")
		if err != nil || it.Attempts != 3 || it.Why != "the next hop is down" || it.Recipients[0].LastReply != "451 4.3.0 later" {
			t.Errorf("%+v, %v", it, err)
		}
		pass(time.Hour)
		want := []time.Duration{10 * time.Second, 70 * time.Second, 370 * time.Second, 670 * time.Second, 20 * time.Minute, 25 * time.Minute}
		if !slices.Equal(r.at, want) {
			t.Errorf("attempts at %v, want %v", r.at, want)
		}
		if _, err := s.Get(bg, "A1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("delivered, and still there: %v", err)
		}
		if r.sched.Queued() != 0 {
			t.Error("still in the schedule")
		}
	})
}

// A clock that is set back, or forward, by a day changes nothing for what waits by more than it must.
func TestClockIsSet(t *testing.T) {
	for name, jump := range map[string]time.Duration{"back": -24 * time.Hour, "forward": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *Local) {
				var offset atomic.Int64
				now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
				r := newRig(t, s, SchedulerOptions{Now: now, Schedule: Schedule{Retry: []time.Duration{10 * time.Minute}}}, again)
				r.sched.Start()
				r.add(due("A1", time.Minute))
				pass(5 * time.Minute) // tried at 1m, due again at 11m
				offset.Store(int64(jump))
				r.add(due("B1", 0)) // something happens, as it does
				pass(30 * time.Minute)
				for _, at := range r.at {
					if at > 36*time.Minute {
						t.Errorf("tried at %v", at)
					}
				}
				// A1 at 1m and 11m (at once if the clock was set forward), then every 10m of the new clock; B1 in between.
				if n := strings.Count(r.order(), "A1"); n < 4 {
					t.Errorf("tried %d times in 35 minutes: %s at %v", n, r.order(), r.at)
				}
			})
		})
	}
}

func TestBacklogDrainsOldestFirstAndNewMailPasses(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{MaxConcurrent: 1}, func(context.Context, *Item) Outcome {
			time.Sleep(time.Second)
			return Outcome{Action: Done}
		})
		for _, i := range []int{3, 1, 4, 0, 2, 5} {
			it := due(fmt.Sprint("OLD", i), time.Hour)
			it.Attempts, it.Received = 1, time.Now().Add(time.Duration(i-60)*time.Minute)
			// The oldest is due last: recovery must not go by the times of the retries.
			it.NextAttempt = time.Now().Add(time.Duration(100-i) * time.Minute)
			r.add(it)
		}
		r.sched.Start()
		if n := r.sched.Kick(func(e Entry) bool { return e.Side() == routing.Cloud }); n != 6 {
			t.Errorf("%d kicked", n)
		}
		if n := r.sched.Kick(func(e Entry) bool { return e.Side() == routing.OnPrem }); n != 0 {
			t.Errorf("%d of another side kicked", n)
		}
		pass(500 * time.Millisecond)
		r.add(due("NEW1", 0), due("NEW2", 0))
		pass(time.Minute)
		if got, want := r.order(), "OLD0 NEW1 OLD1 NEW2 OLD2 OLD3 OLD4 OLD5"; got != want {
			t.Errorf("order %s\nwant  %s", got, want)
		}
	})
}

func TestOneSlowSideDoesNotStopTheOther(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		var most, now atomic.Int32
		r := newRig(t, s, SchedulerOptions{MaxConcurrent: 5, MaxPerLane: 3}, func(ctx context.Context, it *Item) Outcome {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if it.Lane() == "cloud" {
				time.Sleep(10 * time.Minute)
			}
			return Outcome{Action: Done}
		})
		for i := range 20 {
			r.add(due(fmt.Sprint("SLOW", i), 0))
		}
		r.sched.Start()
		pass(time.Second)
		if n := r.sched.Running(); n != 3 {
			t.Errorf("%d run, want MaxPerLane", n)
		}
		for i := range 10 {
			it := due(fmt.Sprint("FAST", i), 0)
			it.Recipients[0].Side = routing.OnPrem
			r.add(it)
		}
		pass(time.Second)
		if got := strings.Count(r.order(), "FAST"); got != 10 {
			t.Errorf("%d of 10 went to the fast side", got)
		}
		r.sched.Reload(Schedule{}, 2, 2)
		pass(11 * time.Minute)
		if n := r.sched.Running(); n != 2 {
			t.Errorf("%d run after the limit became 2", n)
		}
		pass(10 * time.Hour)
		if most.Load() > 5 || r.sched.Queued() != 0 {
			t.Errorf("at most %d ran at a time, %d left", most.Load(), r.sched.Queued())
		}
	})
}

func TestHoldReleaseDrop(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{}, done)
		r.add(due("A1", time.Minute), due("B2", time.Minute), due("C3", time.Minute))
		r.sched.Start()
		if err := r.sched.Hold(bg, "A1", time.Time{}, "asked for by the user"); err != nil {
			t.Fatal(err)
		}
		dropped := ""
		if err := r.sched.Drop(bg, "B2", func(it *Item) error { dropped = it.Envelope.ReversePath; return nil }); err != nil {
			t.Fatal(err)
		}
		no := errors.New("no DSN")
		wantErr(t, "drop that is stopped", r.sched.Drop(bg, "C3", func(*Item) error { return no }), no)
		pass(time.Hour)
		if got := r.order(); got != "C3" {
			t.Errorf("tried: %q", got)
		}
		if dropped != "megan@fabrikam.com" {
			t.Errorf("dropped mail of %q", dropped)
		}
		it, err := s.Get(bg, "A1")
		if err != nil || it.State != Held || it.Why != "asked for by the user" || it.Row().State != Held {
			t.Errorf("%+v, %v", it, err)
		}
		wantErr(t, "retry of a held item", r.sched.Retry(bg, "A1"), ErrHeld)
		if r.sched.Kick(nil) != 0 {
			t.Error("a held item was kicked")
		}
		for _, f := range []func() error{
			func() error { return r.sched.Hold(bg, "B2", time.Time{}, "") },
			func() error { return r.sched.Release(bg, "none") },
			func() error { return r.sched.Drop(bg, "none", nil) },
			func() error { return r.sched.Retry(bg, "none") },
		} {
			wantErr(t, "unknown item", f(), ErrNotFound)
		}
		if err := r.sched.Release(bg, "A1"); err != nil {
			t.Fatal(err)
		}
		pass(0)
		if got := r.order(); got != "C3 A1" {
			t.Errorf("after the release: %q", got)
		}
	})
}

func TestHoldEndsByItself(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		it := due("A1", 0)
		it.State, it.HeldUntil, it.Why = Held, time.Now().Add(time.Hour), "mailbox move"
		it.Recipients[0].State = RecipientHeld
		put(t, s, it, []byte("x"))
		r := newRig(t, s, SchedulerOptions{}, func(_ context.Context, it *Item) Outcome {
			if it.State != Delivering && it.State != Waiting || it.Recipients[0].State != RecipientWaiting || !it.HeldUntil.IsZero() {
				t.Errorf("delivered as %+v", it)
			}
			if it.Attempts == 0 {
				return Outcome{Action: HoldItem, At: time.Now().Add(time.Minute), Why: "5.7.64"}
			}
			return Outcome{Action: Done}
		})
		r.sched.Start()
		pass(time.Hour - time.Second)
		if got := r.order(); got != "" {
			t.Errorf("tried while held: %q", got)
		}
		pass(2 * time.Second)
		if r.state("A1") != Held {
			t.Errorf("state %s after an attempt that held it", r.state("A1"))
		}
		pass(time.Minute)
		if got := r.order(); got != "A1 A1" || r.sched.Queued() != 0 {
			t.Errorf("tried %q, %d left", got, r.sched.Queued())
		}
	})
}

func TestVerbsWaitForARunningDelivery(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{}, func(_ context.Context, it *Item) Outcome {
			time.Sleep(time.Minute)
			return Outcome{At: time.Now().Add(time.Hour)}
		})
		r.sched.Start()
		r.add(due("A1", 0))
		pass(time.Second)
		if r.state("A1") != Delivering {
			t.Errorf("state %s", r.state("A1"))
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		wantErr(t, "hold with a short deadline", r.sched.Hold(ctx, "A1", time.Time{}, ""), ErrClaimed)
		if err := r.sched.Retry(bg, "A1"); err != nil {
			t.Errorf("retry of a running item: %v", err)
		}
		if err := r.sched.Hold(bg, "A1", time.Time{}, "x"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(r.start); d < time.Minute || d > 61*time.Second {
			t.Errorf("held after %v", d)
		}
		it, _ := s.Get(bg, "A1")
		if it.State != Held || it.Attempts != 1 {
			t.Errorf("%+v", it)
		}
	})
}

func TestSessionOwnsUntilItSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		r := newRig(t, s, SchedulerOptions{Schedule: Schedule{Retry: []time.Duration{time.Minute}}}, again)
		r.sched.Start()
		own := func(id string) *Item {
			it := due(id, 0)
			it.State, it.Owner = Delivering, "session 1"
			put(t, s, it, []byte("x"))
			return it
		}
		a, b, c := own("A1"), own("B2"), own("C3")
		_ = own("D4")
		r.sched.Add(a) // by mistake: the lease must hold all the same
		held := make(chan error)
		go func() { held <- r.sched.Hold(bg, "B2", time.Time{}, "x") }()
		pass(10 * time.Second)
		if got := r.order(); got != "" {
			t.Errorf("the scheduler tried %s", got)
		}
		a.Recipients[0].State = RecipientDelivered
		for _, c := range []struct {
			it  *Item
			out Outcome
		}{{a, Outcome{Action: Done}}, {b, Outcome{}}, {c, Outcome{Why: "451 later"}}} {
			if err := r.sched.Settle(bg, c.it, c.out); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-held; err != nil {
			t.Errorf("hold that waited for the session: %v", err)
		}
		pass(0)
		if _, err := s.Get(bg, "A1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("settled as done: %v", err)
		}
		if r.state("B2") != Held || r.state("C3") != Waiting || r.state("D4") != Delivering {
			t.Errorf("states %s %s %s", r.state("B2"), r.state("C3"), r.state("D4"))
		}
		wantErr(t, "settling twice", r.sched.Settle(bg, &Item{ID: "C3", Owner: "session 1", Size: 1}, Outcome{}), ErrClaimed)
		pass(time.Minute)
		if got := r.order(); got != "C3" {
			t.Errorf("tried %q", got)
		}

		// The process dies: what the session had is waiting again.
		if err := r.sched.Drain(bg, 0); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = open(t, dir, Options{})
		r = newRig(t, s, SchedulerOptions{}, done)
		r.sched.Start()
		pass(time.Second)
		if got := r.order(); got != "D4" {
			t.Errorf("after a restart: %q", got)
		}
	})
}

func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{MaxConcurrent: 2}, func(ctx context.Context, it *Item) Outcome {
			select {
			case <-time.After(map[string]time.Duration{"QUICK": time.Second, "SLOW": time.Hour}[it.ID]):
				return Outcome{Action: Done}
			case <-ctx.Done():
				return Outcome{NotTried: true, At: time.Now()}
			}
		})
		r.add(due("QUICK", 0), due("SLOW", 0), due("THIRD", time.Millisecond))
		r.sched.Start()
		pass(10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(bg, 30*time.Second)
		defer cancel()
		wantErr(t, "drain", r.sched.Drain(ctx, time.Second), context.DeadlineExceeded)
		if got := slices.Sorted(slices.Values(r.ran)); !slices.Equal(got, []string{"QUICK", "SLOW"}) {
			t.Errorf("tried %q", got)
		}
		if got := ids(t, s, Filter{State: Waiting}); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"SLOW", "THIRD"}) {
			t.Errorf("waiting in the store: %v", got)
		}
	})
}

func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{}, done)
		r.sched.Start()
		r.sched.Pause()
		r.add(due("A1", 0))
		pass(time.Hour)
		if got := r.order(); got != "" {
			t.Errorf("tried while paused: %q", got)
		}
		r.sched.Resume()
		pass(0)
		if got := r.order(); got != "A1" {
			t.Errorf("tried %q", got)
		}
	})
}

// stubborn is a store that refuses to record for a while.
type stubborn struct {
	Store
	refuse atomic.Int32
}

func (s *stubborn) refused() error {
	if s.refuse.Add(-1) >= 0 {
		return &fullError{syscall.ENOSPC}
	}
	return nil
}

func (s *stubborn) Release(ctx context.Context, it *Item) error {
	if err := s.refused(); err != nil {
		return err
	}
	return s.Store.Release(ctx, it)
}

func (s *stubborn) Remove(ctx context.Context, it *Item) error {
	if err := s.refused(); err != nil {
		return err
	}
	return s.Store.Remove(ctx, it)
}

func TestOutcomeIsRecordedBeforeAnythingElse(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		store := &stubborn{Store: s}
		r := newRig(t, store, SchedulerOptions{}, func(_ context.Context, it *Item) Outcome {
			store.refuse.Store(20)
			return Outcome{Action: Done}
		})
		r.sched.Start()
		r.add(due("A1", 0))
		pass(30 * time.Second)
		if r.state("A1") != Delivering {
			t.Errorf("state %s while the delivery cannot be recorded", r.state("A1"))
		}
		pass(time.Hour)
		if got := r.order(); got != "A1" {
			t.Errorf("delivered more than once: %q", got)
		}
		if st := s.Stats(); st.Messages != 0 {
			t.Errorf("%+v", st)
		}

		// A verb that the store refuses leaves the item as it was.
		r.add(due("B2", time.Hour))
		store.refuse.Store(1)
		wantErr(t, "hold", r.sched.Hold(bg, "B2", time.Time{}, ""), ErrFull)
		if r.state("B2") != Waiting || r.sched.Queued() != 1 {
			t.Errorf("state %s, %d queued", r.state("B2"), r.sched.Queued())
		}
		store.refuse.Store(0)
		pass(2 * time.Hour)
		if !strings.HasPrefix(r.order(), "A1 B2") {
			t.Errorf("tried %q", r.order())
		}
	})
}

func TestPanicIsOneFailedAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{Schedule: Schedule{Retry: []time.Duration{time.Minute}}}, func(_ context.Context, it *Item) Outcome {
			if it.ID == "BAD" {
				var none *Item
				none.ID = "x"
			}
			return Outcome{Action: Done}
		})
		r.sched.Start()
		r.add(due("BAD", 0), due("GOOD", time.Second))
		pass(30 * time.Second)
		it, err := s.Get(bg, "BAD")
		if err != nil || it.Attempts != 1 || !strings.Contains(it.Why, "internal error") || !it.NextAttempt.Equal(r.start.Add(time.Minute)) {
			t.Errorf("%+v, %v", it, err)
		}
		if got := r.order(); got != "BAD GOOD" {
			t.Errorf("tried %q", got)
		}
	})
}

func TestDamagedItemLeavesTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{}, func(_ context.Context, it *Item) Outcome {
			if _, err := s.Open(bg, it.ID); errors.Is(err, ErrDamaged) {
				return Outcome{Action: Quarantine, Why: err.Error()}
			}
			return Outcome{Action: Done}
		})
		a := due("A1", 0)
		put(t, s, a, octets(1, 100<<10))
		flip(t, s.bodyPath("A1"), 99)
		b := due("B2", 0)
		put(t, s, b, []byte("x"))
		spoil(t, s, "B2")
		r.sched.Add(a)
		r.sched.Add(b)
		r.sched.Start()
		pass(time.Hour)
		if st := s.Stats(); st.Messages != 0 || st.Damaged != 2 || r.sched.Queued() != 0 {
			t.Errorf("%+v, %d queued", st, r.sched.Queued())
		}
		if got := names(t, s.dir+"/damaged"); !slices.Equal(got, []string{"A1.eml", "A1.record", "B2.eml", "B2.record"}) {
			t.Errorf("kept aside: %v", got)
		}
	})
}

// TestNothingIsLostOrDoneTwice runs deliveries, verbs, sessions and new mail against each other.
func TestNothingIsLostOrDoneTwice(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	const n = 400
	var delivered, dropped sync.Map
	var busy [n]atomic.Bool
	index := func(id string) (i int) {
		if _, err := fmt.Sscanf(id, "M%d", &i); err != nil {
			t.Error(err)
		}
		return i
	}
	sched, err := NewScheduler(bg, SchedulerOptions{
		Store: s, MaxConcurrent: 8, Schedule: Schedule{Retry: []time.Duration{time.Millisecond}, Jitter: 0.5},
		Run: func(_ context.Context, it *Item) Outcome {
			i := index(it.ID)
			if !busy[i].CompareAndSwap(false, true) {
				t.Errorf("%s is delivered twice at a time", it.ID)
			}
			defer busy[i].Store(false)
			switch r := rand.IntN(10); {
			case r < 3:
				return Outcome{}
			case r < 4:
				return Outcome{Action: HoldItem, At: time.Now().Add(time.Millisecond)}
			}
			if _, twice := delivered.LoadOrStore(it.ID, true); twice {
				t.Errorf("%s was delivered before", it.ID)
			}
			return Outcome{Action: Done}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sched.Start()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				it := newItem(fmt.Sprint("M", i), 0)
				it.NextAttempt = time.Now()
				if i%2 == 0 {
					it.Owner = "session"
				}
				put(t, s, it, []byte("x"))
				if i%2 == 0 {
					if err := sched.Settle(bg, it, Outcome{}); err != nil {
						t.Error(err)
					}
				} else {
					sched.Add(it)
				}
				other := fmt.Sprint("M", rand.IntN(i+1))
				var err error
				switch rand.IntN(5) {
				case 0:
					if err = sched.Hold(bg, other, time.Time{}, "x"); err == nil {
						err = sched.Release(bg, other)
					}
				case 1:
					err = sched.Drop(bg, other, func(it *Item) error { dropped.Store(it.ID, true); return nil })
				case 2:
					err = sched.Retry(bg, other)
				case 3:
					sched.Kick(nil)
				}
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrHeld) {
					t.Errorf("verb on %s: %v", other, err)
				}
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for s.Stats().Messages > 0 && time.Now().Before(deadline) {
		for _, id := range ids(t, s, Filter{State: Held}) {
			if err := sched.Release(bg, id); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := sched.Drain(bg, 0); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Messages != 0 || sched.Queued() != 0 {
		t.Errorf("%+v, %d in the schedule", st, sched.Queued())
	}
	for i := range n {
		id := fmt.Sprint("M", i)
		_, d := delivered.Load(id)
		_, x := dropped.Load(id)
		if d == x {
			t.Errorf("%s: delivered %v, dropped %v", id, d, x)
		}
	}
}

func TestSchedulerNeedsItsParts(t *testing.T) {
	if _, err := NewScheduler(bg, SchedulerOptions{Run: again}); err == nil {
		t.Error("no store")
	}
	if _, err := NewScheduler(bg, SchedulerOptions{Store: &Local{}}); err == nil {
		t.Error("no Run")
	}
}

// spoil damages the record of an item in an open store.
func spoil(t *testing.T, s *Local, id string) {
	t.Helper()
	if err := s.commit(bg, &op{kind: opUpdate, id: id, meta: meta{size: 1}, record: []byte("not a record")}); err != nil {
		t.Fatal(err)
	}
}

func TestPauseSide(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{MaxConcurrent: 1}, done)
		r.sched.Start()
		r.sched.PauseSide(routing.Internet)
		for i, to := range []string{"contoso.com", "fabrikam.com", "fabrikam.com"} {
			it := due(fmt.Sprint("NET", i), time.Minute)
			it.Recipients[0].Side, it.Recipients[0].Address = routing.Internet, "a@"+to
			r.add(it)
		}
		r.add(due("CLOUD", time.Minute))
		pass(time.Hour)
		if got := r.order(); got != "CLOUD" {
			t.Errorf("tried %q", got)
		}
		if got := r.sched.PausedSides(); !slices.Equal(got, []routing.Side{routing.Internet}) {
			t.Errorf("paused %v", got)
		}
		if err := r.sched.Drop(bg, "NET2", nil); err != nil {
			t.Errorf("drop of an item that is due: %v", err)
		}
		r.sched.ResumeSide(routing.Internet)
		pass(0)
		if got := r.order(); got != "CLOUD NET0 NET1" || r.sched.Queued() != 0 {
			t.Errorf("tried %q, %d left", got, r.sched.Queued())
		}
		if n := len(r.sched.lanes) + len(r.sched.ring); n > 2 { // the loop drops empty lanes from the ring at its next look
			t.Errorf("%d lanes, %d in the ring: destinations are not forgotten", len(r.sched.lanes), len(r.sched.ring))
		}
	})
}

// TestManyDestinations checks that one domain with a backlog leaves room for the others.
func TestManyDestinations(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		r := newRig(t, s, SchedulerOptions{MaxConcurrent: 4, MaxPerLane: 2}, func(_ context.Context, it *Item) Outcome {
			if strings.HasPrefix(it.ID, "DEAD") {
				time.Sleep(time.Minute)
			}
			return Outcome{Action: Done}
		})
		to := func(id, domain string) {
			it := due(id, 0)
			it.Recipients[0].Side, it.Recipients[0].Address = routing.Internet, "a@"+domain
			r.add(it)
		}
		for i := range 50 {
			to(fmt.Sprint("DEAD", i), "fabrikam.com")
		}
		r.sched.Start()
		pass(time.Second)
		for i := range 30 {
			to(fmt.Sprint("LIVE", i), fmt.Sprintf("d%d.contoso.com", i))
		}
		pass(time.Second)
		if got := strings.Count(r.order(), "LIVE"); got != 30 {
			t.Errorf("%d of 30 were tried", got)
		}
		pass(time.Hour)
		if r.sched.Queued() != 0 || len(r.sched.lanes) != 0 {
			t.Errorf("%d queued, %d lanes", r.sched.Queued(), len(r.sched.lanes))
		}
	})
}

func TestRetry(t *testing.T) {
	bubble(t, func(t *testing.T, s *Local) {
		store := &stubborn{Store: s}
		r := newRig(t, store, SchedulerOptions{}, done)
		r.add(due("A1", time.Hour), due("B2", time.Hour), due("C3", time.Hour))
		if err := r.sched.Retry(bg, "A1"); err != nil {
			t.Fatal(err)
		}
		if it, err := s.Get(bg, "A1"); err != nil || !it.NextAttempt.Equal(r.start) || it.State != Waiting {
			t.Errorf("stored: %+v, %v", it, err)
		}
		store.refuse.Store(1)
		if err := r.sched.Retry(bg, "B2"); err != nil {
			t.Errorf("on a full disk: %v", err)
		}
		r.sched.Start()
		pass(time.Second)
		if got := slices.Sorted(slices.Values(r.ran)); !slices.Equal(got, []string{"A1", "B2"}) {
			t.Errorf("tried %q", got)
		}
	})
}
