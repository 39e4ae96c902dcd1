package trace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options are what a Log is made with. The zero value is good.
type Options struct {
	// Keep is how long events are kept; 0 is 7 days.
	Keep time.Duration
	// MaxBytes is how much segments and indexes may take together; the oldest go first. 0 is 2 GiB, some 5,000,000 events.
	MaxBytes int64
	// SegmentBytes is when a new segment is begun, beside each hour; 0 is 8 MiB, and 1 GiB the most.
	SegmentBytes int64
	// Logger gets trouble with the disk; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	flushEvery   = 150 * time.Millisecond
	flushOctets  = 256 << 10
	spareMax     = 2 << 20 // a larger buffer is let go
	maxBuffer    = 8 << 20 // of events that the disk has not taken; more are dropped
	segmentSpan  = time.Hour
	maxSegment   = 1 << 30 // offsets are 32 bits
	defaultKeep  = 7 * 24 * time.Hour
	defaultBytes = 2 << 30
)

// Log writes events. Its methods may be called concurrently. It never holds up mail: trouble with the disk costs events, which are
// counted, and is logged.
type Log struct {
	opt Options
	dir string

	mu      sync.Mutex
	buf     []byte
	keys    []entry // of buf, with offsets into it
	times   span    // of buf
	dropped int64
	closed  bool
	kick    chan struct{}      // flush soon: the buffer is large
	sync    chan chan struct{} // flush now, and tell
	done    chan struct{}

	// The writer goroutine alone uses these.
	file    *os.File
	base    string
	begun   time.Time
	size    int64
	entries []entry
	span    span

	lastEntries int
	failing     bool

	spareBuf  []byte // what Append gets at the next flush
	spareKeys []entry

	indexing sync.WaitGroup
}

// Open begins to write in dir, which it makes. It starts a new segment, so that what a crash cut off stays at the end of its
// own; the indexes that a crash left out are made in the background.
func Open(dir string, opt Options) (*Log, error) {
	if opt.Keep <= 0 {
		opt.Keep = defaultKeep
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = defaultBytes
	}
	if opt.SegmentBytes <= 0 {
		opt.SegmentBytes = 8 << 20
	}
	opt.SegmentBytes = min(opt.SegmentBytes, maxSegment)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening trace: %w", err)
	}
	old, err := segments(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{opt: opt, dir: dir, kick: make(chan struct{}, 1), sync: make(chan chan struct{}), done: make(chan struct{})}
	l.indexing.Go(func() { l.finishOld(old) })
	go l.write()
	return l, nil
}

// finishOld indexes segments of earlier processes.
func (l *Log) finishOld(bases []string) {
	for _, base := range bases {
		if x, err := openIndex(base); err == nil {
			_ = x.close()
			continue
		}
		if err := rebuild(base); err != nil {
			l.opt.Logger.Warn("trace segment stays without index", "segment", base, "error", err)
		}
	}
}

// Append adds events. It costs a microsecond each and does not wait for the disk.
func (l *Log) Append(events ...Event) {
	l.mu.Lock()
	for i := range events {
		e := &events[i]
		if l.closed || len(l.buf) > maxBuffer {
			l.dropped++
			continue
		}
		at := e.Time
		if at.IsZero() {
			at = l.opt.Now()
		}
		stamped := *e
		stamped.Time = at
		l.keys = stamped.keys(l.keys, int64(len(l.buf)))
		l.buf = stamped.appendLine(l.buf)
		l.times.add(at)
	}
	large := len(l.buf) > flushOctets
	l.mu.Unlock()
	if large {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
}

// Dropped is the number of events that could not be kept.
func (l *Log) Dropped() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Flush writes what was appended so far.
func (l *Log) Flush() {
	told := make(chan struct{})
	select {
	case l.sync <- told:
		<-told
	case <-l.done:
	}
}

// Close writes what is left, and the index. Events that come later are dropped.
func (l *Log) Close() error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
	<-l.done
	l.indexing.Wait()
	return nil
}

// write is the goroutine that has the files.
func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	clean := l.opt.Now()
	l.prune()
	for {
		var told chan struct{}
		select {
		case <-tick.C:
		case <-l.kick:
		case told = <-l.sync:
		}
		closed := l.flush()
		if told != nil {
			close(told)
		}
		if closed {
			l.endSegment()
			return
		}
		if now := l.opt.Now(); l.file != nil && now.Sub(l.begun) >= segmentSpan {
			l.endSegment()
			l.prune()
			clean = now
		} else if now.Sub(clean) >= 10*time.Minute {
			l.prune()
			clean = now
		}
	}
}

