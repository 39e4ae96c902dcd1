package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

var (
	itemsBucket  = []byte("items")
	bodiesBucket = []byte("bodies")
	holdsBucket  = []byte("holds")
)

// Options are what a Local store is made with. The zero value is good.
type Options struct {
	// Logger gets damage and recovery; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// FS is the file system of body files; nil is OSFS.
	FS FS
	// InlineMax is the greatest body, in octets, that is kept in the database and not as a file; 0 is 64 KiB.
	InlineMax int64
	// MinFree is the low-water mark: below so many free octets nothing is put, so that deliveries can still be recorded.
	// 0 is 32 MiB, or a twentieth of the file system if that is less; negative is none.
	MinFree int64
}

// Local is the Store in a folder of this machine.
type Local struct {
	dir       string
	fs        FS
	log       *slog.Logger
	now       func() time.Time
	inlineMax int64
	minFree   int64
	lock      *os.File
	report    Report

	dbmu sync.RWMutex // held for writing while db is replaced
	db   *bolt.DB

	mu      sync.Mutex
	index   map[string]*entry
	pending []*op
	undo    map[string]bool // Puts that failed in a commit, and may be in the database all the same; true with a body file
	damaged int
	closed  bool

	salvaged bool          // the database was damaged when it was opened
	dirDirty bool          // of the committer: the name of the database is not known to be durable
	wake     chan struct{} // one token: pending is not empty, or closed
	done     chan struct{} // closed when the committer has ended

	space   spaceCache
	reserve reserve
	paged   pagedOctets
}

// entry is an item in the index.
type entry struct {
	meta
	owner   string
	putting bool // not committed yet: invisible
}

// Report is what opening a store found and mended.
type Report struct {
	Messages int
	// Orphans is the number of body files without a record, removed: the rest of crashes.
	Orphans int
	// Damaged names what was quarantined, with why.
	Damaged []string
	// Compacted is how many octets the database shrank by.
	Compacted int64
	Took      time.Duration
}

