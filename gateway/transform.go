package gateway

import (
	"github.com/coexist-mail/coexist/gateway/loop"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// tnefField tells the next system, and whoever reads the message's source, of a conversion.
const tnefField = "X-Coexist-TNEF"

// variant is a message as it leaves for one side.
type variant struct {
	content   message.Content
	eightBit  bool            // the conversion put 8-bit octets in
	converted *message.Buffer // holds the octets of a converted message
}

func (v *variant) close() {
	if v.converted != nil {
		v.converted.Close()
	}
}

// transform makes the variant of a message for a side: TNEF converted where the side wants it, header fields taken out that may not
// cross this boundary. What needs no change is passed on octet by octet, and what cannot be understood is, too.
func (g *Gateway) transform(it *spool.Item, body []byte, side routing.Side) variant {
	s := g.state.Load()
	if !s.converts(side) || it.Kind == spool.DSN || !tnef.Contains(body) {
		return variant{content: g.pass(s, it, nil, body, side)}
	}
	converted := g.buffer()
	report, err := g.convertTNEF(converted, body)
	g.noteTNEF(it, side, report, err)
	switch {
	case err == nil && report.Found == 0:
		converted.Close()
		return variant{content: g.pass(s, it, nil, body, side)}
	case err != nil || report.Converted == 0:
		converted.Close()
		return variant{content: g.pass(s, it, message.AppendField(nil, tnefField, "failed"), body, side)}
	}
	top := message.AppendField(nil, tnefField, report.HeaderValue(Version()))
	v := variant{content: g.pass(s, it, top, converted.Bytes(), side), converted: converted}
	var scan message.Scanner
	scan.Write(converted.Bytes())
	v.eightBit = scan.Findings().EightBit
	return v
}

// pass puts top and the gateway's own trace field on a message, and takes out what may not cross to a side. What the gateway put on
// when the message came, up to its Received field, is its own and passes.
func (g *Gateway) pass(s *state, it *spool.Item, top, body []byte, side routing.Side) message.Content {
	own := ownTrace(it, body)
	msg := body[own:]
	if it.Source == routing.Cloud && side == routing.OnPrem {
		if translated, ok := s.filter.Translate(msg); ok {
			msg = translated.Bytes()
		}
	}
	if it.Kind == spool.Mail {
		top = g.loops.Append(top, g.loops.Inspect(body[own:]), it.MessageID, loop.Passage{From: it.Source, To: side}, it.Received)
	}
	return s.firewall.Apply(message.Boundary{From: it.Source, To: side}, append(top, body[:own]...), msg)
}

// ownTrace is the length of what the gateway put on top of a message: all up to its Received field, which is the first one. Its own DSNs
// have none.
func ownTrace(it *spool.Item, body []byte) int {
	if it.Kind == spool.DSN {
		return 0
	}
	for f := range rawmime.Fields(body) {
		if f.Is("Received") {
			return f.End
		}
	}
	return 0
}

// maxConverting bounds the conversions that run at a time. They keep a processor busy, so that more of them would not be done sooner,
// and compressed RTF grows up to eightfold ([MS-OXRTFCP] 3.1): a few hundred MiB of memory for a message that is made for it.
const maxConverting = 8

// convertTNEF shields the path of a message from bugs of the converter: a message that makes it panic is passed on as it is.
func (g *Gateway) convertTNEF(dst *message.Buffer, body []byte) (report tnef.Report, err error) {
	g.converting <- struct{}{}
	defer func() {
		<-g.converting
		if r := recover(); r != nil {
			g.log.Error("bug in the TNEF conversion", "panic", r, "stack", stack())
			err = errConversionBug
		}
	}()
	return tnef.ConvertMessage(dst, body, &tnef.Options{Scratch: func() (tnef.ScratchBuffer, error) { return g.buffer(), nil }})
}
