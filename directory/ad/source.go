package ad

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/coexist-mail/coexist/directory"
)

// Source is a [directory.Source] from Active Directory. All methods are safe for use by any number of goroutines.
type Source struct {
	cfg  Config
	keep *directory.Keeper

	turn chan struct{} // holds one token: who has it may use what is below

	st       state
	draft    *directory.View // what is loaded or changed in pieces, until it is complete and takes the place of the view
	loading  bool            // draft is a load
	piece    int             // how many objects are read before their changes are applied
	first    int             // the URL to try first
	link     *link
	recheck  map[directory.GUID]bool      // groups of which the members are to be read anew
	followed time.Time                    // when changes were last asked for
	started  bool                         // the method was chosen
	chosen   time.Time                    // when
	dirsyncs []Method                     // the ways of DirSync that are tried
	silent   map[Method]time.Time         // when one was not answered
	held     map[directory.GUID]time.Time // objects that another domain controller had, and until when they are kept
	failing  bool
	shrunk   shrunk
	peak     peak

	begun time.Time
	asked atomic.Bool // with whatever result

	compare     bool          // all objects are to be compared as soon as possible: changes may have been missed
	compared    time.Time     // when all objects were last compared
	comparedUSN int64         // highestCommittedUSN before that
	cost        time.Duration // of the last comparison
}

// New makes a source with the view of the snapshot, if there is a good one. It does not connect yet: Refresh or Run do.
func New(c Config) *Source {
	c.defaults()
	s := &Source{cfg: c, turn: make(chan struct{}, 1), recheck: map[directory.GUID]bool{}, silent: map[Method]time.Time{}, piece: guidsPerChange, compare: true, dirsyncs: []Method{DirSync, DirSyncObjectSecurity}}
	s.turn <- struct{}{}
	s.begun = c.Now()
	s.keep = directory.NewKeeper(directory.KeeperConfig{Name: "ad", Identity: c.identity(), Snapshot: c.Snapshot, Now: c.Now, Log: c.Log})
	if s.keep.View() != nil {
		s.st = decodeState(s.keep.State())
	}
	for i, u := range c.URLs {
		if u == s.st.URL {
			s.first = i
		}
	}
	s.keep.Describe(s.st.URL, string(s.st.Method))
	return s
}

// newest is the view that changes are applied to.
func (s *Source) newest() *directory.View {
	if s.draft != nil {
		return s.draft
	}
	return s.View()
}

// View is the newest view; nil when none was ever had.
func (s *Source) View() *directory.View { return s.keep.View() }

// LastRead is when Active Directory was last asked with success; zero when never.
func (s *Source) LastRead() time.Time { return s.keep.LastRead() }

// Age is the time since LastRead, and the longest possible duration without a view. A view of the snapshot is as old as can be until the first question was answered, or refused, or for a few seconds: who was
// made meanwhile must not be told to be unknown.
func (s *Source) Age(now time.Time) time.Duration {
	if !s.asked.Load() && s.keep.View() != nil && now.Sub(s.begun) < firstAnswer {
		return math.MaxInt64
	}
	return s.keep.Age(now)
}

// firstAnswer is how long the first answer is waited for after a start.
const firstAnswer = 5 * time.Second

// Status reports the state.
func (s *Source) Status() directory.Status { return s.keep.Status() }

// Changed gives a channel that is closed when the next view is in place.
func (s *Source) Changed() <-chan struct{} { return s.keep.Changed() }

// Refresh asks for changes now, and compares all objects when the account cannot see deletions. An error says why Active Directory could not be read; the last view stays.
func (s *Source) Refresh(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	if !s.st.Deletions {
		s.compare = true
	}
	return s.poll(ctx)
}

func (s *Source) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the directory, which is being read: %w", ctx.Err())
	}
}

func (s *Source) give() { s.turn <- struct{}{} }

// Run asks for changes at every refresh until ctx is done, and returns nil then.
func (s *Source) Run(ctx context.Context) error {
	pause := newPauses(&s.cfg)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if s.take(ctx) != nil {
			return nil
		}
		begin, account := time.Now(), s.cfg.account()
		if left := pause.refused(begin, account); left > 0 && s.link == nil {
			s.give()
			timer.Reset(min(left, s.cfg.Refresh))
			continue
		}
		err := s.poll(ctx)
		s.give()
		timer.Reset(min(pause.after(begin, account, err), s.cfg.Refresh))
	}
}

// Close closes the connection, and writes to disk what is not there yet. Run must have returned.
func (s *Source) Close() error {
	<-s.turn
	defer s.give()
	s.drop()
	return s.keep.Close()
}

func (s *Source) drop() {
	s.link.close()
	s.link = nil
}

// poll brings the view up to date. A connection that broke while nothing was asked is made again at once.
func (s *Source) poll(ctx context.Context) error {
	defer s.asked.Store(true)
	idle := s.link != nil
	err := s.once(ctx)
	if idle && errors.Is(err, errGone) && ctx.Err() == nil {
		s.cfg.Log.Info("the connection to the domain controller is made again", "error", err)
		err = s.once(ctx)
	}
	switch {
	case err == nil:
		if s.failing {
			s.cfg.Log.Info("the directory can be read again", "dc", s.link.name())
		}
		s.failing = false
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		s.failing = true
		s.keep.Fail(s.cfg.Now(), err)
	}
	_ = s.keep.Persist() // it logs its error
	return err
}

