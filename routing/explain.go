package routing

import (
	"fmt"
	"strings"
)

// Explain tells the decision in a mail admin's words: one line with the outcome, then a line each, indented, for what there is to say.
// It ends with a newline.
func (d Decision) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", d.Recipient, d.outcome())
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", label, text)
		}
	}
	line("object", d.Object)
	line("matched", d.Matched)
	line("because", d.Why)
	line("next hop", strings.Join(d.NextHop, ", "))
	for _, m := range d.Members {
		line("member", m.Recipient+": "+m.outcome()+hops(m.NextHop))
		line("", m.Object+"; "+m.Why)
	}
	for _, l := range d.LeftOut {
		line("left out", l.DN+": "+l.Why)
	}
	return b.String()
}

// outcome is what happens, in a few words and the reason.
func (d *Decision) outcome() string {
	switch d.Action {
	case Relay:
		return fmt.Sprintf("sent to %s as %s (%s)", sideName(d.Side), d.Address, d.Reason)
	case Expand:
		return fmt.Sprintf("expanded to %s (%s)%s", count(len(d.Members), "member"), d.Reason, d.leftOutCount())
	case Defer:
		return fmt.Sprintf("deferred with %s (%s)", d.Reply, d.Reason)
	default:
		return fmt.Sprintf("rejected with %s (%s)", d.Reply, d.Reason)
	}
}

func (d *Decision) leftOutCount() string {
	if len(d.LeftOut) == 0 {
		return ""
	}
	return fmt.Sprintf(", %d left out", len(d.LeftOut))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func hops(h []string) string {
	if len(h) == 0 {
		return ""
	}
	return " via " + strings.Join(h, ", ")
}

func sideName(s Side) string {
	switch s {
	case OnPrem:
		return "on-prem"
	case Cloud:
		return "the cloud"
	case Internet:
		return "the internet"
	default:
		return string(s)
	}
}
