package directory

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Source keeps a view of a directory up to date. All methods are safe for use by any number of goroutines.
type Source interface {
	// View is the newest view; nil when none was ever had.
	View() *View
	// LastRead is when the source was last read, or asked for changes, with success; zero when never. It is kept over restarts.
	LastRead() time.Time
	// Age is the time since LastRead, and the longest possible duration when there is no view.
	Age(now time.Time) time.Duration
	// Status is for people and for monitoring.
	Status() Status
	// Changed gives a channel that is closed when the next view is in place.
	Changed() <-chan struct{}
	// Refresh asks the source for changes now. An error says why it could not be read; the last view stays.
	Refresh(ctx context.Context) error
	// Run keeps the view up to date until ctx is done, and returns nil then.
	Run(ctx context.Context) error
	// Close keeps on disk what a restart needs. Run must have returned.
	Close() error
}

// The states of a source.
const (
	StateOK       = "ok"       // the view is what the source has
	StateDegraded = "degraded" // the source cannot be read: the last view serves
	StateNoView   = "no-view"  // nothing was ever read
)

// Status is the report of a source.
type Status struct {
	Source     string         `json:"source"` // ldif or ad
	State      string         `json:"state"`  // StateOK, StateDegraded or StateNoView
	DC         string         `json:"dc"`     // the domain controller that is asked; empty for a file
	Method     string         `json:"method"` // how changes are seen; watch for a file
	Objects    map[string]int `json:"objects"`
	Addresses  int            `json:"addresses"`
	LastChange *time.Time     `json:"last_change"`           // when the view last changed; null when never
	LastPoll   *time.Time     `json:"last_poll"`             // when the source was last asked, with success or not; null when never
	AgeSeconds *int64         `json:"age_seconds"`           // since the source was last asked with success; null without a view
	LagSeconds *int64         `json:"lag_seconds,omitempty"` // from the latest change in the directory, by the domain controller's clock, until it was seen; absent for a file
	LastError  string         `json:"last_error,omitempty"`
	Warnings   int            `json:"warnings,omitempty"` // attributes that could not be understood
	Bytes      int            `json:"bytes,omitempty"`    // memory of the view
}

// holder is what all sources have: the view, its age, its snapshot.
type holder struct {
	name, method string
	log          *slog.Logger
	now          func() time.Time
	snapshot     *SnapshotFile // nil: none is kept
	identity     string        // Meta.Source

	view atomic.Pointer[View]

	mu        sync.Mutex
	changed   chan struct{}
	meta      Meta
	lastPoll  time.Time
	lastError error
	dc        string
	lag       *int64        // seconds
	cost      time.Duration // of writing the view to disk; zero when that failed last
	saved     bool          // the view is on disk
	attempted bool          // writing it was tried
	tried     time.Time     // when something was last written
	onDisk    time.Time     // the LastRead that is on disk
}

// restPerSave is how many times as long as it took to write a view nothing more is written, when only some objects changed since.
const restPerSave = 30

// persistEvery is how often the age is written to disk, and how soon a failed write is tried again.
const persistEvery = time.Minute

// View is the newest view; nil when none was ever had.
func (h *holder) View() *View { return h.view.Load() }

// LastRead is when the source was last read with success; zero when never.
func (h *holder) LastRead() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meta.LastRead
}

// Age is the time since LastRead; never negative.
func (h *holder) Age(now time.Time) time.Duration {
	last := h.LastRead()
	if h.View() == nil || last.IsZero() {
		return math.MaxInt64
	}
	return max(0, now.Sub(last))
}

