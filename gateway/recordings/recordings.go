// Package recordings writes down what clients and the gateway say to each other, for as long and as much as an administrator asks for: when
// mail of one system is refused, the dialogue says why.
//
// Each recording is a file in one folder, readable by its owner only. It is bounded in time and size, and so is the folder. Passwords are
// never in it, and messages only where that was asked for. Convert makes a dialog of it, which can be held against any server.
package recordings

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coexist-mail/coexist/gateway/inbound"
)

// Bounds of a recording, and of the folder.
const (
	DefaultFor  = 15 * time.Minute
	MaxFor      = 24 * time.Hour
	DefaultSize = 10 << 20
	MaxSize     = 100 << 20
	MaxRunning  = 8  // at a time
	MaxKept     = 50 // files; the oldest give way
	MaxTotal    = 500 << 20
)

// Errors that callers may want to tell apart.
var (
	ErrNotFound   = errors.New("no such recording")
	ErrNotRunning = errors.New("the recording has ended")
	ErrTooMany    = errors.New("too many recordings run already: stop one")
	ErrRequest    = errors.New("cannot record so")
)

// Request is what to record.
type Request struct {
	// Clients are the networks whose connections are recorded, from those on that begin after the request.
	Clients []netip.Prefix `json:"clients"`
	// Seconds and Bytes are when it ends; 0 is DefaultFor and DefaultSize, and MaxFor and MaxSize are the most.
	Seconds int64 `json:"seconds,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Bodies has the messages written down too.
	Bodies bool `json:"bodies,omitempty"`
}

func (r Request) withDefaults() (Request, error) {
	r.Seconds, r.Bytes = cmp.Or(r.Seconds, int64(DefaultFor/time.Second)), cmp.Or(r.Bytes, DefaultSize)
	switch {
	case len(r.Clients) == 0:
		return r, fmt.Errorf("%w: no network of clients", ErrRequest)
	case r.Seconds < 1 || r.Seconds > int64(MaxFor/time.Second):
		return r, fmt.Errorf("%w: %d seconds, expected 1 to %d", ErrRequest, r.Seconds, int64(MaxFor/time.Second))
	case r.Bytes < 1<<10 || r.Bytes > MaxSize:
		return r, fmt.Errorf("%w: %d octets, expected %d to %d", ErrRequest, r.Bytes, 1<<10, MaxSize)
	}
	r.Clients = slices.Clone(r.Clients)
	for i, p := range r.Clients {
		if !p.IsValid() {
			return r, fmt.Errorf("%w: a network that is none", ErrRequest)
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		r.Clients[i] = p.Masked()
	}
	return r, nil
}

// State is what became of a recording.
type State string

// The states.
const (
	Running State = "running"
	Stopped State = "stopped" // by an administrator, or with the gateway
	Expired State = "expired" // its time was over
	Full    State = "full"    // its size was reached
	Failed  State = "failed"  // it could not be written
	Ended   State = "ended"   // in an earlier run of the gateway
)

// Info describes a recording.
type Info struct {
	ID      string         `json:"id"`
	State   State          `json:"state"`
	Clients []netip.Prefix `json:"clients"`
	Bodies  bool           `json:"bodies"`
	Started time.Time      `json:"started"`
	Until   time.Time      `json:"until"` // when it ends by itself
	Limit   int64          `json:"limit"` // octets
	Size    int64          `json:"size"`  // octets so far
}

// Store has the recordings of a folder. It may be used by many goroutines.
type Store struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	running []*recording // the newest last
	ended   map[string]State
}

// New returns the Store of a folder, which is made with the first recording. now may be nil.
func New(dir string, now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{dir: dir, now: now, ended: map[string]State{}}
}

// recording is one that runs: what its inbound.Recording writes to.
type recording struct {
	info Info // but for State and Size
	rec  *inbound.Recording
	now  func() time.Time

	mu    sync.Mutex
	file  *os.File
	size  int64
	state State
}

// Write takes lines as long as the recording runs. It never fails: a recording is in nobody's way.
func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state != Running:
	case !r.now().Before(r.info.Until):
		r.end(Expired)
	case r.size+int64(len(p)) > r.info.Limit:
		r.end(Full)
	default:
		n, err := r.file.Write(p)
		if r.size += int64(n); err != nil {
			r.end(Failed)
		}
	}
	return len(p), nil
}

// end closes the file, and says in it why. It is called with the recording locked.
func (r *recording) end(s State) {
	if r.state != Running {
		return
	}
	r.state = s
	if s != Failed {
		n, _ := fmt.Fprintf(r.file, "# %s at %s\n", s, r.now().UTC().Format(time.RFC3339))
		r.size += int64(n)
	}
	r.file.Close()
}

func (r *recording) describe() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == Running && !r.now().Before(r.info.Until) {
		r.end(Expired)
	}
	info := r.info
	info.State, info.Size = r.state, r.size
	return info
}

// headerMark begins the first line of a file; an Info as JSON follows.
const headerMark = "# coexist recording "

const suffix = ".log"

// Start begins a recording.
func (s *Store) Start(r Request) (Info, error) {
	r, err := r.withDefaults()
	if err != nil {
		return Info{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	limits := r.Bytes
	for _, other := range s.running {
		limits += other.info.Limit
	}
	if len(s.running) >= MaxRunning || limits > MaxTotal {
		return Info{}, ErrTooMany
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return Info{}, fmt.Errorf("making the folder of the recordings: %w", err)
	}
	started := s.now().UTC().Truncate(time.Millisecond)
	rec := &recording{now: s.now, state: Running, info: Info{
		Clients: r.Clients, Bodies: r.Bodies, Started: started, Until: started.Add(time.Duration(r.Seconds) * time.Second), Limit: r.Bytes,
	}}
	if err := s.create(rec); err != nil {
		return Info{}, fmt.Errorf("making a recording: %w", err)
	}
	contents := inbound.WithoutBodies
	if r.Bodies {
		contents = inbound.WithBodies
	}
	rec.rec = inbound.NewRecording(rec, contents)
	s.running = append(s.running, rec)
	s.makeRoom()
	return rec.describe(), nil
}

// create makes the file of a recording, under a name that is free, with its header.
func (s *Store) create(rec *recording) error {
	for n := 1; ; n++ {
		id := rec.info.Started.Format("20060102-150405")
		if n > 1 {
			id = fmt.Sprintf("%s-%d", id, n)
		}
		f, err := os.OpenFile(s.path(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) && n < MaxKept+MaxRunning {
			continue
		}
		if err != nil {
			return err
		}
		rec.info.ID, rec.file = id, f
		header, err := json.Marshal(rec.info)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		written, err := fmt.Fprintf(f, "%s%s\n", headerMark, header)
		if rec.size = int64(written); err != nil {
			return errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		return nil
	}
}

// sweep notes what has ended. It is called with the Store locked.
func (s *Store) sweep() {
	s.running = slices.DeleteFunc(s.running, func(r *recording) bool {
		info := r.describe()
		if info.State != Running {
			s.ended[info.ID] = info.State
		}
		return info.State != Running
	})
}

// makeRoom removes the oldest files that are beyond what is kept. It is called with the Store locked.
func (s *Store) makeRoom() {
	list := s.list()
	total := int64(0)
	for i, info := range list { // the newest first
		if info.State == Running {
			total += info.Limit
			continue
		}
		if total += info.Size; i >= MaxKept || total > MaxTotal {
			os.Remove(s.path(info.ID))
			delete(s.ended, info.ID)
		}
	}
}

// For is the recording that a client's connection goes to: of several the one that began last; nil when there is none.
func (s *Store) For(client netip.Addr) *inbound.Recording {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return nil
	}
	s.sweep()
	client = client.Unmap().WithZone("")
	for _, r := range slices.Backward(s.running) {
		if slices.ContainsFunc(r.info.Clients, func(p netip.Prefix) bool { return p.Contains(client) }) {
			return r.rec
		}
	}
	return nil
}

// Stop ends a recording. The error is ErrNotFound or ErrNotRunning.
func (s *Store) Stop(id string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	for _, r := range s.running {
		if r.info.ID == id {
			s.finish(r)
			s.sweep()
			return r.describe(), nil
		}
	}
	if _, err := s.info(id); err != nil {
		return Info{}, err
	}
	return Info{}, ErrNotRunning
}

func (s *Store) finish(r *recording) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(Stopped)
}

// Close ends all recordings.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		s.finish(r)
	}
	s.sweep()
}

// List describes the recordings of the folder, the newest first.
func (s *Store) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	return s.list()
}

func (s *Store) list() []Info {
	list := []Info{}
	entries, _ := os.ReadDir(s.dir) // no folder: no recording
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		if info, err := s.info(id); err == nil {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b Info) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID))
	})
	return list
}

// info describes one recording. It is called with the Store locked.
func (s *Store) info(id string) (Info, error) {
	for _, r := range s.running {
		if r.info.ID == id {
			return r.describe(), nil
		}
	}
	f, err := s.open(id)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, err := readHeader(f)
	if err != nil || info.ID != id {
		return Info{}, ErrNotFound
	}
	if stat, err := f.Stat(); err == nil {
		info.Size = stat.Size()
	}
	info.State = cmp.Or(s.ended[id], Ended)
	return info, nil
}

// maxHeader is more than the header of a request of many networks needs.
const maxHeader = 64 << 10

func readHeader(r io.Reader) (info Info, err error) {
	head, err := io.ReadAll(io.LimitReader(r, maxHeader))
	if err != nil {
		return info, err
	}
	line, _, _ := strings.Cut(string(head), "\n")
	text, ok := strings.CutPrefix(line, headerMark)
	if !ok {
		return info, errors.New("no recording")
	}
	return info, json.Unmarshal([]byte(text), &info)
}

// Open opens the text of a recording, which may still be growing. The error is ErrNotFound, or of the file.
func (s *Store) Open(id string) (io.ReadCloser, error) { return s.open(id) }

func (s *Store) open(id string) (*os.File, error) {
	if id == "" || strings.Trim(id, "0123456789-") != "" { // no way out of the folder
		return nil, ErrNotFound
	}
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("opening a recording: %w", err)
	}
	return f, nil
}

// Remove deletes a recording, which ends before if it runs. The error is ErrNotFound, or of the file.
func (s *Store) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.info(id); err != nil {
		return err
	}
	for _, r := range s.running {
		if r.info.ID == id {
			s.finish(r)
		}
	}
	s.sweep()
	delete(s.ended, id)
	if err := os.Remove(s.path(id)); err != nil {
		return fmt.Errorf("removing a recording: %w", err)
	}
	return nil
}

func (s *Store) path(id string) string { return filepath.Join(s.dir, id+suffix) }
