package directory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// FileConfig tells a [FileSource] what to read.
type FileConfig struct {
	Path     string           // of the LDIF file
	Snapshot string           // where to keep the view; empty: nowhere
	Poll     time.Duration    // how often to look at the file; default 1s
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default: no log
}

// FileSource is a [Source] from an LDIF file. The file is looked at every second, and read when it is another one or has other content. A file that is missing, broken, cut
// off or empty leaves the last view in place, and so does one that is still being written.
type FileSource struct {
	holder
	path string
	poll time.Duration

	refresh sync.Mutex // one look at a time
	loaded  fileState  // what the view was made of
	bad     fileState  // what could not be read
	badErr  error
	pending *fileState // what was seen to change, and may not be complete yet
}

// fileState is what tells one content of a file from another.
type fileState struct {
	Dev, Ino uint64
	Size     int64
	Mtime    time.Time
	Ctime    time.Time
	Hash     []byte // SHA-256 of the content
	Settled  bool   // the file was not changed just before it was read, so that a later change shows in its times
	Ended    bool   // its last line has a line end
}

// same tells whether nothing shows that the file changed.
func (s fileState) same(o fileState) bool {
	return s.Dev == o.Dev && s.Ino == o.Ino && s.Size == o.Size && s.Mtime.Equal(o.Mtime) && s.Ctime.Equal(o.Ctime)
}

// settled tells whether the file was at rest before a time, so that a change after it shows in its times.
func (s fileState) settled(at time.Time) bool {
	return at.Sub(s.Mtime) > settleTime && at.Sub(s.Ctime) > settleTime
}

// knows tells whether s, which was read, need not be read again to know what o has. When s was read just after a change it is read once more, as soon as that is of use.
func (s fileState) knows(o fileState, at time.Time) bool {
	return s.same(o) && (s.Settled || !o.settled(at))
}

// settleTime is how coarse the times of a file can be (2 s on FAT).
const settleTime = 2 * time.Second

var errUnfinished = errors.New("the file changed while it was read; it is read again when it has come to rest")

// NewFileSource makes a source with the view of the snapshot, if there is a good one. It does not look at the file yet: Refresh or Run do.
func NewFileSource(c FileConfig) *FileSource {
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		path = c.Path
	}
	f := &FileSource{path: c.Path, poll: c.Poll, holder: holder{
		name: "ldif", method: "watch", log: c.Log, now: c.Now, identity: "ldif:" + path, changed: make(chan struct{}),
	}}
	if c.Snapshot != "" {
		f.snapshot = NewSnapshotFile(c.Snapshot)
	}
	f.restore()
	if f.View() != nil && json.Unmarshal(f.meta.State, &f.loaded) != nil {
		f.loaded = fileState{}
	}
	return f
}

// Refresh looks at the file now, and reads it if need be, also when it was changed a moment ago.
func (f *FileSource) Refresh(ctx context.Context) error {
	f.refresh.Lock()
	defer f.refresh.Unlock()
	err := f.look(ctx, true)
	f.persist(false)
	return err
}

// Run looks at the file at every poll until ctx is done. Without a view it reads the file at once, whatever its age.
func (f *FileSource) Run(ctx context.Context) error {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		f.refresh.Lock()
		_ = f.look(ctx, f.View() == nil) // look and persist report their errors
		_ = f.persist(false)
		changing := f.pending != nil
		f.refresh.Unlock()
		if first && changing {
			wait.Reset(min(f.poll, startRest))
			continue
		}
		wait.Reset(f.poll)
	}
}

// startRest is how long a file that was just written must be at rest at a start, when the snapshot of an older one serves in the meantime.
const startRest = 250 * time.Millisecond

// Close writes the age of the view to disk, and the view if it is not there yet.
func (f *FileSource) Close() error {
	f.refresh.Lock()
	defer f.refresh.Unlock()
	return f.persist(true)
}

// look compares the file with what is known of it. A file that changed a moment ago is read at once if now is set, else when it has not changed from one look to the next.
func (f *FileSource) look(ctx context.Context, now bool) error {
	at := f.now()
	state, err := statFile(f.path)
	if err != nil {
		f.pending = nil
		f.fail(at, err)
		return err
	}
	switch {
	case f.View() != nil && f.loaded.knows(state, at):
		f.bad, f.badErr, f.pending = fileState{}, nil, nil
		return f.readable(at)
	case f.badErr != nil && f.bad.knows(state, at):
		f.fail(at, f.badErr)
		return f.badErr
	case now || state.settled(at), state.same(f.loaded), state.same(f.bad), f.pending != nil && state.same(*f.pending):
		f.pending = nil
		return f.load(ctx, at)
	}
	f.pending = &state // a writer may be at work
	return nil
}

