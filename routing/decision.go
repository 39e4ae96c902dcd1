package routing

import (
	"fmt"
	"strconv"
	"strings"
)

// Side is where mail comes from or goes to.
type Side string

// The sides. Gateway is the gateway itself: its own DSNs, and messages that it already accepted and asks about again.
const (
	OnPrem   Side = "onprem"
	Cloud    Side = "cloud"
	Internet Side = "internet"
	Gateway  Side = ""
)

// Sides are those that mail is delivered to.
var Sides = []Side{OnPrem, Cloud, Internet}

// Action is what happens to a recipient.
type Action string

// The actions.
const (
	Relay  Action = "relay"  // sent on to one side
	Expand Action = "expand" // a group: sent on to its members
	Defer  Action = "defer"  // 4xx: the client tries again
	Reject Action = "reject" // 5xx
)

// Reason is a stable word that says why; scripts match on it.
type Reason string

// The reasons.
const (
	RemoteMailbox  Reason = "remote-mailbox"  // msExchRemoteRecipientType or msExchRecipientTypeDetails say cloud
	TargetCloud    Reason = "target-cloud"    // targetAddress (or an unknown address that on-prem sends to) is in the routing or tenant domain
	TargetOnPrem   Reason = "target-onprem"   // targetAddress is in the shared namespace
	TargetExternal Reason = "target-external" // targetAddress (or a contact's mail) is foreign
	Mailbox        Reason = "mailbox"         // nothing says otherwise: an on-prem mailbox
	Group          Reason = "group"
	EmptyGroup     Reason = "empty-group"
	Ambiguous      Reason = "ambiguous" // two objects own the address
	Unknown        Reason = "unknown"   // nobody owns the address, or it is none
	NoTarget       Reason = "no-target" // a contact that leads nowhere
	Foreign        Reason = "foreign"   // not our namespace, and the client may relay
	RelayDenied    Reason = "relay-denied"
	UTurn          Reason = "u-turn"
	NoView         Reason = "no-view"
	StaleView      Reason = "stale-view"
	Held           Reason = "held"
	Loop           Reason = "loop"
	Message        Reason = "message" // of refusals only: what came after DATA, or there is no room for it
)

// Reply is an SMTP reply: code, enhanced status code (RFC 3463) and text. The zero Reply is none.
type Reply struct {
	Code     int
	Enhanced string // "5.1.1"
	Text     string
}

func (r Reply) String() string { return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text) }

// MarshalText gives the reply as it stands on the wire: "550 5.1.1 text".
func (r Reply) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote. A text of another form is an error.
func (r *Reply) UnmarshalText(b []byte) error {
	code, rest, _ := strings.Cut(string(b), " ")
	enhanced, text, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if err != nil || n < 200 || n > 599 || strings.Count(enhanced, ".") != 2 {
		return fmt.Errorf("reading SMTP reply %q: want code, enhanced status code and text", b)
	}
	*r = Reply{Code: n, Enhanced: enhanced, Text: text}
	return nil
}

// Query asks about one recipient of a message.
type Query struct {
	// From is the side that the message comes from. What is none of the four sides counts as Internet.
	From Side
	// Sender is the reverse-path without angle brackets; empty is the null reverse-path. No rule looks at it today:
	// it is here so that a rule that does needs no other signature.
	Sender string
	// Submitted says that the client is no mail system but a device or an application that logged in (message submission, RFC 6409):
	// it has no directory that could disagree with ours, so that it may write to its own side. It gives no other right.
	Submitted bool
	// Recipient is the forward-path without angle brackets, in wire form (RFC 5321 4.1.2: local part quoted where it has
	// to be), or the word Postmaster (RFC 5321 4.1.1.3).
	Recipient string
}

// Decision is what happens to one recipient, and why. Its JSON is what `coexist route --json` prints.
type Decision struct {
	// Recipient is the address that was asked about, unchanged. For the member of a group it is an address of the member's
	// own, such that asking about it again from Gateway leads to the same Address.
	Recipient string `json:"recipient"`
	Action    Action `json:"action"`
	// Side is where a relayed recipient goes; empty with every other action.
	Side Side `json:"side"`
	// Address is the recipient as it is sent to Side, in wire form; empty unless relayed.
	Address string `json:"address"`
	// NextHop is for the gateway to fill in: hosts and ports. It is empty, and never nil, in a Router's decision.
	NextHop []string `json:"next_hop"`
	// Reply is the SMTP reply for Defer and Reject.
	Reply  Reply  `json:"reply,omitzero"`
	Reason Reason `json:"reason"`
	// Object is the DN of the object that owns the address; empty when there is none or more than one.
	Object string `json:"object"`
	// Members are, for Expand, the relay decisions of everybody whom the group leads to, through all its nested groups.
	Members []Decision `json:"members,omitempty"`
	// LeftOut are members of the group, or of a group in it, that nothing can be sent to.
	LeftOut []LeftOut `json:"left_out,omitempty"`
	// Matched says what matched the address: attribute and value, for a person to read.
	Matched string `json:"matched,omitempty"`
	// Why says what the decision rests on: attribute and value, for a person to read.
	Why string `json:"why,omitempty"`
}

// LeftOut is a member of a group that nothing can be sent to.
type LeftOut struct {
	DN  string `json:"object"`
	Why string `json:"why"`
}

// outcomes are the replies of the reasons that are no way to go on. RFC 3463 explains the enhanced codes.
//
// The texts name no address: the reply belongs to a RCPT command that does, and an internationalized address must not stand in
// the reply to a client that did not ask for SMTPUTF8 (RFC 6531 3.7.4.1).
var outcomes = map[Reason]Reply{
	Unknown:     {550, "5.1.1", "No such recipient here"},
	EmptyGroup:  {550, "5.1.1", "No member of this group can be delivered to"},
	NoTarget:    {550, "5.1.1", "This contact has no address to deliver to"},
	RelayDenied: {550, "5.7.1", "Relaying to this domain is not permitted"},
	Ambiguous:   {451, "4.3.5", "More than one directory object owns this address, try again later"},
	UTurn:       {451, "4.4.6", "This recipient lives where the message came from, try again later"},
	NoView:      {451, "4.3.0", "The directory is not available, try again later"},
	StaleView:   {451, "4.3.0", "The directory data is out of date, try again later"},
}

// badAddress is the reply to what is no mailbox (RFC 5321 4.2.3 for 501, RFC 3463 3.2 for X.1.3).
var badAddress = Reply{501, "5.1.3", "Bad recipient address syntax"}

// noHops is the empty list, not nil, so that JSON says [] rather than null. It has no room to append to.
var noHops = []string{}

// refuse makes d a rejection or deferral, by the code of the reply.
func (d *Decision) refuse(reason Reason, reply Reply, why string) {
	d.Action, d.Side, d.Address = Reject, "", ""
	if reply.Code < 500 {
		d.Action = Defer
	}
	d.Reason, d.Reply, d.Why = reason, reply, why
}

// refuseFor is refuse with the reply that belongs to the reason.
func (d *Decision) refuseFor(reason Reason, why string) { d.refuse(reason, outcomes[reason], why) }

// relay makes d a relay.
func (d *Decision) relay(side Side, address string, reason Reason, why string) {
	d.Action, d.Side, d.Address, d.Reason, d.Why = Relay, side, address, reason, why
}
