package directory

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	gocmp "github.com/google/go-cmp/cmp"
)

// shown is everything that a view says of an object, without what differs from view to view.
type shown struct {
	Object
	Members []string // DNs
	Missing []string
}

// show gives all objects of a view in the order of their DNs, and checks on the way that each is found by all its keys.
func show(tb testing.TB, v *View) []shown {
	tb.Helper()
	var all []shown
	for r := range v.All() {
		o := v.Object(r)
		checkKeys(tb, v, o)
		s := shown{Object: o, Missing: v.MissingMembers(r)}
		for _, m := range v.Members(r, nil) {
			s.Members = append(s.Members, v.Object(m).DN)
		}
		s.Ref = 0
		slices.Sort(s.Members)
		slices.Sort(s.Missing)
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b shown) int {
		return cmp.Or(strings.Compare(a.DN, b.DN), strings.Compare(a.GUID.String(), b.GUID.String()))
	})
	return all
}

func checkKeys(tb testing.TB, v *View, o Object) {
	tb.Helper()
	if r, ok := v.ByGUID(o.GUID); !ok || r != o.Ref {
		tb.Errorf("%s is not found by its GUID %v", o.DN, o.GUID)
	}
	want := func(key Key, value string) {
		if value != "" && !slices.Contains(v.Find(key, strings.ToUpper(value), nil), o.Ref) {
			tb.Errorf("%s is not found by key %d, %q", o.DN, key, value)
		}
	}
	for _, p := range o.ProxyAddresses {
		prefix, address := cutPrefix(p)
		switch strings.ToLower(prefix) {
		case "smtp:":
			want(KeyProxy, address)
		case "x500:":
			want(KeyX500, address)
		case "notes:":
			want(KeyNotes, address)
		}
	}
	want(KeyMail, o.Mail)
	want(KeyLegacyDN, o.LegacyExchangeDN)
}

// diffViews tells in what two views differ; empty when they are equal.
func diffViews(tb testing.TB, want, got *View) string {
	tb.Helper()
	ws, gs := want.Stats(), got.Stats()
	if d := gocmp.Diff(ws, gs, cmpopts.IgnoreFields(Stats{}, "Bytes", "Skipped")); d != "" {
		return "stats: " + d
	}
	return gocmp.Diff(show(tb, want), show(tb, got), cmpopts.EquateEmpty())
}

func mustBuild(tb testing.TB, entries ...Entry) *View {
	tb.Helper()
	b := NewBuilder()
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Build()
}

func mustLDIF(tb testing.TB, text string) *View {
	tb.Helper()
	v, err := ReadLDIF(strings.NewReader(text), "test.ldif")
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// dnsOf gives the DNs of objects, sorted.
func dnsOf(v *View, refs []Ref) []string {
	dns := []string{}
	for _, r := range refs {
		dns = append(dns, v.Object(r).DN)
	}
	slices.Sort(dns)
	return dns
}

func user(name string, proxies ...string) Entry {
	return Entry{DN: "CN=" + name + ",OU=Users,DC=contoso,DC=com", ObjectClass: []string{"top", "user"}, ProxyAddresses: proxies}
}

func group(name string, members ...string) Entry {
	for i, m := range members {
		if !strings.Contains(m, "=") {
			members[i] = "CN=" + m + ",OU=Users,DC=contoso,DC=com"
		}
	}
	return Entry{DN: "CN=" + name + ",OU=Groups,DC=contoso,DC=com", ObjectClass: []string{"top", "group"}, Members: members,
		Mail: strings.ToLower(strings.ReplaceAll(name, " ", "")) + "@contoso.com"}
}

// guid makes a GUID of a number.
func guid(n int) (g GUID) {
	g[0], g[1], g[2], g[15] = byte(n), byte(n>>8), byte(n>>16), 1
	return g
}
