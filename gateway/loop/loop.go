// Package loop finds messages that two mail systems send to each other through the gateway without end.
//
// Three things show it. The number of Received fields (RFC 5321 6.3) is counted elsewhere, and needs the other systems to keep them
// and many rounds. This package adds a trace field of the gateway's own, which says how often and between which sides a message
// passed, and which nobody else can write; and a memory of what was passed on lately, for systems that take foreign fields out.
package loop

import (
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/routing"
)

// Passage is one way of a message through the gateway.
type Passage struct {
	From, To routing.Side
}

func (p Passage) String() string { return sideName(p.From) + ">" + sideName(p.To) }

// sideName is how a side is written: the gateway itself, which sends its own messages, has the empty name in routing.
func sideName(s routing.Side) string {
	if s == routing.Gateway {
		return "gateway"
	}
	return string(s)
}

// parseSide is the inverse of sideName.
func parseSide(s string) (routing.Side, bool) {
	switch side := routing.Side(s); side {
	case routing.OnPrem, routing.Cloud, routing.Internet:
		return side, true
	case "gateway":
		return routing.Gateway, true
	}
	return "", false
}

// Options are for New.
type Options struct {
	// Gateway is this gateway's id: its host name.
	Gateway string
	// Key is what trace fields are signed with (see LoadKey): gateways that share a domain share it.
	Key []byte
	// MaxPassages is how often a message may pass; 8. MaxSame is how often it may pass in one direction, if it also passed in the
	// opposite one; 3.
	MaxPassages, MaxSame int
	// MaxReturns is how often a message for one recipient may come back from the side it was sent to; 2.
	MaxReturns int
	// MaxAge is how long a trace field counts, 7 days: a message that was kept and is sent again is no loop.
	MaxAge time.Duration
	// Remember is how long a message is remembered, 1 h; Entries how many messages and recipients, 100,000 of some 150 octets each.
	Remember time.Duration
	Entries  int
	// Names are what an administrator calls the sides' systems. Default: "the internet", "Exchange Online" and "the on-premises
	// system".
	Names map[routing.Side]string
	Clock func() time.Time
}

// Detector finds loops. It may be used by many goroutines.
type Detector struct {
	o      Options
	memory *memory
}

// New returns a Detector. Its errors are about the Options.
func New(o Options) (*Detector, error) {
	if o.Gateway == "" || strings.ContainsAny(o.Gateway, "; \t\r\n") {
		return nil, fmt.Errorf("loop detection: %q is no id of a gateway", o.Gateway)
	}
	if len(o.Key) < minKey {
		return nil, fmt.Errorf("loop detection: a key of %d octets, want %d at least", len(o.Key), minKey)
	}
	setDefault(&o.MaxPassages, 8)
	setDefault(&o.MaxSame, 3)
	setDefault(&o.MaxReturns, 2)
	setDefault(&o.MaxAge, 7*24*time.Hour)
	setDefault(&o.Remember, time.Hour)
	setDefault(&o.Entries, 100_000)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	names := map[routing.Side]string{
		routing.Internet: "the internet", routing.Cloud: "Exchange Online", routing.OnPrem: "the on-premises system",
		routing.Gateway: "the gateway",
	}
	for side, name := range o.Names {
		names[side] = name
	}
	o.Names = names
	return &Detector{o: o, memory: newMemory(o.Entries, o.Remember)}, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Loop says that a message runs in circles.
type Loop struct {
	// A and B are the two sides that send it to each other, B being the one that it comes from now. They are the same where one
	// system sends it to itself.
	A, B routing.Side
	// Recipient is whose mail it is where the memory found the loop; else empty: all recipients'.
	Recipient string
	// Why is the evidence, for log and reply.
	Why string
	// names are what the two are called.
	names [2]string
}

// Systems names the two systems, for a log line.
func (l *Loop) Systems() string {
	if l.A == l.B {
		return l.names[1] + " and itself"
	}
	return l.names[0] + " and " + l.names[1]
}

// Reply refuses the message.
func (l *Loop) Reply() *smtp.SMTPError {
	what := l.Systems() + " send this message to each other"
	if l.A == l.B {
		what = l.names[1] + " sends this message to itself"
	}
	return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 6}, Message: "Loop: " + what + ": " + l.Why}
}

// Check says whether the message whose trace is s, which comes from a side, runs in circles: nil when it does not.
func (d *Detector) Check(s State, from routing.Side) *Loop {
	if n := s.passages(); n >= d.o.MaxPassages {
		return d.loop(s, from, fmt.Sprintf("it passed this gateway %d times (%s)", n, s.path()))
	}
	most, times := s.mostUsed()
	if times >= d.o.MaxSame && s.Count > 0 && s.wentBack(most) {
		return d.loop(s, from, fmt.Sprintf("it passed this gateway from %s to %s %d times (%s)",
			sideName(most.From), sideName(most.To), times, s.path()))
	}
	return nil
}

// loop names the two sides: where the message comes from, and the side that it last went back and forth with, which is the same one when
// its last passage was from there to there.
func (d *Detector) loop(s State, from routing.Side, why string) *Loop {
	other := from
	if n := len(s.Path); n > 0 && s.Path[n-1] == (Passage{From: from, To: from}) {
		return d.between(from, from, why)
	}
	for i := len(s.Path) - 1; i >= 0 && other == from; i-- {
		if p := s.Path[i]; p.From != from {
			other = p.From
		} else {
			other = p.To
		}
	}
	return d.between(other, from, why)
}

func (d *Detector) between(a, b routing.Side, why string) *Loop {
	return &Loop{A: a, B: b, Why: why, names: [2]string{d.o.Names[a], d.o.Names[b]}}
}

// CheckRecipient says whether a message comes back once too often from the side that it was sent to for this recipient: nil when it
// does not. Ask when the message has been read, before it is accepted: it changes nothing.
func (d *Detector) CheckRecipient(messageID, recipient string, from routing.Side) *Loop {
	if messageID == "" {
		return nil // nothing to know it by
	}
	seen, ok := d.memory.get(identity(messageID, recipient), d.o.Clock())
	if !ok || !seen.returned(from) {
		return nil
	}
	if returns := int(seen.returns) + 1; returns > d.o.MaxReturns {
		l := d.between(seen.from, from, fmt.Sprintf("it came back from %s %d times", sideName(from), returns))
		l.Recipient = recipient
		return l
	}
	return nil
}

// Passed remembers that a message for a recipient went from one side to another. The recipient is named as for CheckRecipient: as
// at RCPT, or the member where that was a group. Call it when the message was accepted, and not again when a delivery is tried
// again.
func (d *Detector) Passed(messageID, recipient string, p Passage) {
	if messageID != "" {
		d.memory.passed(identity(messageID, recipient), p, d.o.Clock())
	}
}

// Remembered is how many messages and recipients are in memory.
func (d *Detector) Remembered() int { return d.memory.len() }
