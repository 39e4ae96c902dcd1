package loop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Field is the name of the trace field.
const Field = "X-Coexist-Trace"

// A trace field is "v=1; g=GATEWAY; n=COUNT; t=UNIX SECONDS; p=PATH; m=MESSAGE; b=DIGEST". PATH has the last passages as from>to,
// the newest last, separated by commas; MESSAGE is a digest of the Message-ID, "-" where there was none; DIGEST is
// HMAC-SHA256 over the rest without white space. Digests are cut to 16 octets (RFC 2104 5) and written in base64url.
//
// Each field has the whole count and path: the newest one alone is enough, so that those below it may get lost, or be taken out
// where the message comes from the internet.
const (
	version  = "1"
	maxPath  = 12
	maxCount = 1_000_000
	// What Inspect looks at of a message that somebody filled with fields.
	maxFields = 64
	maxField  = 2 << 10
)

// State is what the trace fields of a message say.
type State struct {
	// Count is how often the message passed; 0: never, or its fields were lost.
	Count int
	// Path is its last passages, the newest last, maxPath at most.
	Path []Passage
	// Renamed counts passages in genuine fields that are of a message with another Message-ID: a system on the way gave it
	// a new one, or somebody copied the field. They count half.
	Renamed int
	// Forged is how many fields were not written by a gateway with this key, or are damaged.
	Forged int
}

// passages is the count that limits hold for.
func (s State) passages() int { return max(s.Count, s.Renamed/2) }

// path writes the passages for people.
func (s State) path() string {
	words := make([]string, len(s.Path))
	for i, p := range s.Path {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}

// mostUsed is the passage that the path has most often.
func (s State) mostUsed() (most Passage, times int) {
	counts := make(map[Passage]int)
	for _, p := range s.Path {
		counts[p]++
		if counts[p] > times {
			most, times = p, counts[p]
		}
	}
	return most, times
}

// wentBack says whether the path has the way back of p: without it, a message that passes in one direction again and again is sent
// around on the other side of the gateway, through a third system.
func (s State) wentBack(p Passage) bool {
	return p.From == p.To || slices.Contains(s.Path, Passage{From: p.To, To: p.From})
}

// Inspect reads the trace fields of msg, as it came: before the header firewall takes them out.
func (d *Detector) Inspect(msg []byte) State {
	id := messageDigest(message.Inspect(msg).MessageID)
	var own, renamed entry
	var s State
	fields := 0
	for f := range rawmime.Fields(msg) {
		if f.Name == nil || !f.Is(Field) {
			continue
		}
		if fields++; fields > maxFields {
			break
		}
		e, ok := d.parse(f.Value)
		switch {
		case !ok:
			s.Forged++
		case d.o.Clock().Sub(e.time) > d.o.MaxAge:
		case e.message != id && e.message != noMessageID:
			renamed = newer(renamed, e)
		default:
			own = newer(own, e)
		}
	}
	s.Count, s.Path, s.Renamed = own.count, own.path, renamed.count
	if own.count == 0 {
		s.Path = renamed.path
	}
	return s
}

// Append appends the trace field of a message, which Inspect found in state s and which now passes, to dst. messageID is its
// Message-ID, as message.Inspect gives it; at is when it was received, so that every attempt to deliver it has the same field (the zero
// time is now). Each copy for a side has its own field.
func (d *Detector) Append(dst []byte, s State, messageID string, p Passage, at time.Time) []byte {
	if at.IsZero() {
		at = d.o.Clock()
	}
	e := entry{
		gateway: d.o.Gateway, count: min(max(s.Count, s.Renamed), maxCount-1) + 1, time: at, message: messageDigest(messageID),
		path: append(slices.Clone(s.Path), p),
	}
	e.path = e.path[max(0, len(e.path)-maxPath):]
	text := e.text("; ")
	return message.AppendField(dst, Field, text+"; b="+d.digest(e.text(";")))
}

// entry is a trace field.
type entry struct {
	gateway string
	count   int
	time    time.Time
	path    []Passage
	message string
}

// newer is the one of two that knows of more passages.
func newer(a, b entry) entry {
	if b.count > a.count {
		return b
	}
	return a
}

// text is all but the digest.
func (e entry) text(separator string) string {
	path := make([]string, len(e.path))
	for i, p := range e.path {
		path[i] = p.String()
	}
	return strings.Join([]string{"v=" + version, "g=" + e.gateway, "n=" + strconv.Itoa(e.count),
		"t=" + strconv.FormatInt(e.time.Unix(), 10), "p=" + strings.Join(path, ","), "m=" + e.message}, separator)
}

// parse reads a field and tells whether it is genuine. White space does not count: systems on the way fold fields anew.
func (d *Detector) parse(value []byte) (e entry, ok bool) {
	if len(value) > maxField {
		return e, false
	}
	text := strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, string(value))
	signed, digest, found := strings.Cut(text, ";b=")
	if !found || !hmac.Equal([]byte(digest), []byte(d.digest(signed))) {
		return e, false
	}
	// From here on it is what this program wrote, perhaps another version of it.
	for pair := range strings.SplitSeq(signed, ";") {
		name, v, _ := strings.Cut(pair, "=")
		if !e.set(name, v) {
			return entry{}, false
		}
	}
	return e, e.count > 0 && len(e.path) > 0 && e.message != ""
}

// set takes one tag. Tags of later versions are passed over as long as the version is this one.
func (e *entry) set(name, v string) bool {
	switch name {
	case "v":
		return v == version
	case "g":
		e.gateway = v
	case "n":
		n, err := strconv.Atoi(v)
		e.count = n
		return err == nil && n > 0 && n <= maxCount
	case "t":
		t, err := strconv.ParseInt(v, 10, 64)
		e.time = time.Unix(t, 0)
		return err == nil
	case "m":
		e.message = v
	case "p":
		for p := range strings.SplitSeq(v, ",") {
			from, to, _ := strings.Cut(p, ">")
			a, okA := parseSide(from)
			b, okB := parseSide(to)
			if !okA || !okB || len(e.path) == maxPath {
				return false
			}
			e.path = append(e.path, Passage{From: a, To: b})
		}
	}
	return true
}

// digest signs.
func (d *Detector) digest(text string) string {
	h := hmac.New(sha256.New, d.o.Key)
	h.Write([]byte(Field + "\n" + text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// noMessageID stands for a message without one: a system on the way may give it one, so that the field counts for any message.
const noMessageID = "-"

func messageDigest(id string) string {
	if id == "" {
		return noMessageID
	}
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
