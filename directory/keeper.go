package directory

import (
	"log/slog"
	"time"
)

// KeeperConfig tells what a [Keeper] keeps.
type KeeperConfig struct {
	Name     string           // Status.Source
	Identity string           // Meta.Source: a snapshot with another one is not used
	Snapshot string           // the file of the snapshot; empty: none is kept
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default: no log
}

// Keeper holds what every [Source] has: the view, its age, its status, and its snapshot on disk. The methods that change it are for one goroutine at a time;
// those of Source may be called at any time.
type Keeper struct{ h holder }

// NewKeeper makes a keeper with the view of the snapshot, if there is a good one of this source.
func NewKeeper(c KeeperConfig) *Keeper {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{holder{name: c.Name, log: c.Log, now: c.Now, identity: c.Identity, changed: make(chan struct{})}}
	if c.Snapshot != "" {
		k.h.snapshot = NewSnapshotFile(c.Snapshot)
	}
	k.h.restore()
	return k
}

// View is the newest view; nil when none was ever had.
func (k *Keeper) View() *View { return k.h.View() }

// LastRead is when the source was last read with success; zero when never.
func (k *Keeper) LastRead() time.Time { return k.h.LastRead() }

// Age is the time since LastRead, and the longest possible duration without a view.
func (k *Keeper) Age(now time.Time) time.Duration { return k.h.Age(now) }

// Status reports the state.
func (k *Keeper) Status() Status { return k.h.Status() }

// Changed gives a channel that is closed when the next view is in place.
func (k *Keeper) Changed() <-chan struct{} { return k.h.Changed() }

// State is what the source last noted with a view, and what a restart finds in the snapshot.
func (k *Keeper) State() []byte {
	k.h.mu.Lock()
	defer k.h.mu.Unlock()
	return k.h.meta.State
}

// Describe sets what Status says of where and how the source is read.
func (k *Keeper) Describe(dc, method string) {
	k.h.mu.Lock()
	defer k.h.mu.Unlock()
	k.h.dc, k.h.method = dc, method
}

// Lag sets Status.LagSeconds.
func (k *Keeper) Lag(d time.Duration) {
	seconds := int64(d / time.Second)
	k.h.mu.Lock()
	defer k.h.mu.Unlock()
	k.h.lag = &seconds
}

// Replace puts a view in place that was read as a whole.
func (k *Keeper) Replace(v *View, read time.Time, state []byte) {
	k.h.swap(v, read, state)
	freeMemory(v)
}

// Advance puts a view in place that is the last one with changes. It reaches the disk when it is worth the writing: the time between two writings of a view is at least 30 times
// as long as one takes. A state and the view that it is about always reach the disk together.
func (k *Keeper) Advance(v *View, read time.Time, state []byte) { k.h.advance(v, read, state) }

// Confirm notes that the source still has what the view shows.
func (k *Keeper) Confirm(at time.Time, state []byte) { k.h.confirm(at, state) }

// Fail notes that the source could not be read. It logs each new reason once.
func (k *Keeper) Fail(at time.Time, err error) { k.h.fail(at, err) }

// Persist writes to disk what is due; the error is logged.
func (k *Keeper) Persist() error { return k.h.persist(false) }

// Close writes to disk what is not there yet.
func (k *Keeper) Close() error { return k.h.persist(true) }
