package gateway

import (
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef"
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
	boundary := message.Boundary{From: it.Source, To: side}
	if !s.converts(side) || it.Kind == spool.DSN || !tnef.Contains(body) {
		return variant{content: s.firewall.Apply(boundary, nil, body)}
	}
	converted := message.NewBuffer(g.scratchDir, message.DefaultMemory)
	report, err := g.convertTNEF(converted, body)
	g.noteTNEF(it, side, report, err)
	switch {
	case err == nil && report.Found == 0:
		converted.Close()
		return variant{content: s.firewall.Apply(boundary, nil, body)}
	case err != nil || report.Converted == 0:
		converted.Close()
		return variant{content: s.firewall.Apply(boundary, message.AppendField(nil, tnefField, "failed"), body)}
	}
	top := message.AppendField(nil, tnefField, report.HeaderValue(Version()))
	v := variant{content: s.firewall.Apply(boundary, top, converted.Bytes()), converted: converted}
	var scan message.Scanner
	scan.Write(converted.Bytes())
	v.eightBit = scan.Findings().EightBit
	return v
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
	return tnef.ConvertMessage(dst, body, &tnef.Options{Scratch: func() (tnef.ScratchBuffer, error) { return message.NewBuffer(g.scratchDir, message.DefaultMemory), nil }})
}
