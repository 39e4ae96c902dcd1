package outbound

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Why a message cannot be re-encoded.
var (
	errHeader8Bit = errors.New("a header field is not ASCII")
	errSigned     = errors.New("a signed part would no longer verify")
	errEncrypted  = errors.New("an encrypted part must stay as it is")
	errEncoding   = errors.New("a part is not what its Content-Transfer-Encoding says")
)

// domain is what octets a transport takes (RFC 2045 2.7 and 2.8), under the name that a Content-Transfer-Encoding has for it.
type domain string

const (
	sevenBitData domain = "7bit"
	eightBitData domain = "8bit"
)

// maxLine is the longest line of 7bit and 8bit data, without its CRLF (RFC 2045 2.7).
const maxLine = 998

// SevenBit re-encodes a message for a host without 8BITMIME (RFC 6152 3): text parts become quoted-printable, others base64, and
// nothing else is changed. What cannot be had without damage is an error: octets over 127 in a header or outside of parts, parts
// under a signature or encryption, and message/* parts that may not be encoded (RFC 2046 5.2).
func SevenBit(content [][]byte) ([][]byte, error) { return recode(content, recoder{to: sevenBitData}) }

// binaryTo makes a message of a BINARYMIME transaction fit for a host without (RFC 3030 3), in the same way. A part that calls itself
// binary and is not is told to be what it is, since no other transport has binary data (RFC 2045 6.2).
func binaryTo(to domain) func([][]byte) ([][]byte, error) {
	return func(content [][]byte) ([][]byte, error) { return recode(content, recoder{to: to, relabel: true}) }
}

func recode(content [][]byte, r recoder) ([][]byte, error) {
	r.msg = joined(content)
	root, err := rawmime.Walk(r.msg, rawmime.Limits{})
	if err != nil {
		return nil, err
	}
	if err := r.part(root); err != nil {
		return nil, err
	}
	return append(r.out, r.msg[r.done:]), nil
}

// joined is the content in one piece, without a copy when it is.
func joined(content [][]byte) []byte {
	content = slices.DeleteFunc(slices.Clone(content), func(seg []byte) bool { return len(seg) == 0 })
	if len(content) == 1 {
		return content[0]
	}
	return bytes.Join(content, nil)
}

// recoder collects the new message: what is unchanged is a part of the old one.
type recoder struct {
	to      domain
	relabel bool // what is called binary
	msg     []byte
	out     [][]byte
	done    int // octets of msg that out stands for
}

// replace puts text in the place of msg[from:to]. Calls come in the order of the message.
func (s *recoder) replace(from, to int, text []byte) {
	s.out = append(s.out, s.msg[s.done:from], text)
	s.done = to
}

// part makes a part fit; one that is stays as it is.
func (s *recoder) part(p *rawmime.Part) error {
	body := s.msg[p.BodyStart:max(p.BodyEnd, p.BodyStart)]
	fits := s.fits(p, body)
	switch {
	case s.to == sevenBitData && hasEightBit(p.Header(s.msg)):
		return errHeader8Bit
	case fits && !s.relabel:
		return nil
	case p.Type == "multipart/signed": // RFC 1847 2.1: it should have been 7-bit when it was signed
		return unless(fits, errSigned)
	case p.Type == "multipart/encrypted": // RFC 1847 2.2: likewise
		return unless(fits, errEncrypted)
	case isComposite(p):
		return s.composite(p)
	case fits:
		s.relabelBinary(p, body)
		return nil
	case strings.HasPrefix(p.Type, "message/"), strings.HasPrefix(p.Type, "multipart/"):
		return fmt.Errorf("a part of type %s may not be encoded", safeText(p.Type))
	}
	return s.leaf(p, body)
}

func unless(fine bool, err error) error {
	if fine {
		return nil
	}
	return err
}

func isComposite(p *rawmime.Part) bool { return len(p.Children) > 0 }

// fits reports whether content is data of the domain. Lines may be as long as they are let in, but for what is called binary.
func (s *recoder) fits(p *rawmime.Part, content []byte) bool {
	if s.to == sevenBitData && hasEightBit(content) || bytes.IndexByte(content, 0) >= 0 {
		return false
	}
	var scan message.Scanner
	scan.Write(content)
	f := scan.Findings()
	limit := int64(message.MaxLine)
	if p.Encoding == "binary" && !isComposite(p) {
		limit = maxLine
	}
	return !f.BareCR && !f.BareLF && f.LongestLine <= limit
}

// composite goes through the parts of a multipart or an attached message, whose own encoding can only be an identity.
func (s *recoder) composite(p *rawmime.Part) error {
	if p.Encoding == "binary" || p.Encoding == "8bit" && s.to == sevenBitData {
		s.setEncoding(p, string(s.to))
	}
	for _, c := range p.Children {
		if err := s.part(c); err != nil {
			return err
		}
	}
	return nil
}

// relabelBinary gives a part that calls itself binary the encoding that its content has.
func (s *recoder) relabelBinary(p *rawmime.Part, body []byte) {
	switch {
	case p.Encoding != "binary":
	case hasEightBit(body):
		s.setEncoding(p, string(eightBitData))
	default:
		s.setEncoding(p, string(sevenBitData))
	}
}

// setEncoding replaces the Content-Transfer-Encoding field, or adds one, with what a message without MIME lacks as well.
func (s *recoder) setEncoding(p *rawmime.Part, encoding string) {
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
func (s *recoder) missingMIME(p *rawmime.Part) []byte {
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
func (s *recoder) leaf(p *rawmime.Part, body []byte) error {
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
