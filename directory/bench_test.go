package directory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// benchSize is how many objects the benchmarks of whole views have: COEXIST_BENCH_OBJECTS, by default few enough for every day.
func benchSize(tb testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("COEXIST_BENCH_OBJECTS"))
	if err != nil {
		n = 20_000
	}
	return n
}

// sampleEntry makes the i-th object of a large directory: three addresses, one of them in the routing domain, and, with Exchange's attributes, a legacyExchangeDN.
func sampleEntry(i int) Entry {
	user := fmt.Sprintf("user%07d", i)
	var g GUID
	r := rand.New(rand.NewPCG(uint64(i), 1))
	for j := range g {
		g[j] = byte(r.Uint32())
	}
	e := Entry{
		DN:          fmt.Sprintf("CN=Adele Vance %07d,OU=Department %d,OU=Site %d,DC=contoso,DC=com", i, i%40, i%25),
		GUID:        g,
		ObjectClass: []string{"top", "person", "organizationalPerson", "user"},
		DisplayName: fmt.Sprintf("Vance, Adele %07d", i),
		Mail:        user + "@contoso.com", UserPrincipalName: user + "@contoso.com",
		ProxyAddresses:      []string{"SMTP:" + user + "@contoso.com", "smtp:adele.vance." + strconv.Itoa(i) + "@contoso.com", "smtp:" + user + "@contoso.mail.onmicrosoft.com"},
		TargetAddress:       "SMTP:" + user + "@contoso.mail.onmicrosoft.com",
		LegacyExchangeDN:    "/o=Contoso/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=" + g.String()[:8] + user,
		RemoteRecipientType: Int{1, true}, RecipientTypeDetails: Int{2147483648, true}, RecipientDisplayType: Int{-2147483642, true}, AccountControl: Int{512, true},
	}
	e.Changed, _ = parseTime("20260131093000.0Z")
	return e
}

func sampleView(tb testing.TB, n int) *View {
	tb.Helper()
	b := NewBuilder()
	for i := range n {
		if err := b.Add(sampleEntry(i)); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Build()
}

func BenchmarkBuild(b *testing.B) {
	n := benchSize(b)
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = sampleEntry(i)
	}
	for b.Loop() {
		bld := NewBuilder()
		for i := range entries {
			if err := bld.Add(entries[i]); err != nil {
				b.Fatal(err)
			}
		}
		v := bld.Build()
		b.ReportMetric(float64(v.Stats().Bytes)/float64(n), "bytes/object")
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}

func BenchmarkFind(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	const probes = 1 << 16
	hits, misses := make([]string, probes), make([]string, probes)
	for i := range hits {
		o := v.Object(mustFind(b, v, KeyProxy, fmt.Sprintf("user%07d@contoso.com", rand.IntN(n))))
		_, hits[i] = cutPrefix(o.ProxyAddresses[rand.IntN(3)])
		misses[i] = fmt.Sprintf("nobody%07d@contoso.com", rand.IntN(n))
	}
	run := func(name string, key Key, values []string, want int) {
		b.Run(name, func(b *testing.B) {
			dst := make([]Ref, 0, 4)
			i := 0
			for b.Loop() {
				if dst = v.Find(key, values[i&(probes-1)], dst[:0]); len(dst) != want {
					b.Fatal(values[i&(probes-1)], dst)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
		})
	}
	run("known", KeyProxy, hits, 1)
	run("unknown", KeyProxy, misses, 0)
}

func BenchmarkObject(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	var refs []Ref
	for r := range v.All() {
		refs = append(refs, r)
	}
	rand.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if o := v.Object(refs[i%len(refs)]); o.Mail == "" {
			b.Fatal(o)
		}
		i++
	}
}

func mustFind(tb testing.TB, v *View, key Key, value string) Ref {
	tb.Helper()
	refs := v.Find(key, value, nil)
	if len(refs) != 1 {
		tb.Fatalf("Find(%v, %q) = %v, want one", key, value, refs)
	}
	return refs[0]
}

func BenchmarkApply(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e := sampleEntry(i % n)
		e.TargetAddress = fmt.Sprintf("smtp:moved%d@contoso.com", i)
		e.ProxyAddresses = append(e.ProxyAddresses, e.TargetAddress)
		next, err := v.Apply(Delta{Upserts: []Entry{e}})
		if err != nil {
			b.Fatal(err)
		}
		v = next
		i++
	}
}

func BenchmarkSnapshot(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	path := b.TempDir() + "/view"
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if err := NewSnapshotFile(path).Save(v, Meta{}); err != nil {
				b.Fatal(err)
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/float64(n), "bytes/object")
	})
	v = nil
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			got, _, err := NewSnapshotFile(path).Load()
			if err != nil {
				b.Fatal(err)
			}
			if got.Stats().Total() != n {
				b.Fatal(got.Stats())
			}
			b.ReportMetric(float64(got.Stats().Bytes)/float64(n), "bytes/object")
		}
	})
}
