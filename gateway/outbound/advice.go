package outbound

import (
	"regexp"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/routing"
)

// Action is what a reply asks for beyond the ordinary treatment of its class.
type Action string

// The actions.
const (
	NoAction        Action = ""                 // 4xx is retried, 5xx is returned
	SplitRecipients Action = "split-recipients" // send the rest in another transaction at once (RFC 5321 4.5.3.1.10)
	RetryRecipient  Action = "retry-recipient"  // a limit of this mailbox: retry it alone, later than other mail
	BackOffHop      Action = "back-off-hop"     // this host throttles us: fewer connections, longer pauses, this host only
	HoldSide        Action = "hold-side"        // a fault of configuration hits every message: keep them, raise one alarm
)

// Advice is what to do about a reply.
type Advice struct {
	Action Action
	// Rule names the row of the table; a stable word.
	Rule string
	// Delay is the least time until the next attempt; 0: as the schedule says.
	Delay time.Duration
	// Alarm tells an administrator what is wrong and how to fix it; empty when there is nothing to fix.
	Alarm string
}

// Rule is one row of the table. Empty conditions match everything.
type Rule struct {
	Name string
	// CloudOnly rows are about Exchange Online's own codes, which mean nothing from another system.
	CloudOnly bool
	Codes     []int          // reply codes
	Enhanced  []EnhancedSpan // enhanced status codes
	Text      string         // a regular expression over the text, case-insensitive
	Action    Action
	Delay     time.Duration
	Alarm     string

	text *regexp.Regexp
}

// EnhancedSpan matches the enhanced status codes From to To, which differ in their detail only.
type EnhancedSpan struct{ From, To smtp.EnhancedCode }

func span(class, subject, from, to int) EnhancedSpan {
	return EnhancedSpan{smtp.EnhancedCode{class, subject, from}, smtp.EnhancedCode{class, subject, to}}
}

func (e EnhancedSpan) contains(c smtp.EnhancedCode) bool {
	return c[0] == e.From[0] && c[1] == e.From[1] && c[2] >= e.From[2] && c[2] <= e.To[2]
}

// The fixes, in an administrator's words.
const (
	fixConnector = "Exchange Online matched no inbound connector: check that a connector of type OnPremises is enabled, that its " +
		"TlsSenderCertificateName (or SenderIPAddresses) fits the certificate (or the address) this gateway uses, and that the " +
		"certificate's or the sender's domain is an accepted domain of the tenant"
	fixDirectSend = "The tenant rejects Direct Send and no inbound connector matched this gateway: create or repair the inbound " +
		"connector (TlsSenderCertificateName or SenderIPAddresses)"
	fixRegion = "Exchange Online could not attribute this host to the tenant: set cloud.next_hop to the tenant's own MX name " +
		"(contoso-com.mail.protection.outlook.com), and check the inbound connector"
	fixBanned = "Microsoft blocks the address that this gateway sends from: ask for its removal at https://sender.office.com " +
		"(5.7.511: by mail to delist@messaging.microsoft.com, with the whole reply)"
	fixThrottle = "Exchange Online throttles the address that this gateway sends from, as it does with senders it does not know: " +
		"check that an inbound connector matches this gateway"
	fixHello = "Exchange Online refuses the EHLO name: set hostname to this gateway's own fully qualified name"
	fixTLS   = "The inbound connector asks for TLS, or for a certificate that was not presented: check cloud.tls, " +
		"cloud.client_cert_file and the connector's TlsSenderCertificateName"
	fixDomain = "The host does not accept mail for the domain: check that cloud.next_hop belongs to this tenant and that the routing " +
		"domain is an accepted domain"
	fixTenant = "The tenant exceeds its sending threshold or sends for domains that are not registered in it: stop relaying foreign " +
		"senders through Exchange Online, or register their domains"
	fixIPv6 = "Over IPv6, Exchange Online wants a PTR record and SPF or DKIM: give cloud.next_hop as an IPv4 host, or add the records"
)

