package bounce

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// text is the first part: what happened, in words for the person who sent the message.
func (c *composer) text() (header []string, body []byte) {
	text := c.words()
	header = []string{"Content-Type: text/plain; charset=us-ascii", "Content-Description: Notification"}
	if isASCII([]byte(text)) {
		return header, []byte(text)
	}
	header[0] = "Content-Type: text/plain; charset=utf-8"
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a bytes.Buffer takes everything
	_ = w.Close()
	return append(header, "Content-Transfer-Encoding: quoted-printable"), b.Bytes()
}

func (c *composer) words() string {
	p := &c.p
	var b strings.Builder
	say := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...) + "\r\n") }
	first := wordings[p.Kind].one
	if len(p.Recipients) > 1 {
		first = wordings[p.Kind].several
	}
	say("%s", first)
	for i := range p.Recipients {
		say("")
		c.recipientWords(say, &p.Recipients[i])
	}
	say("")
	say("The message:")
	if c.original.title != "" {
		say("    Subject: %s", c.original.title)
	}
	if !p.Arrival.IsZero() {
		say("    Received here: %s", date(p.Arrival))
	}
	if id := c.original.id; id != "" {
		say("    Message-ID: %s", oneLine(id, maxValue))
	}
	if p.Reference != "" {
		say("    Reference: %s", idPart(p.Reference))
	}
	say("")
	say("This notice was written by the mail gateway %s.", domain(p.Hostname))
	say("Its administrator: %s", p.Postmaster)
	return b.String()
}

func (c *composer) recipientWords(say func(string, ...any), r *Recipient) {
	a := adviceFor(c.p.Kind, r.status(c.p.Kind), r.own())
	say("    %s", oneLine(r.Address, maxValue))
	paragraph(say, a.what)
	if r.GivenUpAfter != "" {
		paragraph(say, "Delivery was given up after "+oneLine(r.GivenUpAfter, maxValue)+".")
	}
	if !r.RetryUntil.IsZero() && c.p.Kind == Delay {
		paragraph(say, "It is given up on "+date(r.RetryUntil)+", and you will be told.")
	}
	if a.do != "" {
		paragraph(say, "What you can do: "+a.do)
	}
	reply := replyLines(r.Reply)
	if len(reply) == 0 {
		return
	}
	paragraph(say, c.replyFrom(r)+":")
	for _, line := range reply {
		say("            %s", line) // not wrapped, so that it can be searched for
	}
}

// replyFrom says whose words the reply is, so that its reader asks the right administrator.
func (c *composer) replyFrom(r *Recipient) string {
	own := "The mail gateway " + domain(c.p.Hostname) + " reports"
	switch {
	case r.own() && r.RemoteMTA != "":
		return own + " about its next hop " + r.remoteHost()
	case r.own():
		return own
	case r.GivenUpAfter != "":
		return "The mail system " + r.remoteHost() + " last answered"
	}
	return "The mail system " + r.remoteHost() + " answered"
}

// own says whether the reply is the gateway's own.
func (r *Recipient) own() bool { return r.Local || r.RemoteMTA == "" }

