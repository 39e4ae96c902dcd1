package message

import (
	"bytes"
	"strings"

	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Boundary is one way through the gateway: from the side that a message came from to the side that it goes to.
type Boundary struct {
	From, To routing.Side
}

// boundaries is a set of them, by From and To; the side Any stands for each.
type boundaries []Boundary

// anySide stands for each side.
const anySide routing.Side = "*"

func (bs boundaries) has(b Boundary) bool {
	for _, x := range bs {
		if (x.From == anySide || x.From == b.From) && (x.To == anySide || x.To == b.To) {
			return true
		}
	}
	return false
}

// Rule is one row of the header firewall.
type Rule struct {
	// Names are field names, without regard to case. A name that ends with * stands for all names that begin with what is
	// before it.
	Names []string
	// Why is what an administrator is told.
	Why string
	// strip says where fields of these names are taken out. Elsewhere they pass.
	strip boundaries
	// own limits the rule to fields whose value begins with the gateway's host name: an authserv-id (RFC 8601 2.2).
	own bool
}

// Strips says whether the rule takes fields of its names out at b. For Authentication-Results that holds only for those
// that name this gateway.
func (r *Rule) Strips(b Boundary) bool { return r.strip.has(b) }

// Where rows of the table take fields out. What the gateway itself wrote (From is routing.Gateway) is covered by everywhere.
var (
	nowhere    = boundaries{}
	everywhere = boundaries{{anySide, anySide}}
	// What only Exchange Online states is false from anybody else, and no news to itself.
	notFromCloud = boundaries{{routing.Internet, anySide}, {routing.OnPrem, anySide}, {anySide, routing.Cloud}}
	// As notFromCloud; and it is none of the internet's business.
	cloudToOnPremOnly = boundaries{{routing.Internet, anySide}, {routing.OnPrem, anySide}, {anySide, routing.Cloud},
		{anySide, routing.Internet}}
	fromInternet    = boundaries{{routing.Internet, anySide}}
	atInternetsEdge = boundaries{{routing.Internet, anySide}, {anySide, routing.Internet}}
)

// Rules is the table of the header firewall: the first row that has a field's name decides, and what no row has passes.
// It follows Exchange's own header firewall
// (https://learn.microsoft.com/exchange/header-firewall-exchange-2013-help), which works on the same names between
// organizations, forests and the internet.
func Rules() []Rule {
	return []Rule{
		{
			// Exchange counts in them how often a message was redirected. Without them a loop between two systems has no end.
			Names: []string{
				"X-MS-Exchange-Inbox-Rules-Loop", "X-MS-Exchange-Transport-Rules-Loop", "X-MS-Exchange-Moderation-Loop",
				"X-MS-Exchange-ForwardingLoop", "X-MS-Exchange-Generated-Message-Source", "X-MS-Gcc-Journal-Report",
				"X-LD-Processed", "X-EOPAttributedMessage", "X-EOPTenantAttributedMessage", "Received",
			},
			Why:   "stops loops",
			strip: nowhere,
		},
		{
			Names: []string{"X-MS-Exchange-Organization-*", "X-MS-Exchange-Forest-*", "X-MS-Exchange-CrossPremises-*"},
			Why:   "Exchange would take it for its own organization's word: spam level, authentication, routing",
			strip: everywhere,
		},
		{
			Names: []string{"X-MS-Exchange-CrossTenant-*", "X-OriginatorOrg", "X-MS-Exchange-Transport-CrossTenantHeadersStamped"},
			Why:   "only Exchange Online says which tenant a message comes from",
			strip: notFromCloud,
		},
		{
			Names: []string{"X-Forefront-*", "X-Microsoft-Antispam*"},
			Why:   "a verdict of Exchange Online's filter, true only from there and meant for the other side of the domain",
			strip: cloudToOnPremOnly,
		},
		{
			// RFC 8601 5: a field in the gateway's name that the gateway did not write is forged.
			Names: []string{"Authentication-Results"},
			Why:   "claims to be the result of this gateway's own checks",
			strip: atInternetsEdge,
			own:   true,
		},
		{
			Names: []string{"X-Coexist-*"},
			Why:   "only the gateway writes these",
			strip: fromInternet,
		},
		{
			// RFC 5321 4.4: the system of final delivery writes it.
			Names: []string{"Return-Path"},
			Why:   "belongs to the final delivery",
			strip: everywhere,
		},
	}
}

// Firewall takes out header fields that the side where a message comes from may not set, or the side where it goes must not
// see. It looks at the header of the message only, not at parts and attached messages.
type Firewall struct {
	rules    []Rule
	byLetter [256][]entry // by the first octet of the name, in lower case
	authserv string
}

// entry is a name of a rule.
type entry struct {
	name   string // in lower case, without the *
	prefix bool
	rule   int // index of its rule
}

// NewFirewall makes a Firewall with Rules for the gateway of this host name, which is its authserv-id too.
func NewFirewall(hostname string) *Firewall {
	f := &Firewall{rules: Rules(), authserv: hostname}
	for i := range f.rules {
		for _, n := range f.rules[i].Names {
			name, prefix := strings.CutSuffix(strings.ToLower(n), "*")
			f.byLetter[name[0]] = append(f.byLetter[name[0]], entry{name, prefix, i})
		}
	}
	return f
}

// Removes returns the predicate for Edit at b.
func (f *Firewall) Removes(b Boundary) func(rawmime.Field) bool {
	strips := make([]bool, len(f.rules))
	for i := range f.rules {
		strips[i] = f.rules[i].Strips(b)
	}
	return func(field rawmime.Field) bool {
		name, value := field.Name, field.Value
		if name == nil {
			name = looseName(field.Value)
			value = value[bytes.IndexByte(value, ':')+1:]
		}
		if len(name) == 0 {
			return false
		}
		rule := f.rule(name)
		return rule >= 0 && strips[rule] && (!f.rules[rule].own || f.isOwn(value))
	}
}

// Apply returns msg as it leaves at b: with top on top (see Edit) and without what the rules take out there.
func (f *Firewall) Apply(b Boundary, top, msg []byte) Content {
	return Edit{Top: top, Remove: f.Removes(b)}.Apply(msg)
}

// rule is the index of the first row that has the name, or -1.
func (f *Firewall) rule(name []byte) int {
	for _, e := range f.byLetter[lower(name[0])] {
		if len(name) == len(e.name) || e.prefix && len(name) > len(e.name) {
			if hasPrefixFold(name, e.name) {
				return e.rule
			}
		}
	}
	return -1
}

// looseName is what a careless reader could take for the field name of a run of octets that has no valid one: what is before
// its first colon, without control characters and line endings. With a NUL in its name, or folded before the colon, a field
// would otherwise get past the firewall, and become a field again at a reader that drops NULs or unfolds first. It is nil when
// there is nothing of that kind.
func looseName(run []byte) []byte {
	colon := bytes.IndexByte(run, ':')
	if colon <= 0 || run[0] == ' ' || run[0] == '\t' {
		return nil
	}
	name := make([]byte, 0, min(colon, maxName))
	for _, c := range run[:min(colon, maxName)] {
		if c >= ' ' && c != 0x7f {
			name = append(name, c)
		}
	}
	return bytes.TrimRight(name, " ")
}

// maxName is more than any field name has: a line is at most 998 octets (RFC 5322 2.1.1).
const maxName = 998

// isOwn says whether the authserv-id at the start of value is the gateway's: after comments and white space, perhaps quoted,
// in any case (RFC 8601 2.2, 2.5). Whoever forges one counts on a reader that is less strict, so it is read as the most careless one
// would: control characters, escapes, encoded words and a final dot do not make it another.
func (f *Firewall) isOwn(value []byte) bool {
	value = value[:min(len(value), maxID)]
	clean := bytes.Map(func(c rune) rune {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f || c == '\\' {
			return -1
		}
		return c
	}, value)
	return f.startsWithOwn(skipCFWS(value)) || f.startsWithOwn(skipCFWS(clean)) ||
		bytes.Contains(clean, []byte("=?")) && f.startsWithOwn(skipCFWS([]byte(rawmime.DecodeWords(clean))))
}

// maxID is how far an authserv-id is looked for: comments may stand before it.
const maxID = 4 << 10

// startsWithOwn says whether id begins with the gateway's name, and the name ends there.
func (f *Firewall) startsWithOwn(id []byte) bool {
	id = bytes.TrimLeft(id, "\" \t")
	if !hasPrefixFold(id, strings.ToLower(f.authserv)) {
		return false
	}
	rest := bytes.TrimPrefix(id[len(f.authserv):], []byte("."))
	return len(rest) == 0 || !isNameOctet(rest[0])
}

// isNameOctet says whether a domain name goes on with c.
func isNameOctet(c byte) bool {
	return c >= '0' && c <= '9' || lower(c) >= 'a' && lower(c) <= 'z' || c == '-' || c == '_' || c == '.' || c >= 0x80
}

// skipCFWS returns what follows the comments and white space that v starts with (RFC 5322 3.2.2).
func skipCFWS(v []byte) []byte {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return v[i:]
		}
	}
	return nil
}

// hasPrefixFold compares without regard to the case of ASCII letters; prefix is in lower case.
func hasPrefixFold(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(b[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