// rules is the table, first match wins. Codes are those of Microsoft's NDR tables and of the replies seen in practice.
var rules = compile([]Rule{
	{Name: "too-many-recipients", Enhanced: []EnhancedSpan{span(4, 5, 3, 3), span(5, 5, 3, 3)}, Action: SplitRecipients},
	{Name: "too-many-recipients", Codes: []int{452, 552}, Text: `too many recipients`, Action: SplitRecipients},

	{Name: "tenant-attribution", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 64, 64)}, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixConnector},
	{Name: "tenant-attribution", CloudOnly: true, Text: `TenantAttribution|\bATTR36\b`, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixConnector},
	{Name: "direct-send", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 68, 68)}, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixDirectSend},
	{Name: "direct-send", CloudOnly: true, Text: `TenantInboundAttribution|Direct Send not allowed`, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixDirectSend},
	{Name: "wrong-region", CloudOnly: true, Enhanced: []EnhancedSpan{span(4, 4, 62, 62), span(5, 4, 62, 62)}, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixRegion},
	{Name: "wrong-region", CloudOnly: true, Text: `\bATTR35\b`, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixRegion},
	{Name: "banned", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 511, 511), span(5, 7, 606, 649)}, Action: HoldSide, Delay: 30 * time.Minute, Alarm: fixBanned},
	{Name: "banned", CloudOnly: true, Text: `banned (sending )?IP|\bAS16012609\b`, Action: HoldSide, Delay: 30 * time.Minute, Alarm: fixBanned},
	{Name: "bad-helo", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 506, 506)}, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixHello},
	{Name: "tenant-threshold", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 700, 750), span(4, 7, 700, 750)}, Action: HoldSide, Delay: 30 * time.Minute, Alarm: fixTenant},
	{Name: "tls-required", CloudOnly: true, Codes: []int{454}, Text: `appropriate TLS channel`, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixTLS},
	{Name: "relay-denied", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 4, 1, 1)}, Text: `relay access denied`, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixDomain},
	{Name: "ipv6", CloudOnly: true, Enhanced: []EnhancedSpan{span(5, 7, 25, 25), span(4, 7, 25, 26), span(5, 7, 26, 26)}, Action: HoldSide, Delay: 15 * time.Minute, Alarm: fixIPv6},

	{Name: "throttled", CloudOnly: true, Enhanced: []EnhancedSpan{span(4, 7, 500, 699), span(4, 7, 850, 899), span(5, 7, 850, 899)}, Action: BackOffHop, Delay: 5 * time.Minute, Alarm: fixThrottle},
	{Name: "mailbox-busy", CloudOnly: true, Codes: []int{432}, Action: RetryRecipient, Delay: time.Minute},
	{Name: "mailbox-busy", CloudOnly: true, Enhanced: []EnhancedSpan{span(4, 2, 121, 122), span(5, 2, 121, 122)}, Action: RetryRecipient, Delay: 15 * time.Minute},
	{Name: "mailbox-busy", Text: `recipient thread limit exceeded|STOREDRV.*thread limit`, Codes: []int{421, 432, 450, 451, 452}, Action: RetryRecipient, Delay: time.Minute},
})

func compile(table []Rule) []Rule {
	for i := range table {
		if table[i].Text != "" {
			table[i].text = regexp.MustCompile(`(?i)` + table[i].Text)
		}
	}
	return table
}

// Rules returns the table that Advise goes by, for display.
func Rules() []Rule { return append([]Rule(nil), rules...) }

// Advise says what a reply of a host of the given side asks for. Positive replies, and those without a row, get the zero
// Advice.
func Advise(side routing.Side, reply *smtp.SMTPError) Advice {
	if reply == nil || reply.Code < 400 {
		return Advice{}
	}
	for i := range rules {
		if r := &rules[i]; r.matches(side, reply) {
			return Advice{Action: r.Action, Rule: r.Name, Delay: r.Delay, Alarm: r.Alarm}
		}
	}
	return Advice{}
}

func (r *Rule) matches(side routing.Side, reply *smtp.SMTPError) bool {
	return (!r.CloudOnly || side == routing.Cloud) && r.matchesCode(reply.Code) && r.matchesEnhanced(reply.EnhancedCode) &&
		(r.text == nil || r.text.MatchString(reply.Message))
}

func (r *Rule) matchesCode(code int) bool {
	for _, c := range r.Codes {
		if c == code {
			return true
		}
	}
	return len(r.Codes) == 0
}

func (r *Rule) matchesEnhanced(c smtp.EnhancedCode) bool {
	for _, e := range r.Enhanced {
		if e.contains(c) {
			return true
		}
	}
	return len(r.Enhanced) == 0
}
