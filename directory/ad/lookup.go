package ad

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// filter finds the owners of a value. Active Directory compares without regard to case.
func filter(t directory.Term) string {
	v := ldap.EscapeFilter(t.Value)
	switch t.Key {
	case directory.KeyProxy:
		return "(proxyAddresses=smtp:" + v + ")"
	case directory.KeyMail:
		return "(mail=" + v + ")"
	case directory.KeyLegacyDN:
		return "(legacyExchangeDN=" + v + ")"
	case directory.KeyX500:
		return "(proxyAddresses=X500:" + v + ")"
	case directory.KeyNotes:
		return "(proxyAddresses=NOTES:" + v + ")"
	}
	return ""
}

// termsPerSearch keeps filters small.
const termsPerSearch = 40

// maxLookup bounds what one lookup may bring in through groups.
const maxLookup = 100_000

// Lookup looks just these values up, and makes a view of the objects that it finds: their owners, the members of groups, and whoever else owns an address of one of them. It is for questions
// without a view of everything.
func Lookup(ctx context.Context, c Config, terms []directory.Term) (*directory.View, error) {
	c.defaults()
	var errs []error
	for _, url := range c.URLs {
		l, err := dial(ctx, &c, url)
		if err == nil {
			var v *directory.View
			if v, err = l.lookup(ctx, c.BaseDNs, terms); err == nil {
				return v, nil
			}
			err = fmt.Errorf("%s: %w", url, err)
		}
		errs = append(errs, err)
		if errors.Is(err, errCredentials) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// finder collects objects.
type finder struct {
	l     *link
	bases []string
	asked map[directory.Term]bool
	found map[directory.GUID]directory.Entry
	fresh []directory.Entry // found in the last round
}

func (l *link) lookup(ctx context.Context, bases []string, terms []directory.Term) (*directory.View, error) {
	defer l.close()
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	for _, base := range bases {
		if _, err := l.object(base, "objectClass"); err != nil {
			return nil, fmt.Errorf("reading base_dn %q: %w", base, explainBase(err))
		}
	}
	f := &finder{l: l, bases: bases, asked: map[directory.Term]bool{}, found: map[directory.GUID]directory.Entry{}}
	for len(terms) > 0 || len(f.fresh) > 0 {
		if len(f.found) > maxLookup {
			return nil, fmt.Errorf("more than %d objects belong to what was looked up", maxLookup)
		}
		round := f.fresh
		f.fresh = nil
		if err := f.owners(terms); err != nil {
			return nil, err
		}
		terms = nil
		for i := range round {
			if err := f.members(&round[i]); err != nil {
				return nil, err
			}
			terms = append(terms, addresses(&round[i])...)
		}
	}
	b := directory.NewBuilder()
	for _, e := range f.found {
		if err := b.Add(e); err != nil {
			return nil, err
		}
	}
	return b.Build(), nil
}

// owners finds the owners of values that were not asked for yet.
func (f *finder) owners(terms []directory.Term) error {
	terms = slices.DeleteFunc(terms, func(t directory.Term) bool {
		known := f.asked[t] || t.Value == ""
		f.asked[t] = true
		return known
	})
	for some := range slices.Chunk(terms, termsPerSearch) {
		any := ""
		for _, t := range some {
			any += filter(t)
		}
		if err := f.search("(|" + any + ")"); err != nil {
			return err
		}
	}
	return nil
}

// members finds the members of a group, from their side.
func (f *finder) members(e *directory.Entry) error {
	if kind, _ := directory.KindOf(e); kind != directory.Group {
		return nil
	}
	return f.search("(memberOf=" + ldap.EscapeFilter(e.DN) + ")")
}

func (f *finder) search(which string) error {
	for _, base := range f.bases {
		if err := f.l.pages(base, "(&"+which+noComputers+")", attributes, nil, f.take); err != nil {
			return err
		}
	}
	return nil
}

// take notes objects that were not found yet, with their members.
func (f *finder) take(entries []*ldap.Entry) error {
	for _, raw := range entries {
		e := decode(raw, func(directory.Warning) {})
		kind, keep := directory.KindOf(&e)
		if _, known := f.found[e.GUID]; known || !keep {
			continue
		}
		if kind == directory.Group {
			var err error
			if e.Members, err = f.l.members(e.DN); err != nil {
				return err
			}
		}
		f.found[e.GUID] = e
		f.fresh = append(f.fresh, e)
	}
	return nil
}

// addresses are the values that others may own too.
func addresses(e *directory.Entry) (terms []directory.Term) {
	add := func(address string) {
		if address != "" {
			terms = append(terms, directory.Term{Key: directory.KeyProxy, Value: address}, directory.Term{Key: directory.KeyMail, Value: address})
		}
	}
	for _, p := range append(slices.Clone(e.ProxyAddresses), e.TargetAddress) {
		if prefix, address, ok := strings.Cut(p, ":"); ok && strings.EqualFold(prefix, "smtp") {
			add(address)
		}
	}
	add(e.Mail)
	return terms
}