// once connects if need be and does what is due.
func (s *Source) once(ctx context.Context) error {
	fresh := s.link == nil
	if fresh {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	// A request that is under way ends with ctx.
	conn := s.link.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := s.work(ctx)
	if err != nil {
		if fresh && !errors.Is(err, errUnbelieved) {
			s.first = (s.first + 1) % len(s.cfg.URLs) // it takes connections, and is of no use
		}
		s.drop()
	}
	return err
}

// connect tries the domain controllers in turn, the last good one first.
func (s *Source) connect(ctx context.Context) error {
	var errs []error
	for i := range s.cfg.URLs {
		n := (s.first + i) % len(s.cfg.URLs)
		l, err := dial(ctx, &s.cfg, s.cfg.URLs[n])
		if err == nil {
			s.link, s.first = l, n
			s.compare = true // whatever happened to the domain controller in the meantime
			s.started = false
			s.cfg.Log.Info("connected to a domain controller", "dc", l.name())
			return nil
		}
		errs = append(errs, err)
		// The others would refuse the account too, and count that towards a lock-out.
		if errors.Is(err, errCredentials) || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// stale is why the state cannot be gone on from.
type stale struct{ why string }

func (e stale) Error() string { return "everything must be loaded anew: " + e.why }

// work loads everything, or what changed.
func (s *Source) work(ctx context.Context) error {
	err := s.changes(ctx)
	var old stale
	if !errors.As(err, &old) {
		return err
	}
	if s.View() == nil {
		s.cfg.Log.Info("loading the directory", "dc", s.link.name(), "base", s.cfg.BaseDNs)
	} else {
		s.cfg.Log.Warn("loading the whole directory anew; the last view serves meanwhile", "reason", old.why, "dc", s.link.name())
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	return s.changes(ctx)
}

// changes follows the directory from the state on.
func (s *Source) changes(ctx context.Context) error {
	if s.View() == nil {
		return stale{"there is no view"}
	}
	if err := s.follow(ctx); err != nil {
		return err
	}
	if !s.started || s.st.Method != DirSync && time.Since(s.chosen) >= s.cfg.Reconcile {
		if err := s.choose(ctx); err != nil {
			return err
		}
	}
	if s.compareDue() {
		return s.reconcile(ctx)
	}
	return nil
}

// How often all objects are compared: at every refresh when that takes no more than a share of it or next to no time, else after so many times as long as it took.
const (
	cheapShare   = 4
	cheapTime    = 2 * time.Second
	compareShare = 20
)

// compareDue tells whether all objects are to be compared: when changes may have been missed, and when deletions cannot be seen, or it is not certain that they can. While the domain
// controller commits nothing, nobody is deleted.
func (s *Source) compareDue() bool {
	since := time.Since(s.compared)
	switch {
	case s.compare:
		return true
	case s.st.Deletions && s.st.Proved:
		return false
	case since >= s.cfg.Reconcile:
		return true
	case s.link.dc.USN == s.comparedUSN:
		return false
	}
	return s.cost <= max(s.cfg.Refresh/cheapShare, cheapTime) || since >= compareShare*s.cost
}

// breathe follows changes in the middle of something long.
func (s *Source) breathe(ctx context.Context) error {
	if time.Since(s.followed) < s.cfg.Refresh {
		return nil
	}
	return s.follow(ctx)
}

// commit takes a state together with the view that it is about; nil for the view means that it stays.
func (s *Source) commit(v *directory.View, st state) {
	s.st = st
	if s.draft != nil {
		if v != nil {
			s.draft = v
		}
		return
	}
	now, b := s.cfg.Now(), st.encode()
	if v != nil {
		s.peak.note(v, now)
	}
	if v == nil {
		s.keep.Confirm(now, b)
	} else {
		s.keep.Advance(v, now, b)
	}
	s.keep.Describe(s.link.name(), string(st.Method))
}

// pauses decides how long to wait until the next poll.
type pauses struct {
	cfg      *Config
	failures int
	refusals int
	until    time.Time // after a refusal: when the account is tried again, unless it changes before
	account  [sha256.Size]byte
}

func newPauses(c *Config) *pauses { return &pauses{cfg: c} }

// Pauses after failures. They grow, but never beyond refresh, so that the end of trouble is seen soon. Only a refused account is tried rarely: each try counts towards a lock-out. A
// new password or keytab is tried at once.
const (
	firstPause    = 250 * time.Millisecond
	longestPause  = 30 * time.Second
	refusedPause  = 30 * time.Second
	refusedLonger = 10 * time.Minute
)

// after gives the pause after a poll that began at a time with an account, and ended with err.
func (p *pauses) after(begin time.Time, account [sha256.Size]byte, err error) time.Duration {
	p.until = time.Time{}
	switch {
	case err == nil:
		p.failures, p.refusals = 0, 0
		return max(p.cfg.Refresh-time.Since(begin), 10*time.Millisecond)
	case errors.Is(err, errCredentials):
		p.refusals++
		pause := jitter(min(refusedPause<<min(p.refusals-1, 10), refusedLonger))
		p.until, p.account = time.Now().Add(pause), account
		return pause
	}
	p.failures++
	return jitter(min(firstPause<<min(p.failures-1, 10), p.cfg.Refresh, longestPause))
}

// refused gives how long an account that was refused is not to be tried; nothing for another one.
func (p *pauses) refused(now time.Time, account [sha256.Size]byte) time.Duration {
	if account != p.account {
		return 0
	}
	return p.until.Sub(now)
}

// jitter keeps gateways from asking all at the same time.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

var _ directory.Source = (*Source)(nil)
