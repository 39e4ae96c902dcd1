package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Query selects events: those that match every field that is not zero. Text is compared without regard to case.
type Query struct {
	ID, Sender, Recipient, MessageID string
	// Since and Until bound the time; Until is exclusive.
	Since, Until time.Time
	// Limit is the greatest number of events; the latest are given.
	Limit int
	// WithMessage adds to the events of a Recipient those of the same messages that name no recipient, so that the story of
	// the message is whole: received, acknowledged. It is meaningful with Recipient only. Limit counts them too.
	WithMessage bool
}

// Reader searches a folder that a Log writes, or wrote.
type Reader struct {
	dir string
	// poll is how often Follow looks.
	poll time.Duration
}

// NewReader reads in dir, which need not exist yet. It holds nothing open.
func NewReader(dir string) *Reader { return &Reader{dir: dir, poll: 100 * time.Millisecond} }

// Search is Reader.Search after Flush.
func (l *Log) Search(ctx context.Context, q Query) ([]Event, error) {
	l.Flush()
	return NewReader(l.dir).Search(ctx, q)
}

// Search gives the events that match, in order of time. What a Log appended within the last 200 ms may be missing.
func (r *Reader) Search(ctx context.Context, q Query) ([]Event, error) {
	bases, err := segments(r.dir)
	if err != nil {
		return nil, err
	}
	found, err := r.search(ctx, bases, q)
	if err != nil {
		return nil, err
	}
	if q.WithMessage && q.Recipient != "" {
		if found, err = r.addMessages(ctx, bases, q, found); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, func(a, b Event) int { return a.Time.Compare(b.Time) })
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[len(found)-q.Limit:]
	}
	return found, nil
}

// search goes from the newest segment to the oldest, until there is enough. Each segment's events are in order.
func (r *Reader) search(ctx context.Context, bases []string, q Query) ([]Event, error) {
	m := newMatcher(q)
	var parts [][]Event
	count := 0
	for i := len(bases) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part, err := m.segment(bases[i], q.Limit-count)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // pruned meanwhile
			return nil, err
		}
		parts = append(parts, part)
		if count += len(part); q.Limit > 0 && count >= q.Limit {
			break
		}
	}
	slices.Reverse(parts)
	return slices.Concat(parts...), nil
}

// addMessages looks up the messages of the events found.
func (r *Reader) addMessages(ctx context.Context, bases []string, q Query, found []Event) ([]Event, error) {
	seen := map[string]bool{"": true}
	for _, e := range slices.Clone(found) {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		whole, err := r.search(ctx, bases, Query{ID: e.ID, Since: q.Since, Until: q.Until})
		if err != nil {
			return nil, err
		}
		for _, w := range whole {
			if w.Recipient == "" {
				found = append(found, w)
			}
		}
	}
	return found, nil
}

// matcher is a query made ready.
type matcher struct {
	q            Query
	since, until []byte // as text; nil for none
	hashes       []uint64
	// needle is in every line that matches, both in lower case; nil when the query cannot tell.
	needle []byte
}

