// Package greylist puts off mail from clients that are not known (RFC 6647): who comes back after a while, as mail servers do and
// most senders of spam do not, is let in, and then not put off again.
package greylist

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
)

// Options are for Open.
type Options struct {
	// File keeps what is known over a restart. Empty: it is forgotten. It holds digests, no addresses.
	File string
	// Delay is how long a triplet is put off, 2 min; Window is how long after its first attempt it must have come back, 48 h;
	// Keep is how long it is known after its last message, 36 days.
	Delay, Window, Keep time.Duration
	// AutoAllow is how many triplets of one network have to be let in before the network is no longer put off; 5. Negative: never.
	AutoAllow int
	// Pending and Known bound the triplets that wait and those that were let in, 100,000 each of 100 octets. In a full list
	// the oldest gives way, so a flood of new ones pushes out no known one.
	Pending, Known int
	Clock          func() time.Time
}

// List is a greylist. It may be used by many goroutines.
type List struct {
	o Options

	mu      sync.Mutex
	pending *recent
	known   *recent
	dirty   bool

	writing sync.Mutex // one writer of File at a time
}

// key is the digest of a triplet or of a network.
type key [16]byte

// Open returns a List with what File holds. A file that cannot be read is an error; one that does not exist, or whose content is
// damaged, begins an empty list: then mail is put off once more.
func Open(o Options) (*List, error) {
	setDefault(&o.Delay, 2*time.Minute)
	setDefault(&o.Window, 48*time.Hour)
	setDefault(&o.Keep, 36*24*time.Hour)
	setDefault(&o.Pending, 100_000)
	setDefault(&o.Known, 100_000)
	if o.AutoAllow == 0 {
		o.AutoAllow = 5
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Window <= o.Delay {
		return nil, fmt.Errorf("greylist: window %v is not longer than delay %v", o.Window, o.Delay)
	}
	l := &List{o: o, pending: newRecent(o.Pending), known: newRecent(o.Known)}
	if err := l.load(); err != nil && !errors.Is(err, errDamaged) {
		return nil, fmt.Errorf("greylist: %w", err)
	}
	return l, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Check says whether a triplet is let in: nil, or the reply that puts it off. sender and recipient are the envelope's, without
// angle brackets. Ask it last, of recipients that would be accepted: it remembers.
func (l *List) Check(client netip.Addr, sender, recipient string) *smtp.SMTPError {
	network := Network(client)
	triplet := digest("triplet", network.String(), normalSender(sender), strings.ToLower(recipient))
	net := digest("network", network.String())
	now := l.o.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isKnown(net, now, l.o.AutoAllow) || l.isKnown(triplet, now, 1) {
		return nil
	}
	first, waiting := l.pending.get(triplet)
	switch age := now.Sub(first.first); {
	case waiting && age >= l.o.Delay && age <= l.o.Window:
		l.pending.remove(triplet)
		l.letIn(triplet, net, now)
		return nil
	case !waiting || age > l.o.Window || age < 0: // a clock that was set back begins again
		first = entry{key: triplet, first: now, last: now}
		l.pending.put(first)
		l.dirty = true
	}
	wait := l.o.Delay - now.Sub(first.first)
	return reply.New(451, smtp.EnhancedCode{4, 7, 1}, fmt.Sprintf("Greylisted, try again in %d seconds", (wait+time.Second-1)/time.Second))
}

// isKnown says whether k was let in count times, and has it known for longer.
func (l *List) isKnown(k key, now time.Time, count int) bool {
	e, ok := l.known.get(k)
	if !ok || count < 1 || int(e.count) < count {
		return false
	}
	if now.Sub(e.last) > l.o.Keep {
		l.known.remove(k)
		return false
	}
	e.last = now
	l.known.put(e)
	l.dirty = true
	return true
}

// letIn remembers a triplet that came back, and counts it for its network.
func (l *List) letIn(triplet, network key, now time.Time) {
	l.known.put(entry{key: triplet, first: now, last: now, count: 1})
	e, ok := l.known.get(network)
	if !ok || now.Sub(e.last) > l.o.Keep {
		e = entry{key: network, first: now}
	}
	e.last = now
	e.count = min(e.count, 1<<30) + 1
	l.known.put(e)
	l.dirty = true
}

// Size is how many triplets wait, and how many triplets and networks are known.
func (l *List) Size() (pending, known int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.len(), l.known.len()
}

// Network is what stands for a client in a triplet: large senders try again from another address beside the first. It is the /24
// of an IPv4 and the /64 of an IPv6 address.
func Network(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := 64
	if client.Is4() {
		bits = 24
	}
	p, _ := client.Prefix(bits) // the zero Addr gives the zero Prefix: one network for those without
	return p
}

// normalSender makes senders equal that differ with each message: runs of digits in the local part, as in VERP, count as one, and
// what follows a + does not count.
func normalSender(sender string) string {
	local, domain := sender, ""
	if at := strings.LastIndexByte(sender, '@'); at >= 0 {
		local, domain = sender[:at], sender[at:]
	}
	if plus := strings.IndexByte(local, '+'); plus > 0 {
		local = local[:plus]
	}
	var b strings.Builder
	digits := false
	for i := range len(local) {
		digit := local[i] >= '0' && local[i] <= '9'
		switch {
		case !digit:
			b.WriteByte(local[i])
		case !digits:
			b.WriteByte('#')
		}
		digits = digit
	}
	return strings.ToLower(b.String() + domain)
}

// digest names what it is given in 16 octets: entries are of one size, and the file tells nobody who writes to whom.
func digest(parts ...string) (k key) {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	copy(k[:], h.Sum(nil))
	return k
}
