package routing

import (
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// Keys gives what a router may look up in a view to find out whose an address is, for a source that has no view of everything. An address that is none has no keys.
func Keys(address string) (terms []directory.Term) {
	asked, err := parseMailbox(address)
	if err != nil {
		return nil
	}
	exact := func(m mailbox) {
		for _, v := range m.keys(nil) {
			terms = append(terms, directory.Term{Key: directory.KeyProxy, Value: v}, directory.Term{Key: directory.KeyMail, Value: v})
		}
	}
	exact(asked)
	plus := len(asked.local)
	for range maxTags {
		if plus = strings.LastIndexByte(asked.local[:plus], '+'); plus <= 0 {
			break
		}
		exact(asked.withLocal(asked.local[:plus]))
	}
	if value, c := decapsulate(asked.local); c != nil {
		for _, k := range c.keys {
			terms = append(terms, directory.Term{Key: k.key, Value: value})
		}
	}
	return terms
}
