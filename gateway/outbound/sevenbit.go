package outbound

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Why a message cannot be made 7-bit.
var (
	errHeader8Bit = errors.New("a header field is not ASCII")
	errSigned     = errors.New("a signed part would no longer verify")
	errEncoding   = errors.New("a part is not what its Content-Transfer-Encoding says")
)

// SevenBit re-encodes a message for a host without 8BITMIME (RFC 6152 3) or BINARYMIME (RFC 3030 3): text parts become
// quoted-printable, others base64, and nothing else is changed. What cannot be had without damage is an error: octets over
// 127 in a header or outside of parts, parts under a signature, and message/* parts that may not be encoded (RFC 2046 5.2).
func SevenBit(content [][]byte) ([][]byte, error) {
	msg := joined(content)
	root, err := rawmime.Walk(msg, rawmime.Limits{})
	if err != nil {
		return nil, err
	}
	s := sevenBit{msg: msg}
	if err := s.part(root); err != nil {
		return nil, err
	}
	return append(s.out, msg[s.done:]), nil
}

// joined is the content in one piece, without a copy when it is.
func joined(content [][]byte) []byte {
	content = slices.DeleteFunc(slices.Clone(content), func(seg []byte) bool { return len(seg) == 0 })
	if len(content) == 1 {
		return content[0]
	}
	return bytes.Join(content, nil)
}

// sevenBit collects the new message: what is unchanged is a part of the old one.
type sevenBit struct {
	msg  []byte
	out  [][]byte
	done int // octets of msg that out stands for
}

// replace puts text in the place of msg[from:to]. Calls come in the order of the message.
func (s *sevenBit) replace(from, to int, text []byte) {
	s.out = append(s.out, s.msg[s.done:from], text)
	s.done = to
}

// part makes a part 7-bit; one that is stays as it is, whatever it says of itself.
func (s *sevenBit) part(p *rawmime.Part) error {
	body := s.msg[p.BodyStart:max(p.BodyEnd, p.BodyStart)]
	switch {
	case hasEightBit(p.Header(s.msg)):
		return errHeader8Bit
	case isSevenBit(body):
		return nil
	case p.Type == "multipart/signed": // RFC 1847 2.1: it should have been 7-bit when it was signed
		return errSigned
	case isComposite(p):
		return s.composite(p)
	case strings.HasPrefix(p.Type, "message/"), strings.HasPrefix(p.Type, "multipart/"):
		return fmt.Errorf("a part of type %s may not be encoded", safeText(p.Type))
	}
	return s.leaf(p, body)
}

func isComposite(p *rawmime.Part) bool { return len(p.Children) > 0 }

// isSevenBit reports whether content is 7bit data (RFC 2045 2.7), but for the length of its lines.
func isSevenBit(content []byte) bool {
	return !hasEightBit(content) && bytes.IndexByte(content, 0) < 0 && !newBody([][]byte{content}).bare
}

// composite goes through the parts of a multipart or an attached message, whose own encoding can only be an identity.
func (s *sevenBit) composite(p *rawmime.Part) error {
	if p.Encoding == "8bit" || p.Encoding == "binary" {
		s.setEncoding(p, "7bit")
	}
	for _, c := range p.Children {
		if err := s.part(c); err != nil {
			return err
		}
	}
	return nil
}

// setEncoding replaces the Content-Transfer-Encoding field, or adds one, with what a message without MIME lacks as well.
func (s *sevenBit) setEncoding(p *rawmime.Part, encoding string) {
	line := []byte("Content-Transfer-Encoding: " + encoding + "\r\n")
	for f := range rawmime.Fields(p.Header(s.msg)) {
		if f.Is("Content-Transfer-Encoding") {
			s.replace(p.Start+f.Start, p.Start+f.End, line)
			return
		}
	}
	if p.Parent == nil {
		line = append(s.missingMIME(p), line...)
	}
	s.replace(p.HeaderEnd, p.HeaderEnd, line)
}

// missingMIME are the fields that make a plain message one of MIME. Text in an unknown character set says so (RFC 1428 3).
func (s *sevenBit) missingMIME(p *rawmime.Part) []byte {
	var b []byte
	header := p.Header(s.msg)
	if rawmime.Count(header, "MIME-Version") == 0 {
		b = append(b, "MIME-Version: 1.0\r\n"...)
	}
	if rawmime.Count(header, "Content-Type") == 0 {
		charset := "unknown-8bit"
		if utf8.Valid(s.msg[p.BodyStart:]) {
			charset = "utf-8"
		}
		b = append(b, "Content-Type: text/plain; charset="+charset+"\r\n"...)
	}
	return b
}

// leaf encodes a part.
func (s *sevenBit) leaf(p *rawmime.Part, body []byte) error {
	if p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary" {
		return errEncoding
	}
	encoding, encode := "base64", rawmime.AppendBase64
	if strings.HasPrefix(p.Type, "text/") && bytes.IndexByte(body, 0) < 0 && !newBody([][]byte{body}).bare {
		encoding, encode = "quoted-printable", rawmime.AppendQP
	}
	s.setEncoding(p, encoding)
	s.replace(p.BodyStart, p.BodyStart+len(body), encode(nil, body))
	return nil
}
