package outbound

import (
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
)

// prepare fits the transaction to what the host offers: the form of the content, the parameters, the addresses. It settles
// the recipients whose message the host cannot take; false when none is left.
func (t *transaction) prepare(indices []int) bool {
	ext, req := &t.c.ext, &t.d.req
	b, bodyParam, refused := t.d.bodies.fit(req.Body, ext)
	if refused == nil && ext.size > 0 && b.size > ext.size {
		refused = refusal(552, smtp.EnhancedCode{5, 3, 4}, "the message has %d octets, %s takes %d", b.size, t.c.hop.key.host, ext.size)
	}
	from, ok := pathFor(req.ReversePath, ext)
	if refused == nil && (!ok || req.UTF8 && !ext.utf8 && b.headerEightBit()) { // RFC 6531 3.5
		refused = refusal(550, smtp.EnhancedCode{5, 6, 7}, "%s does not take internationalized mail (SMTPUTF8)", t.c.hop.key.host)
	}
	if refused != nil {
		for _, i := range indices {
			t.d.set(i, t.c, Result{Outcome: Refused, Reply: refused, Local: true, Stage: StageMAIL})
		}
		return false
	}
	t.body = b
	needUTF8 := t.recipients(indices) || req.UTF8 || !isASCII(from)
	t.mail = mailLine(from, b.size, bodyParam, needUTF8, req, ext)
	return len(t.rcpt) > 0
}

// recipients makes the RCPT commands, and settles those whose address the host cannot take. It reports whether one of them
// needs SMTPUTF8.
func (t *transaction) recipients(indices []int) (needUTF8 bool) {
	ext := &t.c.ext
	t.rcpt = make([]rcptTo, 0, len(indices))
	for _, i := range indices {
		r := &t.d.req.Recipients[i]
		to, ok := pathFor(r.Address, ext)
		if !ok {
			t.d.set(i, t.c, Result{Outcome: Refused, Local: true, Stage: StageRCPT, Reply: refusal(550, smtp.EnhancedCode{5, 6, 7},
				"%s does not take internationalized addresses (SMTPUTF8)", t.c.hop.key.host)})
			continue
		}
		needUTF8 = needUTF8 || !isASCII(to)
		t.rcpt = append(t.rcpt, rcptTo{index: i, line: rcptLine(to, r, ext)})
	}
	return needUTF8
}

// pathFor is the address as the host can take it.
func pathFor(addr string, ext *extensions) (string, bool) {
	if ext.utf8 {
		return addr, true
	}
	return asciiPath(addr)
}

// fit chooses the form of the content for a host, and the BODY parameter. RFC 6152 3 and RFC 3030 3 leave two ways for what a
// host cannot take: re-encode or return.
func (b *bodies) fit(declared string, ext *extensions) (*body, string, *smtp.SMTPError) {
	if strings.EqualFold(declared, "BINARYMIME") {
		return b.fitBinary(ext)
	}
	n := b.normalised()
	switch {
	case !n.eightBit && strings.EqualFold(declared, "8BITMIME") && ext.eightBit, n.eightBit && ext.eightBit:
		return n, "8BITMIME", nil
	case !n.eightBit:
		return n, "", nil
	}
	seven, err := b.sevenBit()
	if err != nil { // RFC 3463 3.7: conversion required but not supported
		return nil, "", refusal(550, smtp.EnhancedCode{5, 6, 3}, "the next hop takes no 8-bit content: %v", err)
	}
	return seven, "", nil
}

// fitBinary is the same for what may hold any octets, which only BDAT can carry.
func (b *bodies) fitBinary(ext *extensions) (*body, string, *smtp.SMTPError) {
	form := b.binarySevenBit
	switch {
	case ext.binary && ext.chunking:
		return b.original, "BINARYMIME", nil
	case ext.eightBit:
		form = b.binaryEightBit
	}
	text, err := form()
	switch {
	case err != nil:
		return nil, "", refusal(550, smtp.EnhancedCode{5, 6, 3}, "the next hop takes no binary content: %v", err)
	case text.eightBit:
		return text, "8BITMIME", nil
	}
	return text, "", nil
}

func mailLine(from string, size int64, bodyParam string, utf8 bool, req *Request, ext *extensions) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + from + ">")
	if ext.hasSize { // RFC 1870 6
		b.WriteString(" SIZE=" + strconv.FormatInt(size, 10))
	}
	if bodyParam != "" {
		b.WriteString(" BODY=" + bodyParam)
	}
	if utf8 && ext.utf8 {
		b.WriteString(" SMTPUTF8")
	}
	if req.RequireTLS && ext.requireTLS { // RFC 8689 4.2.1, and 5 for a DSN
		b.WriteString(" REQUIRETLS")
	}
	if ext.dsn && req.Return != "" {
		b.WriteString(" RET=" + xtext(req.Return))
	}
	if ext.dsn && req.EnvelopeID != "" {
		b.WriteString(" ENVID=" + xtext(req.EnvelopeID))
	}
	return b.String()
}

func rcptLine(to string, r *message.Recipient, ext *extensions) string {
	line := "RCPT TO:<" + to + ">"
	if !ext.dsn {
		return line
	}
	if len(r.Notify) > 0 {
		line += " NOTIFY=" + xtext(strings.Join(r.Notify, ","))
	}
	if r.ORcptType != "" && r.ORcpt != "" {
		line += " ORCPT=" + orcpt(r.ORcptType, r.ORcpt)
	}
	return line
}
