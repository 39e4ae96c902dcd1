package spool

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// State is what an item waits for.
type State string

// The states of an item. Delivering is never written to disk: it is a lease, so a crash turns it back into Waiting.
const (
	Waiting    State = "waiting"    // tried again at NextAttempt
	Held       State = "held"       // not tried until released, or until HeldUntil
	Delivering State = "delivering" // somebody holds its lease
)

// Kind says what a message is.
type Kind string

// The kinds.
const (
	Mail Kind = "mail" // accepted from a client
	DSN  Kind = "dsn"  // made by the gateway (RFC 3464)
)

// RecipientState is how far one recipient has come.
type RecipientState string

// The states of a recipient. Delivered, Failed and Expanded are final.
const (
	RecipientWaiting   RecipientState = "waiting"
	RecipientDelivered RecipientState = "delivered"
	RecipientFailed    RecipientState = "failed"
	RecipientHeld      RecipientState = "held"
	RecipientExpanded  RecipientState = "expanded" // a group: its members are recipients of their own
)

// Recipient is one recipient of an item.
type Recipient struct {
	// Asked is the forward-path as the client gave it, in wire form.
	Asked string `json:"asked"`
	// Query is what the router is asked at each attempt: Asked, or the address of a member for a member of a group.
	Query string `json:"query,omitempty"`
	// Address, Side and NextHop are where the recipient was sent last.
	Address string       `json:"address,omitempty"`
	Side    routing.Side `json:"side,omitempty"`
	NextHop string       `json:"next_hop,omitempty"`
	// Notify, ORcptType and ORcpt are the DSN parameters as in message.Recipient (RFC 3461 4.1, 4.2).
	Notify    []string `json:"notify,omitempty"`
	ORcptType string   `json:"orcpt_type,omitempty"`
	ORcpt     string   `json:"orcpt,omitempty"`

	State RecipientState `json:"state"`
	// LastReply is the last SMTP reply of a next hop, or the error in its place.
	LastReply string `json:"last_reply,omitempty"`
	// LocalReply is true when LastReply is this gateway's own: NextHop did not say it.
	LocalReply  bool      `json:"local_reply,omitempty"`
	Attempts    int       `json:"attempts,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	// DelayNoticeSent is true once a delay DSN was made for this recipient.
	DelayNoticeSent bool `json:"delay_notice_sent,omitempty"`
}

// Settled reports whether nothing is left to do for the recipient.
func (r *Recipient) Settled() bool {
	return r.State == RecipientDelivered || r.State == RecipientFailed || r.State == RecipientExpanded
}

// Item is the envelope of one spooled message and everything that is known of its delivery; the octets are its body.
type Item struct {
	// ID names the item: in the 250 reply, in trace and in the queue commands. See NewID.
	ID       string    `json:"id"`
	Kind     Kind      `json:"kind,omitempty"`
	Received time.Time `json:"received"`
	// Source is the side that the message came from.
	Source routing.Side `json:"source,omitempty"`
	// Envelope is the envelope without its recipients, which are below.
	Envelope   message.Envelope `json:"envelope"`
	Recipients []Recipient      `json:"recipients"`
	MessageID  string           `json:"message_id,omitempty"`
	// Size is the number of octets of the body. Put fails when the body has another length.
	Size int64 `json:"size"`
	// Client and HELO tell the log who sent the message: address and port, and the EHLO name.
	Client string `json:"client,omitempty"`
	HELO   string `json:"helo,omitempty"`

	State State `json:"state"`
	// Attempts counts finished delivery attempts.
	Attempts    int       `json:"attempts,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	// HeldUntil is when a held item goes back to waiting by itself; zero is never.
	HeldUntil time.Time `json:"held_until,omitzero"`
	// ExpireFrom, when set, is what the time to expiry counts from, in place of Received: the end of a hold.
	ExpireFrom time.Time `json:"expire_from,omitzero"`
	// Why says in words why the item waits or is held.
	Why string `json:"why,omitempty"`
	// Owner is who holds the lease; empty when nobody does. It is not written to disk.
	Owner string `json:"owner,omitempty"`
}

