package auth

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Signature is one DKIM signature and what became of it.
type Signature struct {
	Result Result
	// Reason says why, where Result is neither pass nor none.
	Reason string
	// Domain and Selector are the tags d= and s=, Algorithm is a=; as found, possibly empty.
	Domain, Selector, Algorithm string
	// Hash is the beginning of b=, which tells signatures of one domain apart (RFC 6008).
	Hash string
}

// What is more than any honest message has, and would make verifying it slow: for each name in h= the library looks through all
// fields of the header.
const (
	maxHeader    = 256 << 10
	maxFields    = 1000
	maxSignature = 16 << 10 // octets of one field
	maxSigned    = 200      // names in h=
	// maxKey is longer than the record of a key of 4096 bits, the most that RFC 8301 3.2 asks a verifier to take.
	maxKey = 2048
)

// tooLarge is the reason of signatures that were not verified for the size of their message.
const tooLarge = "message too large to verify"

// checkDKIM verifies the signatures of msg, in the order of the header.
func (c *Checker) checkDKIM(ctx context.Context, msg []byte) []Signature {
	header, found, count := dkimHeader(msg)
	if len(found) == 0 {
		return nil
	}
	_, bodyStart := rawmime.HeaderEnd(msg)
	switch {
	case len(msg) > c.o.MaxSize:
		return all(found, PolicyResult, tooLarge)
	case bodyStart > maxHeader || count > maxFields:
		return all(found, PolicyResult, "header too large to verify")
	}
	checked := make([]int, 0, len(found)) // indices of what is left in header
	for i := range found {
		if found[i].Result == "" {
			checked = append(checked, i)
		}
	}
	verified, err := dkim.VerifyWithOptions(io.MultiReader(bytes.NewReader(header), bytes.NewReader(msg[bodyStart:])),
		&dkim.VerifyOptions{LookupTXT: c.keys(ctx), MaxVerifications: min(c.o.MaxSignatures, max(1, 2*c.o.MaxSize/len(msg)))})
	for i, v := range verified {
		if i < len(checked) {
			found[checked[i]].settle(v)
		}
	}
	for i := range found {
		if found[i].Result != "" {
			continue
		}
		found[i].Result, found[i].Reason = PolicyResult, "too many signatures"
		if err != nil && len(verified) == 0 {
			found[i].Result, found[i].Reason = Neutral, "message cannot be parsed"
		}
	}
	return found
}

// settle takes over what the library says (RFC 8601 2.7.1).
func (s *Signature) settle(v *dkim.Verification) {
	s.Domain = asciiDomain(v.Domain) // what was verified is what counts
	switch {
	case v.Err == nil:
		s.Result = PassResult
		return
	case dkim.IsTempFail(v.Err):
		s.Result = TempError
	case dkim.IsPermFail(v.Err):
		s.Result = PermError
	default:
		s.Result = Fail
	}
	s.Reason = strings.TrimPrefix(v.Err.Error(), "dkim: ")
	if s.Result == TempError {
		s.Reason = "key unavailable"
	}
}

func all(found []Signature, r Result, reason string) []Signature {
	for i := range found {
		found[i].Result, found[i].Reason = r, reason
	}
	return found
}

// keys looks a key record up. One that is too long is not a key (see maxKey): the library would do arithmetic with numbers of
// any size.
func (c *Checker) keys(ctx context.Context) func(string) ([]string, error) {
	return func(domain string) ([]string, error) {
		records, err := c.resolver.LookupTXT(ctx, domain)
		if err != nil {
			return nil, err
		}
		var keys []string
		for _, r := range records {
			if len(r) <= maxKey {
				keys = append(keys, r)
			}
		}
		return keys, nil
	}
}

// dkimHeader returns the header for the library, ended by an empty line, the signatures in it, and the number of fields.
// Signatures that are not to be verified have a Result already, and are left out of the header.
func dkimHeader(msg []byte) (header []byte, found []Signature, count int) {
	for f := range rawmime.Fields(msg) {
		count++
		if f.End > maxHeader {
			header = nil
		}
		if f.Name != nil && f.Is("DKIM-Signature") {
			if len(found) == maxFields {
				break
			}
			s := readSignature(f.Value)
			found = append(found, s)
			if s.Result != "" {
				continue
			}
		}
		if f.End <= maxHeader {
			header = append(header, crlf(msg[f.Start:f.End])...)
		}
	}
	return append(header, "\r\n"...), found, count
}

// crlf ends the lines of a field with CRLF, so that the library sees the lines that rawmime saw.
func crlf(field []byte) []byte {
	if bytes.HasSuffix(field, []byte("\r\n")) && bytes.Count(field, []byte("\n")) == bytes.Count(field, []byte("\r\n")) &&
		bytes.Count(field, []byte("\r")) == bytes.Count(field, []byte("\r\n")) {
		return field
	}
	lines := strings.FieldsFunc(string(field), func(r rune) bool { return r == '\r' || r == '\n' })
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// readSignature reads the tags that the results name (RFC 6376 3.5).
func readSignature(value []byte) Signature {
	if len(value) > maxSignature {
		return Signature{Result: PolicyResult, Reason: "signature too long"}
	}
	var s Signature
	for tag := range strings.SplitSeq(string(value), ";") {
		name, v, _ := strings.Cut(tag, "=")
		v = strings.Join(strings.Fields(v), "")
		switch strings.TrimSpace(name) {
		case "d":
			s.Domain = asciiDomain(v)
		case "s":
			s.Selector = v
		case "a":
			s.Algorithm = v
		case "b":
			s.Hash = v[:min(len(v), 8)]
		case "h":
			if strings.Count(v, ":") >= maxSigned {
				s.Result, s.Reason = PolicyResult, "too many signed fields"
			}
		}
	}
	return s
}
