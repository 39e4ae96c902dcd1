package routing

import (
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// maxTags is how many plus signs of a local part may start a tag. There is one; the limit is for the hostile.
const maxTags = 8

// found is what an address led to.
type found struct {
	owners  []directory.Ref // nobody, the owner, or the owners of an ambiguous address
	asked   mailbox
	base    mailbox // asked without its tag
	tag     string  // without the plus sign; empty for none
	attr    string  // attribute that matched, with the prefix of the value
	value   string  // value that matched
	capsule *capsule
}

// find looks an address up, stage by stage: the first stage that knows it is the answer, were it an ambiguous one.
func find(view *directory.View, asked mailbox) found {
	f := found{asked: asked, base: asked}
	if f.exact(view, asked) {
		return f
	}
	// The longest name first: john+smith+news is a tag of john+smith@ if there is one, and else of john@.
	plus := len(asked.local)
	for range maxTags {
		if plus = strings.LastIndexByte(asked.local[:plus], '+'); plus <= 0 {
			break
		}
		if base := asked.withLocal(asked.local[:plus]); f.exact(view, base) {
			f.base, f.tag = base, asked.local[plus+1:]
			return f
		}
	}
	f.value, f.capsule = decapsulate(asked.local)
	if f.capsule != nil {
		for _, k := range f.capsule.keys {
			if f.owners = view.Find(k.key, f.value, nil); len(f.owners) > 0 {
				f.attr = k.name
				break
			}
		}
	}
	return f
}

// exact looks for the owner of precisely this address: in proxyAddresses, then in mail.
func (f *found) exact(view *directory.View, m mailbox) bool {
	var buf [4]string
	keys := m.keys(buf[:0])
	for _, k := range [...]attribute{{directory.KeyProxy, "proxyAddresses smtp:"}, {directory.KeyMail, "mail "}} {
		if f.owners = findAny(view, k.key, keys); len(f.owners) > 0 {
			f.attr, f.value = k.name, m.wire
			return true
		}
	}
	return false
}

// findAny gives the owners of any of the values, each once.
func findAny(view *directory.View, key directory.Key, values []string) (owners []directory.Ref) {
	for _, v := range values {
		owners = view.Find(key, v, owners)
	}
	if len(values) > 1 && len(owners) > 1 {
		slices.Sort(owners)
		owners = slices.Compact(owners)
	}
	return owners
}

// matched is Decision.Matched.
func (f *found) matched() string {
	s := f.attr + f.value
	switch {
	case f.tag != "" || f.base.wire != f.asked.wire:
		s += ", without +" + f.tag
	case f.capsule != nil:
		s += ", decoded from the encapsulated address"
	}
	return s
}

// advice says what an admin can do about an address that nobody owns.
func (f *found) advice() string {
	const nobody = "no proxyAddresses or mail value in the directory matches"
	switch {
	case f.capsule == nil:
		return nobody
	case f.capsule.keys[0].key == directory.KeyLegacyDN:
		// The well-known reply to an old message: the object was made anew and lost its legacyExchangeDN.
		return nobody + "; if its owner has another legacyExchangeDN now, add this to the owner's proxyAddresses: X500:" + f.value
	default:
		return nobody + "; it stands for " + f.value
	}
}

// primary is the address that an object is known by: the SMTP: proxy, else its first smtp: proxy, else mail; only those that the
// filter accepts. ok is false when there is none.
func primary(o *directory.Object, accept func(mailbox) bool) (m mailbox, ok bool) {
	for _, a := range ownAddresses(o) {
		if m, err := parseMailbox(a); err == nil && accept(m) {
			return m, true
		}
	}
	return mailbox{}, false
}

// ownAddresses lists an object's addresses, the primary one first, as they stand in the directory without their prefixes.
func ownAddresses(o *directory.Object) []string {
	list := make([]string, 0, len(o.ProxyAddresses)+1)
	for _, p := range o.ProxyAddresses {
		prefix, value := splitPrefix(p)
		switch {
		case prefix == "SMTP": // upper case marks the primary address of a type
			list = slices.Insert(list, 0, value)
		case strings.EqualFold(prefix, "smtp"):
			list = append(list, value)
		}
	}
	if o.Mail != "" {
		list = append(list, o.Mail)
	}
	return list
}

// splitPrefix takes the type from a proxyAddresses or targetAddress value: letters, digits or hyphens before a colon that
// comes before everything else that an address may hold.
func splitPrefix(s string) (prefix, value string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ':' && i > 0:
			return s[:i], s[i+1:]
		case !isAlnum(c) && c != '-':
			return "", s
		}
	}
	return "", s
}
