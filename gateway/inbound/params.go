package inbound

import (
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

func fail(code int, x, y, z int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{x, y, z}, Message: text}
}

// A param is one ESMTP parameter of MAIL or RCPT: keyword, upper-cased, and value.
type param struct {
	key, value string
	hasValue   bool
}

// parseParams reads the parameters after a path (RFC 5321 4.1.2 "Mail-parameters"). The same keyword twice is a syntax error.
func parseParams(s string) ([]param, *smtp.SMTPError) {
	var params []param
	for word := range strings.FieldsSeq(s) {
		key, value, hasValue := strings.Cut(word, "=")
		p := param{strings.ToUpper(key), value, hasValue}
		for _, other := range params {
			if other.key == p.key {
				return nil, fail(501, 5, 5, 4, "Parameter "+printable(p.key)+" given twice")
			}
		}
		params = append(params, p)
	}
	return params, nil
}

// mailParams are the parameters of MAIL, by keyword.
var mailParams = map[string]func(*smtp.MailOptions, param) bool{
	"SIZE": func(o *smtp.MailOptions, p param) bool { // RFC 1870 4
		if p.value == "" || strings.Trim(p.value, "0123456789") != "" {
			return false
		}
		n, err := strconv.ParseInt(p.value, 10, 64)
		if err != nil {
			n = 1<<63 - 1 // more digits than fit: too big for any limit, not a syntax error
		}
		o.Size = n
		return true
	},
	"BODY": func(o *smtp.MailOptions, p param) bool { // RFC 6152 3, RFC 3030 3
		o.Body = smtp.BodyType(strings.ToUpper(p.value))
		return o.Body == smtp.Body7Bit || o.Body == smtp.Body8BitMIME || o.Body == smtp.BodyBinaryMIME
	},
	"REQUIRETLS": func(o *smtp.MailOptions, p param) bool { // RFC 8689 2
		o.RequireTLS = true
		return !p.hasValue
	},
	"SMTPUTF8": func(o *smtp.MailOptions, p param) bool { // RFC 6531 3.4
		o.UTF8 = true
		return !p.hasValue
	},
	"RET": func(o *smtp.MailOptions, p param) bool { // RFC 3461 4.3
		o.Return = smtp.DSNReturn(strings.ToUpper(p.value))
		return o.Return == smtp.DSNReturnFull || o.Return == smtp.DSNReturnHeaders
	},
	"ENVID": func(o *smtp.MailOptions, p param) bool { // RFC 3461 4.4
		id, ok := decodeXtext(p.value)
		o.EnvelopeID = id
		return ok && id != "" && len(p.value) <= 100
	},
	// RFC 4954 5: accepted so that nothing is refused that a relay passes on, and not believed.
	"AUTH": func(_ *smtp.MailOptions, p param) bool { return p.hasValue },
}

// rcptParams are the parameters of RCPT, by keyword.
var rcptParams = map[string]func(*smtp.RcptOptions, param) bool{
	"NOTIFY": func(o *smtp.RcptOptions, p param) bool { // RFC 3461 4.1
		for word := range strings.SplitSeq(strings.ToUpper(p.value), ",") {
			switch n := smtp.DSNNotify(word); n {
			case smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed, smtp.DSNNotifyNever:
				o.Notify = append(o.Notify, n)
			default:
				return false
			}
		}
		for _, n := range o.Notify {
			if n == smtp.DSNNotifyNever && len(o.Notify) > 1 {
				return false
			}
		}
		return true
	},
	"ORCPT": func(o *smtp.RcptOptions, p param) bool { // RFC 3461 4.2, RFC 6533 3
		kind, address, ok := strings.Cut(p.value, ";")
		if !ok || kind == "" || len(p.value) > 1500 {
			return false
		}
		o.OriginalRecipientType = smtp.DSNAddressType(kind) // in the letter case it came in: a relay passes it on (RFC 3461 5.2.1)
		if strings.EqualFold(kind, "utf-8") {
			o.OriginalRecipient, ok = decodeUTF8Xtext(address)
		} else {
			o.OriginalRecipient, ok = decodeXtext(address)
		}
		return ok && o.OriginalRecipient != ""
	},
}

func parseMailParams(s string) (*smtp.MailOptions, *smtp.SMTPError) {
	opts := &smtp.MailOptions{}
	return opts, applyParams(s, mailParams, opts)
}

func parseRcptParams(s string) (*smtp.RcptOptions, *smtp.SMTPError) {
	opts := &smtp.RcptOptions{}
	return opts, applyParams(s, rcptParams, opts)
}

func applyParams[T any](s string, table map[string]func(*T, param) bool, opts *T) *smtp.SMTPError {
	params, err := parseParams(s)
	if err != nil {
		return err
	}
	for _, p := range params {
		apply, known := table[p.key]
		if !known {
			return fail(555, 5, 5, 4, "Parameter "+printable(p.key)+" is not supported")
		}
		if !apply(opts, p) {
			return fail(501, 5, 5, 4, "Bad value of parameter "+printable(p.key))
		}
	}
	return nil
}

// decodeXtext undoes xtext (RFC 3461 4). Control characters do not come out of it: they would end up in headers.
func decodeXtext(s string) (string, bool) {
	var out []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || n < ' ' || n == 0x7f {
				return "", false
			}
			out = append(out, byte(n))
			i += 2
		case c < '!' || c > '~':
			return "", false
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

// decodeUTF8Xtext undoes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 3): \x{HEX} for a character.
func decodeUTF8Xtext(s string) (string, bool) {
	var out strings.Builder
	for s != "" {
		if hex, ok := strings.CutPrefix(s, `\x{`); ok {
			digits, rest, ok := strings.Cut(hex, "}")
			n, err := strconv.ParseUint(digits, 16, 32)
			if !ok || err != nil || n < ' ' || n == 0x7f || n > 0x10ffff {
				return "", false
			}
			out.WriteRune(rune(n))
			s = rest
			continue
		}
		if s[0] < '!' || s[0] == 0x7f || s[0] == '\\' {
			return "", false
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String(), true
}

// printable makes client text safe for a reply or a log line, and short.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