// Open opens or makes the store in dir. It fails with ErrLocked when another process has it open. Damage does not make it
// fail: what cannot be read is moved to dir/damaged, logged, and listed in Report.
func Open(dir string, opt Options) (*Local, error) {
	s := &Local{
		dir: dir, fs: opt.FS, log: opt.Logger, now: opt.Now, inlineMax: opt.InlineMax, minFree: opt.MinFree,
		index: map[string]*entry{}, undo: map[string]bool{}, wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if s.fs == nil {
		s.fs = OSFS{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.inlineMax == 0 {
		s.inlineMax = 64 << 10
	}
	for _, d := range []string{dir, filepath.Join(dir, "bodies"), filepath.Join(dir, "damaged")} {
		if err := s.fs.MkdirAll(d); err != nil {
			return nil, fmt.Errorf("opening spool: %w", asFull(err))
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		err = errors.Join(fmt.Errorf("opening spool %s: %w", dir, asFull(err)), s.lock.Close())
		return nil, err
	}
	go s.commitLoop()
	return s, nil
}

// takeLock makes sure that one process has the spool. The lock is a file of its own, since compaction replaces the database.
func (s *Local) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening spool: %w", asFull(err))
	}
	deadline := time.Now().Add(time.Second)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err == nil {
		s.lock = f
		return nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s is locked; is another coexist serve running?", ErrLocked, s.dir)
	}
	return fmt.Errorf("locking spool %s: %w", s.dir, err)
}

// Report tells what Open found, and what was quarantined or compacted since.
func (s *Local) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Damaged = slices.Clone(r.Damaged)
	return r
}

// view runs f in a read transaction. A damaged page makes bbolt panic; that becomes ErrDamaged.
func (s *Local) view(f func(*bolt.Tx) error) error {
	s.dbmu.RLock()
	defer s.dbmu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	return guard(func() error { return s.db.View(f) })
}

// Put implements Store.
func (s *Local) Put(ctx context.Context, it *Item, body io.WriterTo) error {
	if !validID(it.ID) {
		return fmt.Errorf("spool: %q cannot be an id", it.ID)
	}
	if err := s.Room(it.Size); err != nil {
		return err
	}
	e := &entry{owner: it.Owner, putting: true}
	if err := s.announce(it.ID, e); err != nil {
		return err
	}
	o, err := s.preparePut(it, body)
	if err != nil {
		s.forget(it.ID)
		return fmt.Errorf("spooling %s: %w", it.ID, asFull(err))
	}
	if err := s.commit(ctx, o); err != nil {
		s.space.forget()
		return fmt.Errorf("spooling %s: %w", it.ID, err)
	}
	return nil
}

func (s *Local) announce(id string, e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, undoing := s.undo[id]
	switch {
	case s.closed:
		return ErrClosed
	case s.index[id] != nil || undoing:
		return fmt.Errorf("%w: %s", ErrExists, id)
	}
	s.index[id] = e
	return nil
}

func (s *Local) forget(id string) {
	s.mu.Lock()
	delete(s.index, id)
	s.mu.Unlock()
}

// preparePut does all that can be done outside the committer: body read or written, checksum, record.
func (s *Local) preparePut(it *Item, body io.WriterTo) (*op, error) {
	o := &op{kind: opPut, id: it.ID}
	var sum uint32
	var err error
	file := it.Size > s.inlineMax
	if file {
		sum, err = s.writeBodyFile(it.ID, body, it.Size)
	} else {
		o.body, sum, err = readBody(body, it.Size)
	}
	if err != nil {
		return nil, err
	}
	o.meta = metaOf(it, file, sum)
	if o.record, err = encodeRecord(it, o.meta); err != nil && file {
		_ = s.fs.Remove(s.bodyPath(it.ID))
	}
	return o, err
}

// Claim implements Store.
func (s *Local) Claim(ctx context.Context, id, owner string) (*Item, error) {
	if owner == "" {
		return nil, errors.New("spool: a lease needs an owner")
	}
	s.mu.Lock()
	e := s.index[id]
	switch {
	case e == nil || e.putting:
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	case e.owner != "":
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %s, by %s", ErrClaimed, id, e.owner)
	}
	e.owner = owner
	s.mu.Unlock()
	it, err := s.load(id)
	if err != nil {
		s.setOwner(id, "")
		return nil, err
	}
	it.Owner = owner
	return it, nil
}

func (s *Local) setOwner(id, owner string) {
	s.mu.Lock()
	if e := s.index[id]; e != nil {
		e.owner = owner
	}
	s.mu.Unlock()
}

// holder finds the entry of an item that its owner wants to change.
func (s *Local) holder(it *Item) (meta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index[it.ID]
	switch {
	case s.closed:
		return meta{}, ErrClosed
	case e == nil || e.putting:
		return meta{}, fmt.Errorf("%w: %s", ErrNotFound, it.ID)
	case e.owner != it.Owner:
		return meta{}, fmt.Errorf("%w: %s, by %q, not %q", ErrClaimed, it.ID, e.owner, it.Owner)
	}
	return e.meta, nil
}

// Update implements Store.
func (s *Local) Update(ctx context.Context, it *Item) error { return s.write(ctx, it, opUpdate) }

// Release implements Store.
func (s *Local) Release(ctx context.Context, it *Item) error {
	if err := s.write(ctx, it, opRelease); err != nil {
		return err
	}
	it.Owner = ""
	return nil
}

func (s *Local) write(ctx context.Context, it *Item, kind opKind) error {
	old, err := s.holder(it)
	if err != nil {
		return err
	}
	if it.Size != old.size {
		return fmt.Errorf("spool: size of %s changed from %d to %d", it.ID, old.size, it.Size)
	}
	o := &op{kind: kind, id: it.ID, meta: metaOf(it, old.file, old.bodySum)}
	if o.record, err = encodeRecord(it, o.meta); err != nil {
		return err
	}
	if err := s.commit(ctx, o); err != nil {
		return fmt.Errorf("updating %s: %w", it.ID, err)
	}
	return nil
}

// Remove implements Store.
func (s *Local) Remove(ctx context.Context, it *Item) error {
	m, err := s.holder(it)
	if err != nil {
		return err
	}
	if err := s.commit(ctx, &op{kind: opRemove, id: it.ID, meta: m}); err != nil {
		return fmt.Errorf("removing %s: %w", it.ID, err)
	}
	return nil
}

// Get implements Store.
func (s *Local) Get(ctx context.Context, id string) (*Item, error) {
	s.mu.Lock()
	e := s.index[id]
	known, owner := e != nil && !e.putting, ""
	if known {
		owner = e.owner
	}
	s.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	it, err := s.load(id)
	if err != nil {
		return nil, err
	}
	it.setOwner(owner)
	return it, nil
}

// setOwner shows the lease in the state.
func (it *Item) setOwner(owner string) {
	it.Owner = owner
	if owner != "" {
		it.State = Delivering
	}
}

func (s *Local) load(id string) (*Item, error) {
	var it *Item
	err := s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(itemsBucket).Get([]byte(id))
		if b == nil {
			return fmt.Errorf("%w: %s", ErrNotFound, id)
		}
		var err error
		it, _, err = decodeRecord(b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", id, err)
	}
	return it, nil
}

// Open implements Store.
func (s *Local) Open(ctx context.Context, id string) (Body, error) {
	s.mu.Lock()
	e := s.index[id]
	var m meta
	known := e != nil && !e.putting
	if known {
		m = e.meta
	}
	s.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if m.file {
		return s.openBodyFile(id, m)
	}
	var body []byte
	err := s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bodiesBucket).Get([]byte(id))
		if b == nil {
			return fmt.Errorf("%w: the body of %s is missing", ErrDamaged, id)
		}
		body = append(make([]byte, 0, len(b)), b...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading body of %s: %w", id, err)
	}
	if sum := crc32.Checksum(body, castagnoli); sum != m.bodySum || int64(len(body)) != m.size {
		return nil, fmt.Errorf("%w: body of %s has %d octets with checksum %08x, expected %d with %08x", ErrDamaged, id, len(body), sum, m.size, m.bodySum)
	}
	s.paged.add(s, m.size)
	return memoryBody(body), nil
}