// Changed gives a channel that is closed when the next view is in place.
func (h *holder) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Status reports the state.
func (h *holder) Status() Status {
	now, v := h.now(), h.View()
	age := h.Age(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	polled := h.lastPoll
	if polled.IsZero() {
		polled = h.meta.LastRead // before a restart
	}
	s := Status{Source: h.name, DC: h.dc, Method: h.method, LagSeconds: h.lag, State: StateOK, Objects: Stats{}.ByKind(),
		LastChange: timeOrNil(h.meta.LastChange), LastPoll: timeOrNil(polled)}
	if h.lastError != nil {
		s.State, s.LastError = StateDegraded, h.lastError.Error()
	}
	if v == nil {
		s.State = StateNoView
		return s
	}
	if h.lastPoll.IsZero() {
		s.State = StateDegraded // the snapshot, and the source was not asked yet
	}
	stats := v.Stats()
	s.Objects, s.Addresses, s.Warnings, s.Bytes = stats.ByKind(), stats.Addresses, stats.Warnings, stats.Bytes
	seconds := int64(age / time.Second)
	s.AgeSeconds = &seconds
	return s
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// restore takes the view from the snapshot, if there is one of this source.
func (h *holder) restore() {
	if h.snapshot == nil {
		return
	}
	v, m, err := h.snapshot.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		h.log.Warn("the directory snapshot is not used", "error", err)
		return
	case m.Source != h.identity:
		h.log.Warn("the directory snapshot is not used: it is of another source", "snapshot", m.Source, "configured", h.identity)
		return
	}
	if now := h.now(); m.LastRead.After(now) {
		m.LastRead = now // the clock was set back
	}
	h.meta, h.saved, h.onDisk = m, true, m.LastRead
	h.view.Store(v)
	freeMemory(v)
	h.log.Info("directory view from the snapshot", "objects", v.Stats().Total(), "last_read", m.LastRead)
}

// largeView is from how many bytes on it is worth the collector's time to give memory back to the system at once.
const largeView = 16 << 20

// freeMemory gives back what making a large view took, and the view before it, which together are as large as the view.
func freeMemory(v *View) {
	if v.Stats().Bytes > largeView {
		debug.FreeOSMemory()
	}
}

// swap puts a view in place that was read at a time.
func (h *holder) swap(v *View, read time.Time, state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempted = false
	h.put(v, read, state)
}

// advance puts a view in place that is the last one with a few changes. It is not worth being written to disk at once, however large it is.
func (h *holder) advance(v *View, read time.Time, state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(v, read, state)
}

func (h *holder) put(v *View, read time.Time, state []byte) {
	h.meta = Meta{Source: h.identity, LastRead: read, LastChange: read, State: state}
	h.lastPoll, h.lastError = read, nil
	h.saved = false
	h.view.Store(v)
	close(h.changed)
	h.changed = make(chan struct{})
}

// confirm notes that the source still has what the view shows.
func (h *holder) confirm(at time.Time, state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meta.LastRead, h.meta.State = at, state
	h.lastPoll, h.lastError = at, nil
}

// fail notes that the source could not be read. It logs each new reason once.
func (h *holder) fail(at time.Time, err error) {
	h.mu.Lock()
	known := h.lastError != nil && h.lastError.Error() == err.Error()
	h.lastPoll, h.lastError = at, err
	h.mu.Unlock()
	if !known {
		h.log.Error("the directory cannot be read; the last view stays", "error", err, "have_view", h.View() != nil)
	}
}

// persist writes to disk what is not there yet; the age alone at most once a minute, unless it is the end. It must not be called beside swap.
func (h *holder) persist(end bool) error {
	v := h.View()
	if h.snapshot == nil || v == nil {
		return nil
	}
	h.mu.Lock()
	m, saved, now := h.meta, h.saved, h.now()
	pause := persistEvery
	if !saved && h.cost > 0 {
		pause = restPerSave * h.cost
	}
	due := end || now.Sub(h.tried) >= pause || now.Before(h.tried)
	if saved && m.LastRead.Equal(h.onDisk) || !due && (saved || h.attempted) {
		h.mu.Unlock()
		return nil
	}
	h.tried, h.attempted = now, true
	h.mu.Unlock()

	err := h.write(v, m, saved)
	if err != nil {
		h.log.Error("the directory view cannot be kept on disk", "error", err)
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onDisk, h.saved = m.LastRead, true
	return nil
}

// write writes the age when the view is on disk, else all.
func (h *holder) write(v *View, m Meta, saved bool) error {
	if saved {
		return h.snapshot.Touch(m)
	}
	begin := time.Now()
	err := h.snapshot.Save(v, m)
	h.cost = time.Since(begin)
	if err != nil {
		h.cost = 0
	}
	return err
}
