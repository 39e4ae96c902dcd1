package tnef

import (
	"fmt"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Streams gives the TNEF streams in data, decoded: data itself when it is one, else those of a message's parts that are, or say that
// they are, TNEF, also inside attached messages. Signed and encrypted parts are looked into as far as they are readable: this serves
// people who want to know what is in a message, not its conversion. An error says that the structure of the message is over the limits.
func Streams(data []byte, opt *Options) ([][]byte, error) {
	if IsTNEF(data) {
		return [][]byte{data}, nil
	}
	root, err := rawmime.Walk(data, rawmime.Limits{})
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	c := &conversion{msg: data, opt: &Options{Limits: opt.limits()}}
	var streams [][]byte
	var visit func(p *rawmime.Part) error
	visit = func(p *rawmime.Part) error {
		if len(p.Children) == 0 && !p.IsMultipart() {
			stream, err := c.streamOf(p)
			if err != nil {
				return err
			}
			if stream != nil {
				streams = append(streams, stream)
			}
		}
		for _, child := range p.Children {
			if err := visit(child); err != nil {
				return err
			}
		}
		return nil
	}
	return streams, visit(root)
}

// streamOf is the content of a part that is TNEF, says so, or has it uuencoded in its text; nil of another one.
func (c *conversion) streamOf(p *rawmime.Part) ([]byte, error) {
	if isTNEFType(p.Type) || isTNEFName(p.Name()) {
		return c.decodeBody(p)
	}
	if stream, _ := c.findUU(p); stream != nil {
		return stream, nil
	}
	if content, known := rawmime.Decode(nil, p.Body(c.msg), p.Encoding); known && IsTNEF(content) {
		return content, nil // whatever it is called
	}
	return nil, nil
}
