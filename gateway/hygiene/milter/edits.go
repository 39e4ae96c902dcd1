package milter

import (
	"bytes"
	"strings"

	"github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// edits are the changes that a filter asks for, in its order.
type edits []milter.ModifyAction

// piece is a field, or a run of octets in a header that is none: then name is empty.
type piece struct {
	name string
	raw  []byte
}

// apply makes the changes. changed is false when there are none. All octets but those of the fields concerned, and of a body that
// is replaced, stay as they are.
func (e edits) apply(msg []byte) (out message.Content, changed bool) {
	if len(e) == 0 {
		return nil, false
	}
	h := header{newline: "\r\n"}
	if rawmime.Newline(msg) == "\n" {
		h.newline = "\n"
	}
	for f := range rawmime.Fields(msg) {
		h.pieces = append(h.pieces, piece{string(f.Name), msg[f.Start:f.End]})
	}
	end, bodyStart := rawmime.HeaderEnd(msg)
	separator, body := msg[end:bodyStart], msg[bodyStart:]
	var replaced []byte
	newBody := false
	for _, m := range e {
		switch m.Code {
		case milter.ActReplBody:
			replaced, newBody = append(replaced, m.Body...), true
		case milter.ActAddHeader:
			h.insert(len(h.pieces), m)
		case milter.ActInsertHeader:
			h.insert(h.position(int(min(m.HeaderIndex, 1<<20))), m)
		case milter.ActChangeHeader:
			h.change(m)
		}
	}
	if newBody {
		body = message.NormalizeCRLF(nil, replaced)
		if len(separator) == 0 {
			separator = []byte(h.newline) // a message that was all header gets a body
		}
	}
	top := h.bytes(len(separator) > 0)
	if bytes.HasSuffix(top, []byte("\r")) && bytes.HasPrefix(separator, []byte("\n")) {
		top = append(top, '\n') // else the two would make one line ending
	}
	return message.Content{top, separator, body}, h.changed || newBody
}

// header is a header being changed.
type header struct {
	newline string
	pieces  []piece
	changed bool
}

// insert puts the field of m before the piece at index i. A field that cannot be one is left out.
func (h *header) insert(i int, m milter.ModifyAction) {
	raw := h.field(m.HeaderName, m.HeaderValue)
	if raw == nil {
		return
	}
	h.pieces = append(h.pieces[:i], append([]piece{{m.HeaderName, raw}}, h.pieces[i:]...)...)
	h.changed = true
}

// position is the index of the piece before which a field is inserted: index 0 is the top (smfi_insheader).
func (h *header) position(index int) int {
	for i, p := range h.pieces {
		if p.name == "" {
			continue
		}
		if index == 0 {
			return i
		}
		index--
	}
	return len(h.pieces)
}

// change replaces the HeaderIndex-th field of the name, counted from 1, or takes it out when the value is empty; a field that is
// not there is added (smfi_chgheader).
func (h *header) change(m milter.ModifyAction) {
	nth := max(m.HeaderIndex, 1)
	for i, p := range h.pieces {
		if !strings.EqualFold(p.name, m.HeaderName) || p.name == "" {
			continue
		}
		if nth--; nth > 0 {
			continue
		}
		if m.HeaderValue == "" {
			h.pieces = append(h.pieces[:i], h.pieces[i+1:]...)
			h.changed = true
		} else if raw := h.field(p.name, m.HeaderValue); raw != nil {
			h.pieces[i].raw = raw
			h.changed = true
		}
		return
	}
	if m.HeaderValue != "" {
		h.insert(len(h.pieces), m)
	}
}

// bytes joins the header. A last field without a line ending gets one where something follows it.
func (h *header) bytes(followed bool) []byte {
	var b bytes.Buffer
	for i, p := range h.pieces {
		b.Write(p.raw)
		if (i < len(h.pieces)-1 || followed) && !endsLine(p.raw) {
			b.WriteString(h.newline)
		}
	}
	return b.Bytes()
}

func endsLine(raw []byte) bool {
	return len(raw) > 0 && (raw[len(raw)-1] == '\n' || raw[len(raw)-1] == '\r')
}

// field writes a field. Lines of the value that would not continue it are made to; nil when the name cannot be one (RFC 5322
// 3.6.8).
func (h *header) field(name, value string) []byte {
	if name == "" || len(name) > 200 {
		return nil
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			return nil
		}
	}
	value = strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\r", "\n")
	var b strings.Builder
	b.WriteString(name + ": ")
	first := true
	for line := range strings.SplitSeq(strings.TrimLeft(value, " \t\n"), "\n") {
		line = strings.ReplaceAll(line, "\x00", "")
		if !first && strings.TrimSpace(line) == "" {
			continue // an empty line would end the header
		}
		if !first {
			b.WriteString(h.newline)
			if line[0] != ' ' && line[0] != '\t' {
				b.WriteByte('\t')
			}
		}
		b.WriteString(line)
		first = false
	}
	b.WriteString(h.newline)
	return []byte(b.String())
}
