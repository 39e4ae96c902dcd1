package directory

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

// cpuSeconds is the processor time of this thread, which other processes on the machine do not add to.
func cpuSeconds(tb testing.TB) float64 {
	var u syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// onOneCore runs body and reports how often it ran for each second that a processor worked for it.
func onOneCore(b *testing.B, unit string, body func(i int)) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin, i := cpuSeconds(b), 0
	for b.Loop() {
		body(i)
		i++
	}
	b.ReportMetric(float64(b.N)/(cpuSeconds(b)-begin), unit)
}

// BenchmarkFind looks random addresses up, each of which is elsewhere in memory than the last ones.
func BenchmarkFind(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	const probes = 1 << 16
	hits, misses, hot := make([]string, probes), make([]string, probes), make([]string, probes)
	for i := range hits {
		o := v.Object(mustFind(b, v, KeyProxy, fmt.Sprintf("user%07d@contoso.com", rand.IntN(n))))
		_, hit := cutPrefix(o.ProxyAddresses[rand.IntN(3)])
		hits[i] = strings.Clone(hit) // one beside the other: what a client has just sent is in the cache
		misses[i] = fmt.Sprintf("nobody%07d@contoso.com", rand.IntN(n))
		hot[i] = hits[i%100]
	}
	debug.FreeOSMemory()
	dst := make([]Ref, 0, 4)
	run := func(name string, values []string, want int) {
		b.Run(name, func(b *testing.B) {
			onOneCore(b, "lookups/cpu-s", func(i int) {
				if dst = v.Find(KeyProxy, values[i&(probes-1)], dst[:0]); len(dst) != want {
					b.Fatal(values[i&(probes-1)], dst)
				}
			})
		})
	}
	run("known", hits, 1)
	run("unknown", misses, 0)
	run("hot", hot, 1)
	b.Run("memory", func(b *testing.B) { benchMemory(b, v.Stats().Bytes) })
}

// benchMemory is what to compare with: one read after another from as much memory as the view has, each at a place that the one before tells. A lookup
// needs two such reads.
func benchMemory(b *testing.B, size int) {
	mem := newRegion(max(size, 1<<16))
	words := mem.slots()
	for i := range words {
		words[i] = slot(rand.Uint64())
	}
	at := uint64(1)
	onOneCore(b, "reads/cpu-s", func(i int) {
		hi, _ := bits.Mul64(at*0x9e3779b97f4a7c15, uint64(len(words)))
		at = uint64(words[hi]) + uint64(i)
	})
	if at == 0 {
		b.Log("at the first word")
	}
	runtime.KeepAlive(mem)
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

// BenchmarkRebuild reads the whole again when one object in ten has changed.
func BenchmarkRebuild(b *testing.B) {
	n := benchSize(b)
	v := sampleView(b, n)
	entries := make([]Entry, n)
	for i := range entries {
		if entries[i] = sampleEntry(i); i%10 == 0 {
			entries[i].DisplayName += " (changed)"
		}
	}
	for b.Loop() {
		next := mustRebuild(b, v, entries...)
		b.ReportMetric(float64(next.Stats().Bytes)/float64(n), "bytes/object")
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
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
