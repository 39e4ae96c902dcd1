package adtest

import (
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// The choices of Filter (RFC 4511 4.5.1).
const (
	filterAnd = iota
	filterOr
	filterNot
	filterEqual
	filterSubstrings
	filterGreater
	filterLess
	filterPresent
)

// matches evaluates a filter on an object. What is not known is false.
func (s *Store) matches(e *entry, f *ber.Packet) bool {
	switch f.Tag {
	case filterAnd:
		return !slices.ContainsFunc(f.Children, func(c *ber.Packet) bool { return !s.matches(e, c) })
	case filterOr:
		return slices.ContainsFunc(f.Children, func(c *ber.Packet) bool { return s.matches(e, c) })
	case filterNot:
		return !s.matches(e, f.Children[0])
	case filterPresent:
		name := strings.ToLower(text(f))
		return name == "objectclass" || len(s.values(e, name)) > 0
	case filterEqual, filterGreater, filterLess:
		return s.compares(e, f)
	}
	return false
}

func (s *Store) compares(e *entry, f *ber.Packet) bool {
	name, want := strings.ToLower(text(f.Children[0])), text(f.Children[1])
	return slices.ContainsFunc(s.values(e, name), func(v string) bool {
		if f.Tag == filterEqual {
			if name == "objectguid" {
				return v == want
			}
			return strings.EqualFold(v, want)
		}
		have, err1 := strconv.ParseInt(v, 10, 64)
		limit, err2 := strconv.ParseInt(want, 10, 64)
		return err1 == nil && err2 == nil && (f.Tag == filterGreater && have >= limit || f.Tag == filterLess && have <= limit)
	})
}

// text is the content of a primitive.
func text(p *ber.Packet) string {
	if p == nil {
		return ""
	}
	if s, ok := p.Value.(string); ok {
		return s
	}
	return p.Data.String()
}
