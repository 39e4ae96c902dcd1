package message

import (
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Edit is a change of a message's header: fields taken out, and a block put on top. Every other octet stays as it came.
type Edit struct {
	// Top goes before the first octet of the message: whole fields, each ended by CRLF (Received.Append, AppendField). Nothing
	// is put between it and the message, whatever the message starts with. A message that starts with a space or tab thereby
	// continues the last field of Top: so let that be Received, which nobody trusts for more than its count.
	Top []byte
	// Remove says of each field whether it goes, folded lines and all. Nil takes nothing out.
	// It is also asked about runs of octets that are no field: then Name is nil and Value is all of the run.
	Remove func(rawmime.Field) bool
}

// maxPieces is how many slices an edited header may consist of. Past that it is copied into one: a slice for each of
// 100,000 fields would cost more than the copy.
const maxPieces = 32

// Apply returns the edited message; the octets of msg are shared, not copied. The header is what precedes the first empty
// line, or all of msg if it has none: what is not a field (a line without a colon, the From_ line of an mbox) stays, and does
// not end the header, since the next system may look for fields after it. What comes after that is never touched: neither
// the body, nor parts of it, nor messages in it.
func (e Edit) Apply(msg []byte) Content {
	pieces := make(Content, 0, 4)
	if len(e.Top) > 0 {
		pieces = append(pieces, e.Top)
	}
	if e.Remove == nil {
		return append(pieces, msg)
	}
	kept := 0 // msg[:kept] is in pieces already, or was taken out
	for f := range rawmime.Fields(msg) {
		if !e.removes(msg, f) {
			continue
		}
		if kept < f.Start {
			pieces = append(pieces, msg[kept:f.Start])
		}
		kept = f.End
		if len(pieces) >= maxPieces {
			return e.joined(pieces, msg, kept)
		}
	}
	if kept < len(msg) || len(pieces) == 0 {
		pieces = append(pieces, msg[kept:])
	}
	return pieces
}

// removes asks Remove about f, a field of msg.
func (e Edit) removes(msg []byte, f rawmime.Field) bool {
	if f.Name == nil {
		f.Value = msg[f.Start:f.End]
	}
	return e.Remove(f)
}

// joined copies pieces, and what stays of the header from offset on, into one slice; the body follows as it is.
func (e Edit) joined(pieces Content, msg []byte, offset int) Content {
	rest := msg[offset:]
	end, _ := rawmime.HeaderEnd(rest)
	header := make([]byte, 0, pieces.Size()+int64(end))
	for _, p := range pieces {
		header = append(header, p...)
	}
	kept := 0
	for f := range rawmime.Fields(rest) {
		if e.removes(rest, f) {
			header = append(header, rest[kept:f.Start]...)
			kept = f.End
		}
	}
	return Content{append(header, rest[kept:end]...), rest[end:]}
}

// Header is what Inspect finds.
type Header struct {
	// Size is the number of octets before the empty line: the limit on headers is for the caller to set.
	Size int
	// Received is the number of Received fields: each system on the way adds one (RFC 5321 6.3 counts them to find loops).
	Received int
	// MessageID is the first Message-ID, with angle brackets, unfolded; empty when there is none, or none that is one word of
	// printable characters of at most 998 octets.
	MessageID string
	// Automatic says that no person sent it (RFC 3834 2): Auto-Submitted other than "no", a Precedence of bulk, junk or list, or
	// a List-Id. Nobody waits for a delay notice about it.
	Automatic bool
	// TLSOptional says that the sender asks for delivery whatever the recipient's domain demands of TLS: "TLS-Required: No". The field
	// may not stand there twice; if it does it says nothing (RFC 8689 3).
	TLSOptional bool
}

// Inspect reads the header of msg in one pass.
func Inspect(msg []byte) Header {
	var h Header
	tlsRequired := 0
	for f := range rawmime.Fields(msg) {
		h.Size = f.End
		if f.Name == nil {
			continue
		}
		switch f.Name[0] | 0x20 { // the first letter decides for nearly all fields
		case 'r':
			if f.Is("Received") {
				h.Received++
			}
		case 'm':
			if h.MessageID == "" && f.Is("Message-ID") {
				h.MessageID = oneWord(f.Value)
			}
		case 'a', 'p', 'l':
			h.Automatic = h.Automatic || isAutomatic(f)
		case 't':
			if f.Is("TLS-Required") {
				tlsRequired++
				h.TLSOptional = tlsRequired == 1 && strings.EqualFold(strings.TrimSpace(string(skipCFWS(f.Value))), "no")
			}
		}
	}
	return h
}

func isAutomatic(f rawmime.Field) bool {
	switch {
	case f.Is("Auto-Submitted"):
		keyword, _, _ := strings.Cut(string(f.Value), ";") // RFC 3834 5: parameters may follow
		return !strings.EqualFold(strings.TrimSpace(keyword), "no")
	case f.Is("Precedence"):
		switch strings.ToLower(strings.TrimSpace(string(f.Value))) {
		case "bulk", "junk", "list":
			return true
		}
	case f.Is("List-Id"):
		return true
	}
	return false
}

// oneWord returns value without the white space around it, or "" when it cannot stand in a header or log as it is.
func oneWord(value []byte) string {
	w := strings.TrimSpace(string(value[:min(len(value), 1000)]))
	if len(w) > 998 {
		return ""
	}
	for i := range len(w) {
		if w[i] <= ' ' || w[i] == 0x7f {
			return ""
		}
	}
	return w
}
