// Package bounce writes delivery status notifications (DSNs): what the sender of a message is told about its recipients, in
// words for a person (RFC 6522) and in fields for a program (RFC 3464, RFC 6533 where addresses need UTF-8); and knows when
// the sender wants to be told (RFC 3461).
package bounce

import (
	"strings"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
)

// Kind is what a DSN tells; its values are the words of the Action field (RFC 3464 2.3.3).
type Kind string

// The kinds.
const (
	Failure  Kind = "failed"    // given up: refused for good, or tried for too long
	Delay    Kind = "delayed"   // not delivered yet, still being tried
	Success  Kind = "delivered" // in the mailbox
	Relayed  Kind = "relayed"   // handed to a system that sends no DSN, so nothing more will be heard
	Expanded Kind = "expanded"  // a group: sent on to its members, about whom nothing more will be heard
)

// Wanted says whether the sender of the message with the envelope env is to get a DSN of kind k about its recipient r, by
// RFC 3461 4.1. There is never one for the null reverse-path: it is how a DSN itself is sent (RFC 5321 4.5.5). Without NOTIFY a
// sender is told of failures and delays. Relayed is for a next hop without DSN: one that has it answers for itself
// (RFC 3461 5.2.2).
//
// A delay notice for a message that no person sent (message.Header.Automatic) helps nobody: the caller leaves it out.
func Wanted(env message.Envelope, r message.Recipient, k Kind) bool {
	if env.ReversePath == "" {
		return false
	}
	switch k {
	case Failure:
		return len(r.Notify) == 0 || asked(r.Notify, "FAILURE")
	case Delay:
		return len(r.Notify) == 0 || asked(r.Notify, "DELAY")
	case Success, Relayed, Expanded:
		return asked(r.Notify, "SUCCESS")
	}
	return false
}

// asked looks for word in a NOTIFY list. NEVER stands alone (RFC 3461 4.1); beside others it still means never.
func asked(notify []string, word string) bool {
	found := false
	for _, n := range notify {
		if strings.EqualFold(n, "NEVER") {
			return false
		}
		found = found || strings.EqualFold(n, word)
	}
	return found
}

// Params is what a DSN is made from.
type Params struct {
	Kind Kind
	// Hostname is the gateway's name: the Reporting-MTA.
	Hostname string
	// Postmaster is the address that the DSN is from.
	Postmaster string
	// Time is the DSN's Date.
	Time time.Time
	// ID is the id of the DSN as a message of its own. Message-ID and MIME boundary are made from it.
	ID string
	// Reference is the id of the original message in the gateway's log and queue; empty leaves it out.
	Reference string
	// Envelope is the original's. Its recipients are not looked at.
	Envelope message.Envelope
	// Arrival is when the original was received; zero leaves it out.
	Arrival time.Time
	// Original is the original message. What the sender may not see is to be taken out before (message.Firewall).
	Original message.Content
	// Recipients are those that the DSN is about; at least one. All those of a message that failed go into one DSN.
	Recipients []Recipient
}

// MessageID is the Message-ID of the DSN, with angle brackets, as Compose writes it.
func (p *Params) MessageID() string { return "<" + idPart(p.ID) + "@" + domain(p.Hostname) + ">" }

// Recipient is one recipient, and what happened to the message for it.
type Recipient struct {
	// Recipient is the one that the sender gave, not one that it was rewritten to: the sender could do nothing with that, and
	// addresses inside the organization are nobody else's business (RFC 3464 4.2).
	message.Recipient
	// Status is the enhanced status code (RFC 3463), "5.1.1"; for a message that was tried for too long "4.4.7". When it is none,
	// the one in Reply is taken, else X.0.0.
	Status string
	// Reply is the SMTP reply that decided, code and all, lines separated by line breaks; or the gateway's own words.
	// RemoteMTA is the host that gave it, a name or an IP address, with or without a port.
	Reply, RemoteMTA string
	// Local says that Reply is the gateway's own, even where it looks like an SMTP reply. RemoteMTA is then the host that it is about,
	// and empty when it is about none. A Reply without a RemoteMTA is always the gateway's.
	Local bool
	// GivenUpAfter is, for a recipient that was tried for too long, for how long that was, in words: "48 hours". Reply is then the last
	// one.
	GivenUpAfter string
	// LastAttempt is when delivery was last tried; RetryUntil, for Delay, when it will be given up. Zero leaves them out.
	LastAttempt, RetryUntil time.Time
}
