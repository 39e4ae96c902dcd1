package auth

import (
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// maxAuthors is how many domains a From field may have authors in. Honest mail has one.
const maxAuthors = 5

const tooMany = "too many addresses in From"

// author is what DMARC needs of the From fields.
type author struct {
	domains []string // each once, in A-label form, at most maxAuthors
	bad     string   // why the fields cannot be used as a whole; "" when they can
}

// authors reads the domains of the From fields (RFC 5322 3.6.2). Several fields, which that forbids, count together: a reader may
// show either (RFC 9989 11.5).
func authors(msg []byte) author {
	var a author
	fields := 0
	for f := range rawmime.Fields(msg) {
		if f.Name == nil || !f.Is("From") {
			continue
		}
		if fields++; fields > maxAuthors || len(f.Value) > 64<<10 {
			a.bad = tooMany
			break
		}
		for _, address := range mailboxes(string(rawmime.Unfold(f.Value))) {
			a.add(address)
		}
	}
	switch {
	case fields == 0:
		a.bad = "no From field"
	case len(a.domains) == 0 && a.bad == "":
		a.bad = "no address in From"
	}
	return a
}

func (a *author) add(address string) {
	_, domain := splitAddress(address)
	domain = asciiDomain(domain)
	switch {
	case domain == "" || slices.Contains(a.domains, domain):
	case len(a.domains) == maxAuthors:
		a.bad = tooMany
	default:
		a.domains = append(a.domains, domain)
	}
}

// mailboxes returns the addresses of an address list (RFC 5322 3.4) as a mail reader would take them: what is in angle brackets,
// or else the words with an @. Display names, comments and the names of groups are left out; what is malformed gives what can be
// read.
func mailboxes(list string) []string {
	var found, words []string
	var word, angle strings.Builder
	var hasAngle bool
	endWord := func() {
		if strings.Contains(word.String(), "@") {
			words = append(words, word.String())
		}
		word.Reset()
	}
	endMailbox := func() {
		endWord()
		if hasAngle {
			words = []string{angle.String()}
		}
		found = append(found, words...)
		words, hasAngle = nil, false
		angle.Reset()
	}
	in := &word
	unclosed := 0 // searches for an end that there is not: each may have gone through the whole list
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case (c == '"' || c == '(') && unclosed < maxUnclosed:
			end := enclosed(list, i)
			if end == i+1 {
				unclosed++
			}
			if c == '"' {
				in.WriteString(list[i:end])
			}
			i = end - 1
		case c == '<':
			endWord()
			in, hasAngle = &angle, true
			angle.Reset()
		case c == '>' && in == &angle:
			in = &word
		case in == &angle:
			if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
				in.WriteByte(c)
			}
		case c == ',' || c == ';':
			endMailbox()
		case c == ':': // what was before is the name of a group
			word.Reset()
			words = nil
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			endWord()
		default:
			in.WriteByte(c)
		}
	}
	endMailbox()
	return found
}

// maxUnclosed keeps mailboxes linear in the length of the list.
const maxUnclosed = 16

// enclosed returns the offset behind the quoted string (RFC 5322 3.2.4) or comment (3.2.2) that starts at i. Without an end it is
// only its first octet.
func enclosed(s string, i int) int {
	depth := 1
	for j := i + 1; j < len(s); j++ {
		switch c := s[j]; {
		case c == '\\':
			j++
		case c == '"' && s[i] == '"':
			return j + 1
		case c == '(' && s[i] == '(':
			depth++
		case c == ')' && s[i] == '(':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return i + 1
}
