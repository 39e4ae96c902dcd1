package adtest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Attributes are those of an object. objectGUID, whenChanged, uSNChanged and memberOf are the store's own.
type Attributes map[string][]string

// Store is the content of the directory of a [Server]: one naming context, or more. All methods may be called while it serves.
type Store struct {
	Base string // the DN of the first naming context

	contexts []string // the roots of all, in the order in which they came

	mu      sync.Mutex
	ahead   time.Duration // of its clock
	usn     int64
	objects []*entry
	live    map[string]*entry // by DN in lower case; nil when it is to be made anew
}

// entry is an object, or what is left of one.
type entry struct {
	dn      string
	low     string // dn in lower case
	guid    [16]byte
	attrs   Attributes       // names in lower case
	changed map[string]int64 // uSNChanged of each attribute
	links   []link           // history of member
	usn     int64
	when    time.Time
	deleted bool
}

// link is a value of member that came or went.
type link struct {
	usn     int64
	dn      string
	present bool
}

// NewStore makes a naming context with its root and the container of deleted objects.
func NewStore(base string) *Store {
	s := &Store{Base: base, usn: 1000}
	s.Context(base)
	return s
}

// Context makes another naming context. It can lie below one that is there, and is no part of it.
func (s *Store) Context(root string) {
	s.Add(root, Attributes{"objectClass": {"top", "domainDNS"}})
	s.Add("CN=Deleted Objects,"+root, Attributes{"objectClass": {"top", "container"}, "isDeleted": {"TRUE"}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contexts = append(s.contexts, root)
	s.objects[len(s.objects)-1].deleted, s.live = true, nil
}

// context is the root of the naming context that a DN lies in.
func (s *Store) context(dn string) (root string) {
	for _, c := range s.contexts {
		if len(c) > len(root) && (strings.EqualFold(dn, c) || strings.HasSuffix(strings.ToLower(dn), ","+strings.ToLower(c))) {
			root = c
		}
	}
	return root
}

func (s *Store) touch(e *entry, attrs ...string) {
	s.usn++
	e.usn, e.when = s.usn, time.Now().Add(s.ahead).Truncate(time.Second)
	for _, a := range attrs {
		e.changed[strings.ToLower(a)] = s.usn
	}
}

// Advance puts the clock on: whenChanged counts seconds.
func (s *Store) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Add makes an object. It panics if there is one with this DN: a mistake of the test.
func (s *Store) Add(dn string, attrs Attributes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(dn) != nil {
		panic("there is one already: " + dn)
	}
	e := &entry{dn: dn, attrs: Attributes{}, changed: map[string]int64{}}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", dn, s.usn))
	copy(e.guid[:], sum[:])
	names := []string{"name", "parentguid"}
	for n, v := range attrs {
		if n = strings.ToLower(n); n == "member" {
			continue
		}
		e.attrs[n] = slices.Clone(v)
		names = append(names, n)
	}
	s.touch(e, names...)
	for _, m := range attrs["member"] {
		e.links = append(e.links, link{s.usn, m, true})
	}
	e.low = strings.ToLower(dn)
	s.objects = append(s.objects, e)
	s.live[e.low] = e
}

// find gives the live object with a DN.
func (s *Store) find(dn string) *entry {
	if s.live == nil {
		s.live = make(map[string]*entry, len(s.objects))
		for _, e := range s.objects {
			if e.low = strings.ToLower(e.dn); !e.deleted {
				s.live[e.low] = e
			}
		}
	}
	return s.live[strings.ToLower(dn)]
}

func (s *Store) must(dn string) *entry {
	e := s.find(dn)
	if e == nil {
		panic("there is no such object: " + dn)
	}
	return e
}

// Set replaces the values of an attribute; none clears it.
func (s *Store) Set(dn, attr string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.must(dn)
	if len(values) == 0 {
		delete(e.attrs, strings.ToLower(attr))
	} else {
		e.attrs[strings.ToLower(attr)] = values
	}
	s.touch(e, attr)
}

// Member adds a member to a group, or takes it out.
func (s *Store) Member(group, dn string, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.must(group)
	s.touch(e, "member")
	e.links = append(e.links, link{s.usn, dn, present})
}

// Rename gives an object, and what lies below it, another DN. Only the object itself counts as changed.
func (s *Store) Rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(s.must(from), "name", "parentguid")
	renamed := func(dn string) string {
		switch {
		case strings.EqualFold(dn, from):
			return to
		case strings.HasSuffix(strings.ToLower(dn), ","+strings.ToLower(from)):
			return dn[:len(dn)-len(from)] + to
		}
		return dn
	}
	s.live = nil
	for _, e := range s.objects {
		if !e.deleted {
			e.dn = renamed(e.dn)
			e.low = strings.ToLower(e.dn)
		}
		for i := range e.links {
			e.links[i].dn = renamed(e.links[i].dn)
		}
	}
}

// Delete makes a tombstone of an object. Groups lose it without counting as changed.
func (s *Store) Delete(dn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.must(dn)
	old := e.dn
	e.deleted = true
	e.dn = fmt.Sprintf("%s\\0ADEL:%x,CN=Deleted Objects,%s", strings.SplitN(old, ",", 2)[0], e.guid, s.context(old))
	e.low, s.live = strings.ToLower(e.dn), nil
	e.attrs = Attributes{"objectclass": e.attrs["objectclass"], "isdeleted": {"TRUE"}}
	e.links = nil
	s.touch(e, "isdeleted", "name")
	for _, o := range s.objects {
		o.links = slices.DeleteFunc(o.links, func(l link) bool { return strings.EqualFold(l.dn, old) })
	}
}

// USN is highestCommittedUSN.
func (s *Store) USN() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usn
}