// replyLines is a reply for the eye: line by line, up to maxReplyLines of them.
func replyLines(reply string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(reply, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if len(lines) == maxReplyLines {
			return append(lines, "...")
		}
		if line = oneLine(line, maxReply); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// paragraph says text in lines of at most 76 columns, set in by eight.
func paragraph(say func(string, ...any), text string) {
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > 68 {
			say("        %s", line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	say("        %s", line)
}

// Longest values, in octets. A reply of many lines says what it has to say in the first of them; with its field name it
// still makes a line that may be sent.
const (
	maxValue = 500
	maxReply = 900
	// maxReplyLines is in lines.
	maxReplyLines = 10
	// maxTitle is in characters.
	maxTitle = 120
)

// oneLine makes s one line of at most limit octets of valid UTF-8: line breaks become a space, other control characters and
// what could turn the direction of the text go.
func oneLine(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*limit)], "?")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n' || r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(strings.ReplaceAll(s, "  ", " "))
	if len(s) <= limit {
		return s
	}
	cut := limit - len("...")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// clean is oneLine for a field of the second part: ASCII, unless the DSN is in UTF-8.
func (c *composer) clean(s string, limit int) string {
	if c.utf8 {
		return oneLine(s, limit)
	}
	return strings.Map(func(r rune) rune {
		if r > 0x7e {
			return '?'
		}
		return r
	}, oneLine(s, limit))
}

// address writes "type; address". In a DSN that is not in UTF-8, an address that is becomes utf-8-addr-xtext (RFC 6533 3).
func (c *composer) address(kind, address string) string {
	address = oneLine(address, maxValue)
	kind = atom(kind)
	if isASCII([]byte(address)) {
		return kind + "; " + address
	}
	if c.utf8 {
		return "utf-8; " + address
	}
	var b strings.Builder
	for _, r := range address {
		if r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '=' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return "utf-8; " + b.String()
}

// remoteHost is RemoteMTA without a port: the field has none (RFC 3464 2.3.5). An IP address becomes a domain literal, as a name of type
// "dns" has it (RFC 3464 9.3, RFC 5321 4.1.3).
func (r *Recipient) remoteHost() string {
	host, _, err := net.SplitHostPort(r.RemoteMTA)
	if err != nil {
		host = r.RemoteMTA
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return domain(host)
	case ip.Unmap().Is4():
		return "[" + ip.Unmap().String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// status is the enhanced status code to report.
func (r *Recipient) status(k Kind) string {
	if validStatus(r.Status) {
		return r.Status
	}
	code, rest, _ := strings.Cut(oneLine(r.Reply, maxReply), " ")
	code, after, _ := strings.Cut(code, "-") // "550-5.1.1 first line of several"
	enhanced, _, _ := strings.Cut(strings.TrimSpace(after+" "+rest), " ")
	class := map[Kind]string{Failure: "5", Delay: "4"}[k]
	switch {
	case len(code) == 3 && validStatus(enhanced) && enhanced[0] == code[0]:
		return enhanced
	case len(code) == 3 && (code[0] == '4' || code[0] == '5') && class != "":
		return code[:1] + ".0.0"
	case class != "":
		return class + ".0.0"
	}
	return "2.0.0"
}

// validStatus says whether s is class "." subject "." detail (RFC 3463 2).
func validStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// diagnosticType is "smtp" for an SMTP reply of the remote MTA, else ours (RFC 3464 2.3.6: the code is the one that the transport issued;
// 2.1.2: types that are not registered begin with X-).
func (r *Recipient) diagnosticType(reply string) string {
	if !r.own() && len(reply) >= 3 && strings.Trim(reply[:3], "0123456789") == "" && (len(reply) == 3 || reply[3] == ' ' || reply[3] == '-') {
		return "smtp"
	}
	return "x-coexist"
}

// decodeTitle decodes the encoded words (RFC 2047) of a Subject and makes it a line of at most maxTitle characters.
func decodeTitle(value []byte) string {
	s := rawmime.DecodeWords(value[:min(len(value), 4000)])
	s = oneLine(s, 4*maxTitle)
	if r := []rune(s); len(r) > maxTitle {
		s = strings.TrimSpace(string(r[:maxTitle-3])) + "..."
	}
	return s
}

// subject is the Subject field of the DSN: its kind, and what the original was about.
func subject(kind, title string) string {
	if title == "" {
		return "Subject: " + kind + ": your message"
	}
	if isASCII([]byte(title)) {
		return "Subject: " + kind + ": " + strings.ReplaceAll(title, "=?", "= ?") // no encoded words that we did not write
	}
	var b strings.Builder
	b.WriteString("Subject: " + kind + ":")
	for _, word := range encodedWords(title) {
		b.WriteString("\r\n " + word)
	}
	return b.String()
}

// encodedWords encodes s in pieces of at most 75 octets (RFC 2047 2), none of which splits a character.
func encodedWords(s string) []string {
	const octets = 42 // 56 in base64; with =?utf-8?b? and ?= 68
	var words []string
	for s != "" {
		n := min(len(s), octets)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, mime.BEncoding.Encode("utf-8", s[:n]))
		s = s[n:]
	}
	return words
}

// writable says whether an address can stand in angle brackets in a header field.
func writable(address string) bool {
	if address == "" || len(address) > maxValue || !utf8.ValidString(address) {
		return false
	}
	return !strings.ContainsFunc(address, func(r rune) bool { return unicode.IsControl(r) || r == '<' || r == '>' })
}

// domain makes s fit for a domain or address literal.
func domain(s string) string {
	return keep(s, "-._:[]")
}

// idPart makes s fit for the left side of a Message-ID.
func idPart(s string) string { return keep(s, "-._") }

// atom makes s fit for an address type; RFC 3464 knows rfc822, RFC 6533 adds utf-8.
func atom(s string) string {
	if s == "" {
		return "rfc822"
	}
	return keep(s, "-._")
}

// keep makes everything but letters, digits and others a "?"... which no name has, so that it shows.
func keep(s, others string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(others, r)) {
			return r
		}
		return '?'
	}, s[:min(len(s), 255)])
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
