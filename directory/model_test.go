package directory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// books is a directory of users as plain maps.
type books struct {
	rng     *rand.Rand
	entries map[GUID]Entry
	names   map[string]int // every key that there ever was, so that what is gone is asked for too
}

// keysOf lists what an entry is found by, each with the letter of its kind in front, folded.
func keysOf(e *Entry) (keys []string) {
	add := func(kind, value string) {
		if key := kind + strings.ToLower(value); value != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, p := range e.ProxyAddresses {
		prefix, address := cutPrefix(p)
		switch strings.ToLower(prefix) {
		case "smtp:":
			add("p", address)
		case "x500:":
			add("x", address)
		}
	}
	add("m", e.Mail)
	add("l", e.LegacyExchangeDN)
	add("d", e.DN)
	add("g", e.GUID.String())
	return keys
}

// entry makes an entry with some random values, out of so few that objects share some.
func (b *books) entry(n int) Entry {
	r := b.rng
	place := []string{"OU=Users,DC=contoso,DC=com", "OU=Sales,DC=contoso,DC=com", `OU=R\, D,OU=Sales,DC=contoso,DC=com`}[r.IntN(3)]
	domain := []string{"contoso.com", "Contoso.com", "contoso.mail.onmicrosoft.com", "fabrikam.com"}[r.IntN(4)]
	e := Entry{GUID: guid(n), ObjectClass: []string{"user"}, DN: fmt.Sprintf("CN=Adele Vance %d,%s", n, place), DisplayName: strings.Repeat("Vance, Adele ", r.IntN(120))}
	for range r.IntN(5) {
		e.ProxyAddresses = append(e.ProxyAddresses, fmt.Sprintf([]string{"SMTP:adele.vance%d@%s", "smtp:a%d@%s", "smtp:ADELEV%d@%s", "X500:/o=Contoso/cn=%d %s", "smtp:åsa%d@%s", "SIP:%d@%s"}[r.IntN(6)], n+r.IntN(2), domain))
	}
	if r.IntN(2) == 0 {
		e.Mail = fmt.Sprintf("adele.vance%d@%s", n, domain)
	}
	if r.IntN(2) == 0 {
		e.LegacyExchangeDN = fmt.Sprintf("/o=Contoso/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=%d", n+r.IntN(2))
	}
	return e
}

// change makes a random set of changes, and makes them in the books too.
func (b *books) change(objects int) (d Delta) {
	for range b.rng.IntN(8) {
		g := guid(b.rng.IntN(objects))
		d.Deletes = append(d.Deletes, g)
		delete(b.entries, g)
	}
	done := map[GUID]bool{}
	for range 1 + b.rng.IntN(40) {
		e := b.entry(b.rng.IntN(objects))
		if done[e.GUID] {
			continue
		}
		done[e.GUID] = true
		if old, ok := b.entries[e.GUID]; ok && b.rng.IntN(3) > 0 {
			e.DN = old.DN // else it is renamed
		}
		d.Upserts = append(d.Upserts, e)
		b.put(e)
	}
	return d
}

func (b *books) put(e Entry) {
	b.entries[e.GUID] = e
	for _, k := range keysOf(&e) {
		b.names[k]++
	}
}

// check asks a view for everything that ever was.
func (b *books) check(t *testing.T, v *View) {
	t.Helper()
	want := map[string][]GUID{}
	for _, e := range b.entries {
		for _, k := range keysOf(&e) {
			want[k] = append(want[k], e.GUID)
		}
	}
	for k := range b.names {
		kind, value := k[0], strings.ToUpper(k[1:])
		if kind == 'd' {
			value = k[1:]
		}
		var got []GUID
		switch kind {
		case 'd':
			if r, ok := v.ByDN(value); ok {
				got = append(got, v.GUID(r))
			}
		case 'g':
			g, err := parseGUID(value)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := v.ByGUID(g); ok {
				got = append(got, v.GUID(r))
			}
		default:
			for _, r := range v.Find(map[byte]Key{'p': KeyProxy, 'm': KeyMail, 'x': KeyX500, 'l': KeyLegacyDN}[kind], value, nil) {
				got = append(got, v.GUID(r))
			}
		}
		byValue := func(a, b GUID) int { return bytes.Compare(a[:], b[:]) }
		slices.SortFunc(got, byValue)
		slices.SortFunc(want[k], byValue)
		if !slices.Equal(got, want[k]) {
			t.Fatalf("%q leads to %v, want %v", k, got, want[k])
		}
	}
	if n := v.Stats().Total(); n != len(b.entries) {
		t.Fatalf("%d objects, want %d", n, len(b.entries))
	}
}

// TestRandomChangesAgainstMaps makes random changes, restarts from snapshots, reads of the whole anew or in place of the last view, and compactions, and asks for everything that ever was in between. The
// view is large enough for most of it to be outside of Go's heap, and is changed often enough for records to be moved.
func TestRandomChangesAgainstMaps(t *testing.T) {
	const objects, rounds = 2500, 420
	b := &books{rng: rand.New(rand.NewPCG(3, 4)), entries: map[GUID]Entry{}, names: map[string]int{}}
	for i := range objects {
		b.put(b.entry(i))
	}
	v, moved := b.build(t, NewBuilder()), 0
	for round := range rounds {
		d := b.change(objects)
		next, err := v.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		if next.waste < v.waste {
			moved++
		}
		v = next
		switch round {
		case 20, 390:
			file := snapshotBytes(t, v)
			if v, _, err = readSnapshot(bytes.NewReader(file), int64(len(file))); err != nil {
				t.Fatal(err)
			}
		case 40:
			b.change(objects)
			v = b.build(t, NewBuilder())
		case 50, 200, 201, 400:
			b.change(objects)
			v = b.build(t, v.Rebuild())
		case 60, 410:
			v = v.Compact()
		}
		if round%30 == 0 {
			b.check(t, v)
		}
	}
	b.check(t, v)
	if moved == 0 {
		t.Error("no chunk was ever given back")
	}
}

// build makes a view of all that is in the books.
func (b *books) build(t *testing.T, bld *Builder) *View {
	t.Helper()
	for _, e := range b.entries {
		if err := bld.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return bld.Build()
}

// TestViewsAreGivenBack replaces a view again and again while others read it, with the collector at work: what is read must be there, and what nobody reads must go.
func TestViewsAreGivenBack(t *testing.T) {
	const objects = 12_000
	first := sampleView(t, objects)
	if first.arena.chunks[len(first.arena.chunks)-1].mem.mapped == nil {
		t.Fatal("the view is too small to be outside of Go's heap")
	}
	var current atomic.Pointer[View]
	current.Store(first)
	var wg sync.WaitGroup
	var done atomic.Bool
	for worker := range 3 {
		wg.Go(func() {
			for i := worker; !done.Load(); i += 7 {
				address := fmt.Sprintf("user%07d@contoso.com", i%objects)
				v := current.Load()
				for _, r := range v.Find(KeyProxy, address, nil) {
					if o := v.Object(r); o.Mail != address {
						t.Errorf("%s has the mail %q", address, o.Mail)
					}
				}
			}
		})
	}
	var gone atomic.Int32
	const views = 8
	for range views {
		v := current.Load().Compact()
		runtime.AddCleanup(v.arena.chunks[len(v.arena.chunks)-1].mem, func(*atomic.Int32) { gone.Add(1) }, &gone)
		current.Store(v)
		runtime.GC()
	}
	done.Store(true)
	wg.Wait()
	current.Store(nil)
	for range 1000 {
		if runtime.GC(); gone.Load() == views {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d of %d views are gone", gone.Load(), views)
}