// Entries implements Store.
func (s *Local) Entries(ctx context.Context, f func(Entry) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.index {
		if !e.putting && !f(e.entry(id)) {
			return nil
		}
	}
	return nil
}

func (e *entry) entry(id string) Entry {
	state := Waiting
	if e.held {
		state = Held
	}
	return Entry{
		ID: id, Lane: e.lane, State: state, Owner: e.owner, Attempts: int(e.attempts), Size: e.size,
		Received: fromNano(e.received), NextAttempt: fromNano(e.next), HeldUntil: fromNano(e.heldUntil),
	}
}

// List implements Store.
func (s *Local) List(ctx context.Context, filter Filter, f func(*Item) bool) error {
	count := 0
	for _, id := range s.sorted(filter) {
		if err := ctx.Err(); err != nil {
			return err
		}
		it, err := s.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound): // delivered meanwhile
			continue
		case err != nil:
			return err
		case !filter.matches(it):
			continue
		}
		if count++; !f(it) || count == filter.Limit {
			return nil
		}
	}
	return nil
}

// sorted gives the IDs whose heads the filter selects, next attempt first, then oldest.
func (s *Local) sorted(filter Filter) []string {
	type key struct {
		id             string
		next, received int64
	}
	var keys []key
	s.mu.Lock()
	for id, e := range s.index {
		if e.putting || (filter.Side != "" && filter.Side != laneSide(e.lane)) {
			continue
		}
		keys = append(keys, key{id, e.next, e.received})
	}
	s.mu.Unlock()
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.received, b.received), strings.Compare(a.id, b.id))
	})
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].id
	}
	return ids
}

func (f Filter) matches(it *Item) bool {
	if f.State != "" && f.State != it.State {
		return false
	}
	if f.Sender != "" && !strings.EqualFold(f.Sender, it.Envelope.ReversePath) {
		return false
	}
	return f.Recipient == "" || slices.ContainsFunc(it.Recipients, func(r Recipient) bool {
		return strings.EqualFold(f.Recipient, r.Asked) || strings.EqualFold(f.Recipient, r.Query) || strings.EqualFold(f.Recipient, r.Address)
	})
}

// Stats implements Store.
func (s *Local) Stats() Stats {
	free, err := s.space.free(s)
	if err != nil {
		free = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Free: free, Damaged: s.damaged}
	oldest := int64(0)
	for _, e := range s.index {
		if e.putting {
			continue
		}
		st.Messages++
		st.Bytes += e.size
		switch {
		case e.owner != "":
			st.Delivering++
		case e.held:
			st.Held++
		}
		if oldest == 0 || e.received < oldest {
			oldest = e.received
		}
	}
	st.Oldest = fromNano(oldest)
	return st
}

// Close waits for what is being written, and closes the store. What is called afterwards gets ErrClosed.
func (s *Local) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.signal()
	<-s.done
	s.dbmu.Lock()
	defer s.dbmu.Unlock()
	// This writes the list of free pages, which spares the next start a walk over all pages, and takes back failed Puts.
	s.db.NoFreelistSync = false
	err := s.transactHard(nil)
	err = errors.Join(err, s.db.Close(), s.lock.Close())
	s.db = nil
	return err
}