// readable confirms the view, when the file can still be opened.
func (f *FileSource) readable(at time.Time) error {
	file, err := os.Open(f.path)
	if err != nil {
		err = fmt.Errorf("reading the directory: %w", err)
		f.fail(at, err)
		return err
	}
	file.Close()
	f.confirm(at, f.stateBytes())
	return nil
}

func (f *FileSource) stateBytes() []byte {
	b, err := json.Marshal(f.loaded)
	if err != nil {
		return nil
	}
	return b
}

// load reads the file and swaps the view when its content is another.
func (f *FileSource) load(ctx context.Context, at time.Time) error {
	view, state, err := f.read(ctx, at)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errUnfinished):
		f.log.Debug("the directory file is being written", "file", f.path)
		return err
	case err != nil:
		f.bad, f.badErr = state, err // without a state it is tried again at the next look
		f.fail(at, err)
		return err
	}
	f.bad, f.badErr = fileState{}, nil
	f.loaded = state
	if view == nil {
		f.confirm(at, f.stateBytes())
		return nil
	}
	old := f.View()
	f.swap(view, at, f.stateBytes())
	f.report(view, old)
	freeMemory(view)
	return nil
}

func (f *FileSource) report(view, old *View) {
	s := view.Stats()
	f.log.Info("directory view read", "file", f.path, "objects", s.Total(), "addresses", s.Addresses, "skipped", s.Skipped, "warnings", s.Warnings)
	for i, w := range view.Warnings() {
		if i == 10 {
			f.log.Warn("further attributes in the directory could not be understood", "count", s.Warnings-i)
			break
		}
		f.log.Warn("an attribute in the directory could not be understood, and is taken as absent", "file", f.path, "line", w.Line, "dn", w.DN, "attribute", w.Attribute, "problem", w.Text)
	}
	if old != nil && s.Total() < old.Stats().Total()/2 {
		f.log.Warn("the directory has lost more than half of its objects: is the export complete?", "objects", s.Total(), "before", old.Stats().Total())
	}
}

// read makes a view of the file, or none when the content is that of the current view. The state is that of the file that was read; it is empty when an error says
// nothing about the content.
func (f *FileSource) read(ctx context.Context, at time.Time) (*View, fileState, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fileState{}, fmt.Errorf("reading the directory: %w", err)
	}
	defer file.Close()
	state, err := stateOf(file)
	if err != nil {
		return nil, fileState{}, err
	}
	in := &sumReader{ctx: ctx, r: file, sum: sha256.New()}
	var view *View
	state.Ended = f.loaded.Ended
	if old := f.View(); old == nil || state.Size != f.loaded.Size || !in.is(f.loaded.Hash) {
		if _, err = file.Seek(0, io.SeekStart); err == nil {
			in.sum.Reset()
			view, err = f.parse(in, old, &state)
		}
	}
	if in.err != nil {
		return nil, fileState{}, fmt.Errorf("reading the directory: %w", in.err)
	}
	if after, serr := statFile(f.path); serr != nil || !after.same(state) {
		return nil, state, errUnfinished
	}
	state.Hash = in.sum.Sum(nil)
	state.Settled = state.settled(at)
	return view, state, err
}

// parse makes a view of the file, unless that seems to have been cut off since the old view was made.
func (f *FileSource) parse(in io.Reader, old *View, state *fileState) (*View, error) {
	b := NewBuilder()
	if old != nil {
		b = old.Rebuild()
	}
	view, end, err := readLDIF(in, f.path, b)
	if err != nil {
		return nil, err
	}
	state.Ended = end.ended
	if old == nil {
		return view, nil
	}
	if err := cutOff(view, old, end, f.loaded.Ended); err != nil {
		return nil, &LDIFError{Name: f.path, Line: end.line, Err: err}
	}
	return view, nil
}

func statFile(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, fmt.Errorf("reading the directory: %w", err)
	}
	return stateFrom(info)
}

func stateOf(f *os.File) (fileState, error) {
	info, err := f.Stat()
	if err != nil {
		return fileState{}, fmt.Errorf("reading the directory: %w", err)
	}
	return stateFrom(info)
}

func stateFrom(info os.FileInfo) (fileState, error) {
	if !info.Mode().IsRegular() {
		return fileState{}, fmt.Errorf("reading the directory: %s is not a regular file", info.Name())
	}
	s := fileState{Size: info.Size(), Mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Dev, s.Ino = uint64(sys.Dev), sys.Ino
		s.Ctime = time.Unix(sys.Ctim.Unix())
	}
	return s, nil
}

// sumReader sums what it reads, stops when ctx is done, and keeps an error of the reading itself apart from what is wrong with the content.
type sumReader struct {
	ctx context.Context
	r   io.Reader
	sum hash.Hash
	err error
}

func (s *sumReader) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// is tells whether the rest has this sum.
func (s *sumReader) is(sum []byte) bool {
	_, err := io.Copy(io.Discard, s)
	return err == nil && bytes.Equal(s.sum.Sum(nil), sum)
}

var _ Source = (*FileSource)(nil)
