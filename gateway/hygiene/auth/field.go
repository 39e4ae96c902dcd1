package auth

import (
	"strings"

	"github.com/coexist-mail/coexist/gateway/message"
)

// AppendField appends the Authentication-Results field of the results (RFC 8601 2.2), folded and ended by CRLF, to dst.
func (c *Checker) AppendField(dst []byte, r Results) []byte {
	info := make([]string, 0, 2+len(r.DKIM))
	info = append(info, r.SPF.info())
	for _, s := range r.DKIM {
		info = append(info, s.info())
	}
	if len(r.DKIM) == 0 {
		info = append(info, "dkim=none")
	}
	info = append(info, r.DMARC.info())
	return message.AppendField(dst, "Authentication-Results", c.o.Hostname+"; "+strings.Join(info, "; "))
}

func (s SPF) info() string {
	if s.Helo {
		return resinfo("spf", s.Result, "", "smtp.helo", s.Domain)
	}
	return resinfo("spf", s.Result, "", "smtp.mailfrom", s.Domain)
}

func (s Signature) info() string {
	return resinfo("dkim", s.Result, s.Reason, "header.d", s.Domain, "header.s", s.Selector, "header.a", s.Algorithm, "header.b", s.Hash)
}

func (d DMARC) info() string {
	info := resinfo("dmarc", d.Result, d.Reason)
	if d.Result == PassResult || d.Result == Fail {
		info += " (p=" + string(d.Policy) + " dis=" + string(d.Disposition) + ")"
	}
	if d.Domain != "" {
		info += " header.from=" + pvalue(d.Domain)
	}
	return info
}

// resinfo is one result; properties come as name and value, empty ones are left out.
func resinfo(method string, r Result, reason string, properties ...string) string {
	info := method + "=" + string(r)
	if reason != "" {
		info += " reason=" + quote(reason)
	}
	for i := 0; i+1 < len(properties); i += 2 {
		if properties[i+1] != "" {
			info += " " + properties[i] + "=" + pvalue(properties[i+1])
		}
	}
	return info
}

// pvalue is a token where the value is one (RFC 2045 5.1), else a quoted string.
func pvalue(v string) string {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return quote(v)
		}
	}
	return v
}

// quote makes v a quoted string (RFC 5322 3.2.4) of at most 200 octets of printable ASCII.
func quote(v string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range min(len(v), 200) {
		switch c := v[i]; {
		case c < ' ' || c >= 0x7f:
			b.WriteByte('?')
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
