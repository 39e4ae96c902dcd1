package report

import (
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// Ids of properties of reports ([MS-OXPROPS] 2).
const (
	tagDeliverTime          mapi.ID = 0x0010
	tagReceiptTime          mapi.ID = 0x002A
	tagOriginalSubject      mapi.ID = 0x0049
	tagOriginalSubmitTime   mapi.ID = 0x004E
	tagOriginalDeliveryTime mapi.ID = 0x0055
	tagOriginalDisplayTo    mapi.ID = 0x0074
	tagReasonCode           mapi.ID = 0x0C04
	tagDiagCode             mapi.ID = 0x0C05
	tagSupplementaryInfo    mapi.ID = 0x0C1B
	tagStatusCode           mapi.ID = 0x0C20
	tagRemoteMTA            mapi.ID = 0x0C21
	tagOriginalMessageID    mapi.ID = 0x1046
	tagReportingMTA         mapi.ID = 0x6820
)

// Kind is what a report is about.
type Kind int

// The kinds of reports.
const (
	None        Kind = iota
	Delivery         // a delivery status notification
	Disposition      // a read or non-read receipt
)

// action is what a class of reports says ([MS-OXCMAIL] 2.1.3.6.1.1 and 2.1.3.6.2): the suffix of the class decides, the longest first.
type action struct {
	suffix string
	kind   Kind
	name   string // Action of RFC 3464 2.3.3, or the disposition type of RFC 8098 3.2.6.2
	status string // Status when nothing better is known
	verb   string // for people
}

var actions = []action{
	{".Delayed.DR", Delivery, "delayed", "4.0.0", "has not been delivered yet"},
	{".Relayed.DR", Delivery, "relayed", "2.0.0", "was passed on to a system that sends no reports"},
	{".Expanded.DR", Delivery, "expanded", "2.0.0", "was passed on to the members of a list"},
	{".NDR", Delivery, "failed", "5.0.0", "could not be delivered"},
	{".DR", Delivery, "delivered", "2.0.0", "was delivered"},
	{".IPNRN", Disposition, "displayed", "", "was read"},
	{".IPNNRN", Disposition, "deleted", "", "was deleted without being read"},
}

func actionOf(class string) (action, bool) {
	if !mapi.ClassIs(class, "REPORT") {
		return action{}, false
	}
	for _, a := range actions {
		if n := len(class) - len(a.suffix); n > 0 && strings.EqualFold(class[n:], a.suffix) {
			return a, true
		}
	}
	return action{}, false
}

// KindOf tells what a message class is.
func KindOf(class string) Kind {
	a, _ := actionOf(class)
	return a.kind
}

// Report is a report object.
type Report struct {
	Class      string
	Props      *mapi.Props
	Recipients []mapi.Recipient
	// From is who reports: of a receipt, the recipient who read the message.
	From mapi.Mailbox
	// Domain is a name for the reporting MTA, used when the properties have none.
	Domain string
}

// Status is the content of the machine-readable part, message/delivery-status or message/disposition-notification: fields in US-ASCII, lines with
// CRLF; nil for a class that is no report.
func (r *Report) Status() []byte {
	a, ok := actionOf(r.Class)
	switch {
	case !ok:
		return nil
	case a.kind == Disposition:
		return r.disposition(a)
	}
	return r.delivery(a)
}

// fields writes header fields.
type fields struct{ strings.Builder }

func (f *fields) add(name, value string) {
	if value = ascii(value); value != "" {
		f.WriteString(name + ": " + value + "\r\n")
	}
}

// typed is add for a value that begins with its type, and often with a reply code (RFC 3464 2.1.2, 2.3.6): words that are not of US-ASCII don't make these unreadable.
func (f *fields) typed(name, value string) {
	first := strings.IndexFunc(value, func(c rune) bool { return c >= utf8.RuneSelf })
	if first < 0 {
		f.add(name, value)
		return
	}
	word := strings.LastIndexAny(value[:first], " ;") + 1
	f.WriteString(name + ": " + strings.TrimSpace(ascii(value[:word])+" "+ascii(value[word:])) + "\r\n")
}

// ascii makes one line of US-ASCII, with other characters in encoded words, of at most some hundred octets.
func ascii(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
	if r := []rune(s); len(r) > 250 {
		s = string(r[:250])
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// disposition writes the fields of RFC 8098 3.2.
func (r *Report) disposition(a action) []byte {
	f := &fields{}
	if r.Domain != "" {
		f.add("Reporting-UA", r.Domain)
	}
	if r.From.Address != "" {
		f.add("Final-Recipient", "rfc822; "+r.From.Address)
	} else {
		f.add("Final-Recipient", "unknown; "+orUnknown(r.From.Name))
	}
	f.add("Original-Message-ID", messageID(r.Props))
	f.add("Disposition", "automatic-action/MDN-sent-automatically; "+a.name)
	f.add("X-Display-Name", r.From.Name)
	if key := r.Props.Bytes(mapi.TagParentKey); len(key) > 0 && len(key) <= 64 {
		f.add("X-MSExch-Correlation-Key", base64.StdEncoding.EncodeToString(key))
	}
	return []byte(f.String())
}

func orUnknown(s string) string {
	if strings.TrimSpace(s) == "" {
		return "unknown"
	}
	return s
}

// messageID is that of the message that the report is about.
func messageID(p *mapi.Props) string {
	for _, id := range []mapi.ID{tagOriginalMessageID, mapi.TagInReplyToID} {
		if s := strings.Trim(strings.TrimSpace(p.Text(id)), "<>"); s != "" && !strings.ContainsAny(s, " \t\r\n<>") {
			return "<" + s + ">"
		}
	}
	return ""
}

// delivery writes the fields of RFC 3464 2.2 and 2.3.
func (r *Report) delivery(a action) []byte {
	f := &fields{}
	f.typed("Reporting-MTA", mta(r.Props.Text(tagReportingMTA), r.Domain))
	if t, ok := r.Props.Time(tagOriginalSubmitTime); ok {
		f.add("Arrival-Date", t.UTC().Format(time.RFC1123Z))
	}
	rows := r.Recipients
	if len(rows) == 0 { // the fields of one recipient must be there
		rows = []mapi.Recipient{{}}
	}
	for i := range rows {
		f.WriteString("\r\n")
		r.recipient(f, a, &rows[i])
	}
	return []byte(f.String())
}

// mta writes a name with its type (RFC 3464 2.1.2).
func mta(name, fallback string) string {
	name = strings.TrimSpace(name)
	if name == "" {
		name = orUnknown(fallback)
	}
	if strings.Contains(name, ";") {
		return name
	}
	return "dns; " + name
}

func (r *Report) recipient(f *fields, a action, row *mapi.Recipient) {
	if addr := row.Address(); addr != "" {
		f.add("Final-Recipient", "rfc822; "+addr)
	} else {
		f.add("Final-Recipient", "unknown; "+orUnknown(row.Name()))
	}
	f.add("Action", a.name)
	f.add("Status", status(a, &row.Props))
	if s := row.Props.Text(tagRemoteMTA); s != "" {
		f.typed("Remote-MTA", mta(s, ""))
	}
	f.typed("Diagnostic-Code", diagnostic(&row.Props))
	for _, p := range []*mapi.Props{&row.Props, r.Props} {
		if t, ok := p.Time(mapi.TagReportTime); ok && a.name != "delivered" {
			f.add("Last-Attempt-Date", t.UTC().Format(time.RFC1123Z))
			break
		}
	}
	f.add("X-Supplementary-Info", row.Props.Text(tagSupplementaryInfo))
	f.add("X-Display-Name", row.Name())
}

// status is Status (RFC 3464 2.3.4): as it was received ([MS-OXCMAIL] 2.2.3.7.1.3 says how it is kept), in what a server wrote, or by the X.400
// codes.
func status(a action, p *mapi.Props) string {
	class := a.status[:1]
	if v, ok := p.Int(tagStatusCode); ok && v >= 200 && v < 600 && v/100 != 3 {
		return fmt.Sprintf("%d.%d.%d", v/100, v/10%10, v%10)
	}
	for _, s := range []string{p.Text(tagSupplementaryInfo), p.Text(mapi.TagReportText)} {
		if code := enhanced(s, class); code != "" {
			return code
		}
	}
	if class == "2" {
		return a.status
	}
	if v, ok := p.Int(tagDiagCode); ok {
		if s, known := diagnostics[v]; known {
			return class + "." + s
		}
	}
	if v, ok := p.Int(tagReasonCode); ok {
		if s, known := reasons[v]; known {
			return class + "." + s
		}
	}
	return a.status
}

// enhanced finds an enhanced status code (RFC 3463 2) of a class in a text.
func enhanced(s, class string) string {
	for _, w := range strings.FieldsFunc(s, func(c rune) bool { return (c < '0' || c > '9') && c != '.' }) {
		parts := strings.Split(strings.Trim(w, "."), ".")
		if len(parts) == 3 && parts[0] == class && len(parts[1]) >= 1 && len(parts[1]) <= 3 && len(parts[2]) >= 1 && len(parts[2]) <= 3 {
			return strings.Join(parts, ".")
		}
	}
	return ""
}

// diagnostics gives subject and detail for PidTagNonDeliveryReportDiagCode: the X.400 codes (X.411) in the words of RFC 3463.
var diagnostics = map[int64]string{
	0: "1.1", 1: "1.4", 2: "4.5", 3: "4.6", 4: "2.1", 5: "4.7", 6: "6.1", 7: "2.3", 8: "6.3", 9: "6.2", 10: "6.3", 11: "5.4", 12: "6.0", 13: "2.3",
	14: "5.3", 15: "6.1", 16: "5.3", 17: "7.1", 18: "5.1", 19: "6.4", 20: "6.0", 21: "6.0", 22: "6.4", 23: "6.4", 24: "6.4", 25: "6.4",
	26: "7.1", 27: "4.6", 28: "7.2", 29: "7.1", 30: "2.4", 31: "6.1", 32: "1.3", 33: "1.2", 34: "1.3", 35: "1.1", 36: "1.1", 37: "1.2",
	38: "2.1", 39: "2.1", 40: "1.6", 41: "2.1", 42: "1.6", 43: "1.6", 44: "7.1", 45: "7.1", 46: "7.0", 47: "6.3", 48: "1.2",
}

// reasons gives the same for PidTagNonDeliveryReportReasonCode.
var reasons = map[int64]string{0: "4.0", 1: "4.0", 2: "6.0", 3: "6.0", 4: "2.0", 5: "7.1", 6: "4.3"}

// diagnostic is Diagnostic-Code (RFC 3464 2.3.6): what a server said, from the texts that are kept of it.
func diagnostic(p *mapi.Props) string {
	// <mail.fabrikam.com #5.1.1 smtp;550 5.1.1 unknown>: [MS-OXCMAIL] 2.2.3.7.1.2
	if s := strings.TrimSpace(p.Text(tagSupplementaryInfo)); strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		if _, rest, ok := strings.Cut(s[1:len(s)-1], "#"); ok {
			if _, code, ok := strings.Cut(rest, " "); ok && strings.Contains(code, ";") {
				return code
			}
		}
	}
	if s := strings.TrimSpace(p.Text(mapi.TagReportText)); len(s) >= 4 && s[0] >= '2' && s[0] <= '5' && isDigit(s[1]) && isDigit(s[2]) && (s[3] == ' ' || s[3] == '-') {
		return "smtp; " + s
	}
	if v, ok := p.Int(tagDiagCode); ok && v >= 0 {
		if reason, ok := p.Int(tagReasonCode); ok {
			return fmt.Sprintf("x-microsoft-mapi; reason %d, diagnostic %d", reason, v)
		}
		return fmt.Sprintf("x-microsoft-mapi; diagnostic %d", v)
	}
	return ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Text explains the report, for one that came without a text. Lines end with CRLF.
func (r *Report) Text() string {
	a, ok := actionOf(r.Class)
	if !ok {
		return ""
	}
	var b strings.Builder
	b.WriteString("Your message\r\n\r\n")
	line := func(name, value string) {
		if value = strings.Join(strings.Fields(value), " "); value != "" {
			b.WriteString("  " + name + ": " + value + "\r\n")
		}
	}
	line("To", r.Props.Text(tagOriginalDisplayTo))
	line("Subject", r.Props.Text(tagOriginalSubject))
	if t, ok := r.Props.Time(tagOriginalSubmitTime); ok {
		line("Sent", t.UTC().Format(time.RFC1123Z))
	}
	b.WriteString("\r\n" + a.verb)
	if t := r.when(a); !t.IsZero() {
		b.WriteString(" on " + t.UTC().Format(time.RFC1123Z))
	}
	b.WriteString(".\r\n")
	if a.kind == Delivery {
		r.explain(&b, a)
	}
	return b.String()
}

// when it happened.
func (r *Report) when(a action) time.Time {
	ids := []mapi.ID{tagDeliverTime, tagOriginalDeliveryTime, mapi.TagReportTime}
	if a.kind == Disposition {
		ids = []mapi.ID{tagReceiptTime, mapi.TagReportTime}
	}
	for _, id := range ids {
		if t, ok := r.Props.Time(id); ok {
			return t
		}
	}
	return time.Time{}
}

// explain lists the recipients, and why.
func (r *Report) explain(b *strings.Builder, a action) {
	for i := range r.Recipients {
		row := &r.Recipients[i]
		who := row.Address()
		if n := row.Name(); n != "" && who != "" {
			who = n + " <" + who + ">"
		} else if who == "" {
			who = orUnknown(n)
		}
		b.WriteString("\r\n" + strings.Join(strings.Fields(who), " ") + ": " + status(a, &row.Props) + "\r\n")
		for _, id := range []mapi.ID{mapi.TagReportText, tagSupplementaryInfo} {
			if s := strings.Join(strings.Fields(row.Props.Text(id)), " "); s != "" {
				b.WriteString("  " + s + "\r\n")
			}
		}
	}
}