// flush writes the buffer to the segment.
func (l *Log) flush() (closed bool) {
	l.mu.Lock()
	buf, keys, times := l.buf, l.keys, l.times
	l.buf, l.keys, l.times = l.spareBuf[:0], l.spareKeys[:0], span{}
	l.spareBuf, l.spareKeys = nil, nil
	closed = l.closed
	l.mu.Unlock()
	defer func() { // the two buffers take turns
		if cap(buf) <= spareMax {
			l.spareBuf, l.spareKeys = buf, keys
		}
	}()
	if len(buf) == 0 {
		return closed
	}
	if err := l.writeSegment(buf, keys, times); err != nil {
		lost := int64(0)
		eachLine(buf, func(int64, []byte) bool { lost++; return true })
		l.mu.Lock()
		l.dropped += lost
		l.mu.Unlock()
		if !l.failing {
			l.opt.Logger.Error("trace cannot be written; events are lost", "error", err)
		}
		l.failing = true
		return closed
	}
	l.failing = false
	return closed
}

func (l *Log) writeSegment(buf []byte, keys []entry, times span) error {
	if l.file != nil && l.size+int64(len(buf)) > l.opt.SegmentBytes {
		l.endSegment()
		l.prune()
	}
	if l.file == nil {
		if err := l.beginSegment(); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(buf, l.size); err != nil {
		// Half a write must not stay before what comes next.
		return errors.Join(err, l.file.Truncate(l.size))
	}
	for _, k := range keys {
		l.entries = append(l.entries, entry{k.hash, k.offset + uint32(l.size)})
	}
	l.size += int64(len(buf))
	for _, us := range []int64{times.min, times.max} {
		l.span.add(time.UnixMicro(us))
	}
	return nil
}

func (l *Log) beginSegment() error {
	at := l.opt.Now()
	for {
		base := filepath.Join(l.dir, at.UTC().Format(nameLayout))
		f, err := os.OpenFile(base+segmentSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			at = at.Add(time.Microsecond)
			continue
		}
		if err != nil {
			return err
		}
		l.file, l.base, l.begun, l.size, l.span = f, base, at, 0, span{}
		l.entries = make([]entry, 0, l.lastEntries)
		return nil
	}
}

// endSegment closes the segment and has its index made beside.
func (l *Log) endSegment() {
	if l.file == nil {
		return
	}
	base, entries, times, size := l.base, l.entries, l.span, l.size
	if err := l.file.Close(); err != nil {
		l.opt.Logger.Warn("closing trace segment", "error", err)
	}
	l.lastEntries = len(entries) // the next segment will have about as many
	l.file, l.entries = nil, nil
	l.indexing.Go(func() {
		if err := writeIndex(base, entries, times, size); err != nil {
			l.opt.Logger.Warn("trace segment stays without index", "segment", base, "error", err)
		}
	})
}

// prune removes segments that are too old, and the oldest when there is too much. The one being written stays.
func (l *Log) prune() {
	bases, err := segments(l.dir)
	if err != nil {
		l.opt.Logger.Warn("pruning trace", "error", err)
		return
	}
	total := int64(0)
	tooOld := l.opt.Now().Add(-l.opt.Keep)
	for i := len(bases) - 1; i >= 0; i-- {
		base := bases[i]
		if l.file != nil && base == l.base {
			total += l.size
			continue
		}
		total += fileSize(base+segmentSuffix) + fileSize(base+indexSuffix)
		// Written last when its end came, so the modification time is that of its last event.
		info, err := os.Stat(base + segmentSuffix)
		if err == nil && total <= l.opt.MaxBytes && !info.ModTime().Before(tooOld) {
			continue
		}
		for _, suffix := range []string{segmentSuffix, indexSuffix} { // in this order: a segment without index would get one
			if err := os.Remove(base + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				l.opt.Logger.Warn("pruning trace", "error", err)
			}
		}
	}
	l.dropStrays(bases)
}

// dropStrays removes indexes whose segment is gone, which a crash in prune leaves.
func (l *Log) dropStrays(bases []string) {
	known := map[string]bool{}
	for _, b := range bases {
		known[filepath.Base(b)] = true
	}
	names, err := os.ReadDir(l.dir)
	if err != nil {
		return
	}
	for _, n := range names {
		if base, ok := strings.CutSuffix(n.Name(), indexSuffix); ok && !known[base] {
			_ = os.Remove(filepath.Join(l.dir, n.Name()))
		}
	}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