// Copy is the store as it is now, for a domain controller that was restored to it.
func (s *Store) Copy() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Store{Base: s.Base, contexts: slices.Clone(s.contexts), usn: s.usn}
	for _, e := range s.objects {
		o := *e
		o.attrs, o.changed, o.links = maps.Clone(e.attrs), maps.Clone(e.changed), slices.Clone(e.links)
		c.objects = append(c.objects, &o)
	}
	return c
}

// members are the values of member.
func (e *entry) members() (dns []string) {
	last := map[string]bool{}
	for _, l := range e.links {
		last[strings.ToLower(l.dn)] = l.present
	}
	for _, l := range e.links {
		if k := strings.ToLower(l.dn); last[k] {
			dns = append(dns, l.dn)
			delete(last, k)
		}
	}
	return dns
}

// linkChanges gives the values of member that came and went since a number. Of each value only how it is now is known.
func (e *entry) linkChanges(since int64) (added, removed []string) {
	told := map[string]bool{}
	for _, l := range slices.Backward(e.links) {
		k := strings.ToLower(l.dn)
		switch {
		case l.usn <= since || told[k]:
		case l.present:
			added = append(added, l.dn)
		default:
			removed = append(removed, l.dn)
		}
		told[k] = true
	}
	return added, removed
}

// values gives the values of an attribute, in lower case.
func (s *Store) values(e *entry, name string) []string {
	switch name {
	case "objectguid":
		return []string{string(e.guid[:])}
	case "whenchanged":
		return []string{e.when.UTC().Format("20060102150405.0Z")}
	case "usnchanged":
		return []string{fmt.Sprint(e.usn)}
	case "member":
		return e.members()
	case "memberof":
		var groups []string
		for _, g := range s.objects {
			if len(g.links) > 0 && slices.ContainsFunc(g.members(), func(m string) bool { return strings.EqualFold(m, e.dn) }) {
				groups = append(groups, g.dn)
			}
		}
		return groups
	}
	return e.attrs[name]
}

// Find tells whether there is an object, or the tombstone of one, that has this DN or had it.
func (s *Store) Find(dn string) (deleted, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rdn := strings.SplitN(dn, ",", 2)[0]
	for _, e := range s.objects {
		if strings.EqualFold(e.dn, dn) || e.deleted && strings.HasPrefix(e.dn, rdn+`\0ADEL:`) {
			return e.deleted, true
		}
	}
	return false, false
}
