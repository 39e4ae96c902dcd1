package bounce

import (
	"slices"
	"strings"
)

// advice is what a person is told about a status code.
type advice struct {
	// status is an enhanced status code without its class (RFC 3463): "1.1", or its subject alone: "1".
	status string
	// what happened, and what the sender can do about it. Full sentences.
	what, do string
}

// failureAdvice is for recipients who will not get the message: the longest status that fits decides.
// Sources: RFC 3463, the IANA registry "SMTP Enhanced Status Codes" and Exchange Online's list of NDR codes
// (https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online).
var failureAdvice = []advice{
	{"", "The message could not be delivered.",
		"Send it again later. If that fails too, show this notice to your administrator."},

	{"1", "There is a problem with this address.", "Check the address, and send the message again."},
	{"1.1", "There is no mailbox with this address.",
		"Check the spelling. If your mail program suggested the address, delete the suggestion and type the address in full. " +
			"If it is right, ask the recipient in another way whether it has changed."},
	{"1.2", "The part of the address after the @ is not known, or takes no mail.", "Check the spelling of the part after the @."},
	{"1.3", "This is not a valid address.", "Check the address for missing or wrong characters."},
	{"1.4", "The address belongs to more than one mailbox.", "Tell the administrator of the recipient's system."},
	{"1.6", "The mailbox has moved, and where to is not known.", "Ask the recipient in another way for the new address."},
	{"1.7", "Your own address was refused as not valid.", "Check the sender address that your mail program uses."},
	{"1.8", "Your own address was refused: its domain is not known, or may not send.", "Show this notice to your administrator."},
	{"1.10", "There is no mailbox with this address.", "Check the spelling, or ask the recipient in another way."},

	{"2", "There is a problem with the recipient's mailbox.", "Send the message again later, or reach the recipient in another way."},
	{"2.1", "The mailbox takes no mail at present.", "Reach the recipient in another way."},
	{"2.2", "The mailbox is full.", "Ask the recipient in another way to make room, then send the message again."},
	{"2.3", "The message is larger than this recipient may get.", "Send less, or share large files by a link."},
	{"2.4", "The message could not be passed on to the members of the group.", "Tell the owner of the group."},

	{"3", "The recipient's mail system cannot take the message.", "Send it again later."},
	{"3.1", "The recipient's mail system has no room left.", "Send the message again later."},
	{"3.4", "The message is larger than the recipient's mail system takes.", "Send less, or share large files by a link."},

	{"4", "The recipient's mail system could not be reached.", "Send the message again later. Check the part of the address after the @."},
	{"4.1", "The recipient's mail system did not answer.", "Send the message again later."},
	{"4.4", "No way to the recipient's mail system is known.", "Check the part of the address after the @."},
	{"4.6", "The message went round in a circle: two systems each take the other for the recipient's.",
		"Sending it again does not help. Tell the administrator of the recipient's system."},
	{"4.7", "The recipient's mail system did not take the message in the time allowed.",
		"Send the message again later, or reach the recipient in another way."},

	{"5", "The two mail systems did not understand each other.", "Show this notice to your administrator."},
	{"5.3", "The message had more recipients than allowed.", "Send it to fewer recipients at a time."},

	{"6", "The recipient's mail system cannot take a message of this form.", "Send it as plain text, without unusual attachments."},
	{"6.7", "The address has characters that the recipient's mail system cannot handle.", "Ask the recipient for an address in plain letters."},

	{"7", "The message was refused by a rule of the recipient's mail system.",
		"Ask the recipient in another way whether you may write to this address; their administrator can tell which rule it was."},
	{"7.1", "You are not allowed to send to this address.",
		"Ask the recipient, or the owner of the group, in another way to let you."},
	{"7.7", "The message was changed on its way, or its signature cannot be checked.", "Show this notice to your administrator."},
	{"7.9", "The message was refused because of who it says it is from.", "Show this notice to your administrator."},
	{"7.23", "Your mail system is not among those that may send for your domain (SPF).", "Show this notice to your administrator."},
	{"7.26", "Neither SPF nor DKIM shows that the message comes from your domain (DMARC).", "Show this notice to your administrator."},
	{"7.64", "The recipient's mail system does not know the system that passed the message on (TenantAttribution).",
		"This is a fault of configuration. Show this notice to your administrator."},
	{"7.124", "You are not among those who may send to this group.", "Ask the owner of the group to let you."},
	{"7.133", "This group takes mail only from inside its organization.", "Ask the owner of the group to let you."},
	{"7.134", "This mailbox takes mail only from inside its organization.", "Ask the recipient in another way to let you."},
	{"7.606", "The system that passed the message on is blocked by the recipient's.", "Show this notice to your administrator."},
}

// ownAdvice is what is said in place of failureAdvice where this gateway decided, not the recipient's mail system.
var ownAdvice = []advice{
	{"4.7", "The message could not be delivered in the time allowed.", "Send the message again later, or reach the recipient in another way."},

	{"7", "The message was stopped at the mail gateway, by one of its rules or by its administrator.",
		"Show this notice to the administrator who is named below."},
	{"7.1", "You are not allowed to send to this address through the mail gateway.", "Show this notice to the administrator who is named below."},
	// RFC 8689 4.2.1: the sender demanded what no host on the way offers.
	{"7.10", "You asked for a protected way (REQUIRETLS), and there is none to the recipient's mail system.",
		"If the message may travel unprotected, send it again without asking for that."},
	{"7.30", "You asked for a protected way (REQUIRETLS), and there is none to the recipient's mail system.",
		"If the message may travel unprotected, send it again without asking for that."},
}

// otherAdvice is for the kinds that ask nothing of the sender.
var otherAdvice = map[Kind]advice{
	Delay:    {what: "The message is waiting here, and delivery is tried again and again.", do: "Wait. Do not send it again, or it may arrive twice."},
	Success:  {what: "The message was delivered."},
	Relayed:  {what: "The message was handed to the next mail system, which does not send confirmations."},
	Expanded: {what: "The message was sent on to the members of the group. There is no confirmation for each of them."},
}

// adviceFor finds what to say about status, "5.1.1", in a DSN of kind k. own: this gateway decided.
func adviceFor(k Kind, status string, own bool) advice {
	if k != Failure {
		return otherAdvice[k]
	}
	_, detail, _ := strings.Cut(status, ".")
	best := failureAdvice[0]
	table := failureAdvice
	if own { // first, since the first of equals stays
		table = slices.Concat(ownAdvice, failureAdvice)
	}
	for _, a := range table {
		if len(a.status) > len(best.status) && (detail == a.status || strings.HasPrefix(detail, a.status+".")) {
			best = a
		}
	}
	return best
}

// wording is what a DSN of a kind says in its Subject and its first sentence.
type wording struct {
	subject, one, several string
}

var wordings = map[Kind]wording{
	Failure:  {"Undeliverable", "Your message was not delivered to this recipient:", "Your message was not delivered to these recipients:"},
	Delay:    {"Delayed", "Your message has not been delivered yet to this recipient:", "Your message has not been delivered yet to these recipients:"},
	Success:  {"Delivered", "Your message was delivered to this recipient:", "Your message was delivered to these recipients:"},
	Relayed:  {"Relayed", "Your message was passed on for this recipient:", "Your message was passed on for these recipients:"},
	Expanded: {"Expanded", "Your message was sent on to the members of this group:", "Your message was sent on to the members of these groups:"},
}