func newMatcher(q Query) *matcher {
	m := &matcher{q: q}
	if !q.Since.IsZero() {
		m.since = []byte(q.Since.UTC().Format(timeLayout))
	}
	if !q.Until.IsZero() {
		m.until = []byte(q.Until.UTC().Format(timeLayout))
	}
	for f, value := range map[field]string{byID: q.ID, bySender: q.Sender, byRecipient: q.Recipient, byMessageID: q.MessageID} {
		if value == "" {
			continue
		}
		m.hashes = append(m.hashes, key(f, value))
		if quoted := appendString(nil, value); isASCII(value) && len(quoted) > len(m.needle) {
			m.needle = bytes.ToLower(quoted)
		}
	}
	return m
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// segment gives up to limit events (the latest; 0 or less is all) of one segment that match.
func (m *matcher) segment(base string, limit int) ([]Event, error) {
	if m.q.Limit == 0 {
		limit = 0
	}
	x, err := openIndex(base)
	if err != nil {
		return m.scan(base, limit)
	}
	defer x.close()
	if x.count == 0 || !m.overlaps(x.times) {
		return nil, nil
	}
	if len(m.hashes) == 0 {
		return m.scan(base, limit)
	}
	return m.lookup(base, x, limit)
}

func (m *matcher) overlaps(t span) bool {
	return (m.since == nil || t.max >= m.q.Since.UnixMicro()) && (m.until == nil || t.min < m.q.Until.UnixMicro())
}

// lookup reads the lines that the index names for the rarest of the values.
func (m *matcher) lookup(base string, x *index, limit int) ([]Event, error) {
	var offsets []int64
	for i, h := range m.hashes {
		found, err := x.find(h)
		if err != nil {
			return nil, fmt.Errorf("trace index: %w", err)
		}
		if i == 0 || len(found) < len(offsets) {
			offsets = found
		}
	}
	if len(offsets) == 0 {
		return nil, nil
	}
	f, err := os.Open(base + segmentSuffix)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	var found []Event
	for i := len(offsets) - 1; i >= 0; i-- {
		line, err := readLine(f, offsets[i])
		if err != nil {
			continue // cut by a crash
		}
		if e, ok := m.match(line); ok {
			if found = append(found, e); len(found) == limit {
				break
			}
		}
	}
	slices.Reverse(found)
	return found, nil
}

// scan reads a segment without index: the one being written.
func (m *matcher) scan(base string, limit int) ([]Event, error) {
	f, err := os.Open(base + segmentSuffix)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	var found []Event
	if _, err := m.scanLines(f, func(e Event) { found = append(found, e) }); err != nil {
		return nil, err
	}
	if limit > 0 && len(found) > limit {
		found = found[len(found)-limit:]
	}
	return found, nil
}

// scanLines gives f what matches among the complete lines of r, and the octets that these took. It reads and not maps: the
// writer may cut the file, and a mapping past its end would be SIGBUS.
func (m *matcher) scanLines(r io.Reader, f func(Event)) (consumed int64, err error) {
	const piece = 128 << 10 // small enough that the copy in lower case stays in the cache
	buf, lower, have := make([]byte, piece), make([]byte, 0, piece), 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		if err != nil && err != io.EOF {
			return consumed, fmt.Errorf("trace: %w", err)
		}
		if end := bytes.LastIndexByte(buf[:have], '\n') + 1; end > 0 {
			m.scanPiece(buf[:end], lower, f)
			consumed += int64(end)
			have = copy(buf, buf[end:have])
		}
		if err == io.EOF {
			return consumed, nil
		}
		if have == len(buf) { // a line longer than the buffer
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

func (m *matcher) scanPiece(data, lower []byte, f func(Event)) {
	if m.needle == nil {
		eachLine(data, func(_ int64, line []byte) bool {
			if e, ok := m.match(line); ok {
				f(e)
			}
			return true
		})
		return
	}
	lower = appendLower(lower[:0], data)
	for at := 0; ; {
		hit := bytes.Index(lower[at:], m.needle)
		if hit < 0 {
			return
		}
		start := bytes.LastIndexByte(data[:at+hit], '\n') + 1
		end := at + hit + bytes.IndexByte(data[at+hit:], '\n')
		if e, ok := m.match(data[start:end]); ok {
			f(e)
		}
		at = end + 1
	}
}

// appendLower is ASCII only, and without a branch an octet: it is most of the time of a scan.
func appendLower(to, from []byte) []byte {
	to = append(to, from...)
	for i, c := range to {
		isUpper := (c - 'A' - 26) & ^(c - 'A') // bit 7 is set from A to Z; from 0x80 on it is cleared below
		to[i] = c | (isUpper&^c)>>7<<5
	}
	return to
}

// match reads a line, if its time fits, and compares it with the query.
func (m *matcher) match(line []byte) (Event, bool) {
	if at := lineTime(line); at != nil && !m.inTime(at) {
		return Event{}, false
	}
	e, err := parseLine(line)
	if err != nil {
		return e, false
	}
	return e, m.q.matches(&e)
}

func (m *matcher) inTime(at []byte) bool {
	return (m.since == nil || bytes.Compare(at, m.since) >= 0) && (m.until == nil || bytes.Compare(at, m.until) < 0)
}

func (q *Query) matches(e *Event) bool {
	for _, p := range [...]struct{ want, have string }{
		{q.ID, e.ID}, {q.Sender, e.Sender}, {q.Recipient, e.Recipient}, {q.MessageID, e.MessageID},
	} {
		if p.want != "" && !strings.EqualFold(p.want, p.have) {
			return false
		}
	}
	return (q.Since.IsZero() || !e.Time.Before(q.Since.Truncate(time.Microsecond))) && (q.Until.IsZero() || e.Time.Before(q.Until))
}

// Follow calls f for events that match as they are written, until ctx is done or f returns an error, which it returns. With
// Since it begins with the events kept since then; Limit and WithMessage have no meaning.
func (r *Reader) Follow(ctx context.Context, q Query, f func(Event) error) error {
	m := newMatcher(q)
	at, err := r.followFrom(q)
	if err != nil {
		return err
	}
	tick := time.NewTicker(r.poll)
	defer tick.Stop()
	for {
		if err := r.followOnce(m, at, f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// followFrom gives how much of each segment is not to be told.
func (r *Reader) followFrom(q Query) (map[string]int64, error) {
	at := map[string]int64{}
	bases, err := segments(r.dir)
	if err != nil || !q.Since.IsZero() {
		return at, err
	}
	for _, base := range bases {
		at[base] = fileSize(base + segmentSuffix)
	}
	return at, nil
}

// followOnce tells what came since the last time. A line that is half written is told when it is whole.
func (r *Reader) followOnce(m *matcher, at map[string]int64, f func(Event) error) error {
	bases, err := segments(r.dir)
	if err != nil {
		return err
	}
	for _, base := range bases {
		size := fileSize(base + segmentSuffix)
		if size <= at[base] {
			continue
		}
		file, err := os.Open(base + segmentSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		var events []Event
		n, err := m.scanLines(io.NewSectionReader(file, at[base], size-at[base]), func(e Event) { events = append(events, e) })
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		at[base] += n
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}