// Lane names the queue that the item waits in, by its first recipient that is not settled: the side, and for the internet the
// domain behind it, as "internet/fabrikam.com". One slow destination then does not take all places of the Scheduler.
func (it *Item) Lane() string {
	for i := range it.Recipients {
		if r := &it.Recipients[i]; !r.Settled() {
			return r.lane()
		}
	}
	return ""
}

func (r *Recipient) lane() string {
	const longest = 200 // of a domain, RFC 1035 2.3.4 has 255; only the name of a lane is cut
	if r.Side != routing.Internet {
		return string(r.Side)
	}
	address := cmp.Or(r.Address, r.Query, r.Asked)
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	return string(r.Side) + "/" + domain[:min(len(domain), longest)]
}

// unhold makes a held item and its held recipients wait.
func (it *Item) unhold() {
	it.State, it.HeldUntil, it.Why = Waiting, time.Time{}, ""
	for i := range it.Recipients {
		if r := &it.Recipients[i]; r.State == RecipientHeld {
			r.State = RecipientWaiting
		}
	}
}

// Settled reports whether every recipient is settled, so that the item can be removed.
func (it *Item) Settled() bool {
	for i := range it.Recipients {
		if !it.Recipients[i].Settled() {
			return false
		}
	}
	return true
}

// Expired reports whether the item has waited longer than after (delivery.expire_after). Zero never expires.
func (it *Item) Expired(now time.Time, after time.Duration) bool {
	from := it.Received
	if it.ExpireFrom.After(from) {
		from = it.ExpireFrom
	}
	return after > 0 && now.Sub(from) >= after
}

// DelayNoticeDue gives the indexes of the recipients who are owed a delay notice: waiting for longer than after
// (delivery.delay_notice), none sent yet, and DELAY asked for or NOTIFY not given (RFC 3461 4.1). A null reverse-path and a DSN are
// owed none (RFC 3461 6.2).
func (it *Item) DelayNoticeDue(now time.Time, after time.Duration) []int {
	if after <= 0 || now.Sub(it.Received) < after || it.Envelope.ReversePath == "" || it.Kind == DSN {
		return nil
	}
	var due []int
	for i := range it.Recipients {
		r := &it.Recipients[i]
		if !r.Settled() && !r.DelayNoticeSent && (len(r.Notify) == 0 || slices.Contains(r.Notify, "DELAY")) {
			due = append(due, i)
		}
	}
	return due
}

// LastReply is the latest reply to a recipient that is not settled, or of any recipient when all are; Why when there was none.
func (it *Item) LastReply() string {
	reply, at, open := "", time.Time{}, false
	for i := range it.Recipients {
		r := &it.Recipients[i]
		if r.LastReply == "" || (open && r.Settled()) {
			continue
		}
		if newlyOpen := !open && !r.Settled(); newlyOpen || !r.LastAttempt.Before(at) {
			reply, at, open = r.LastReply, r.LastAttempt, open || newlyOpen
		}
	}
	if reply == "" {
		return it.Why
	}
	return reply
}

// Row is one line of `queue list --json`.
type Row struct {
	ID          string    `json:"id"`
	State       State     `json:"state"`
	Sender      string    `json:"sender"`
	Recipients  []string  `json:"recipients"`
	Size        int64     `json:"size"`
	Received    time.Time `json:"received"`
	Attempts    int       `json:"attempts"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	LastReply   string    `json:"last_reply"`
	HeldUntil   time.Time `json:"held_until,omitzero"`
	Why         string    `json:"why,omitempty"`
}

// Row is the item as a line of the queue: its recipients are those that still wait, as they were asked for.
func (it *Item) Row() Row {
	row := Row{
		ID: it.ID, State: it.State, Sender: it.Envelope.ReversePath, Recipients: []string{}, Size: it.Size,
		Received: it.Received, Attempts: it.Attempts, NextAttempt: it.NextAttempt, LastReply: it.LastReply(),
		HeldUntil: it.HeldUntil, Why: it.Why,
	}
	for i := range it.Recipients {
		if r := &it.Recipients[i]; !r.Settled() {
			row.Recipients = append(row.Recipients, r.asked())
		}
	}
	return row
}

// asked is the address that a person knows the recipient by: that of a member, not of the group it came from.
func (r *Recipient) asked() string {
	if r.Query != "" {
		return r.Query
	}
	return r.Asked
}
