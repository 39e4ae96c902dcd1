package spool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPut measures durable messages, from one client at a time and from many.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct{ size, clients int }{{4 << 10, 1}, {4 << 10, 20}, {10 << 10, 64}, {100 << 10, 20}} {
		b.Run(fmt.Sprintf("%dKB-%dclients", c.size>>10, c.clients), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			body := octets(1, c.size)
			b.SetBytes(int64(c.size))
			parallel(b, c.clients, func(int64) { put(b, s, newItem(NewID(time.Now()), 0), body) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkLife measures a message's whole time in the store: put, claimed, body read, removed.
func BenchmarkLife(b *testing.B) {
	for _, clients := range []int{1, 20, 64} {
		b.Run(fmt.Sprintf("4KB-%dclients", clients), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			body := octets(1, 4<<10)
			parallel(b, clients, func(int64) {
				id := NewID(time.Now())
				put(b, s, newItem(id, 0), body)
				it, err := s.Claim(bg, id, "bench")
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := s.Open(bg, id); err != nil {
					b.Error(err)
				}
				if err := s.Remove(bg, it); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkOpen measures a start with 100,000 queued messages of 4 KB, scheduler included, and the memory that the process then has
// resident. A process of its own does it, after a clean stop and after kill -9.
func BenchmarkOpen(b *testing.B) {
	const queued = 100_000
	for _, stop := range []string{"clean", "killed"} {
		b.Run(stop, func(b *testing.B) {
			dir := b.TempDir()
			fillForBench(b, dir, queued, stop == "clean")
			b.ResetTimer()
			for range b.N {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "SPOOL_TEST_STARTER="+dir)
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				f := strings.Fields(string(out))
				if len(f) != 4 || f[0] != strconv.Itoa(queued) {
					b.Fatalf("%s", out)
				}
				for i, unit := range []string{"ms/start", "MB-resident", "MB-peak"} {
					v, err := strconv.ParseFloat(f[i+1], 64)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(v, unit)
				}
			}
		})
	}
}

func fillForBench(b *testing.B, dir string, n int64, clean bool) {
	b.Helper()
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	body := octets(1, 4<<10)
	ahead := time.Now().Add(time.Hour)
	spread(200, n, func(int64) {
		it := newItem(NewID(time.Now()), 0)
		it.NextAttempt = ahead
		put(b, s, it, body)
	})
	if !clean { // as the files are now, a killed process would leave them
		killed := filepath.Join(dir, "copy")
		if out, err := exec.Command("sh", "-c", `mkdir "$1" && cp "$0"/queue.db "$1" && rm "$0"/queue.db`, dir, killed).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		defer func() {
			if err := os.Rename(filepath.Join(killed, "queue.db"), filepath.Join(dir, "queue.db")); err != nil {
				b.Fatal(err)
			}
		}()
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// starter is a process that opens the spool, reports, and ends without touching it.
func starter(dir string) {
	start := time.Now()
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	sched, err := NewScheduler(bg, SchedulerOptions{Store: s, Run: nop})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	sched.Start()
	took := time.Since(start)
	fmt.Println(sched.Queued(), took.Milliseconds(), status("VmRSS"), status("VmHWM"))
	os.Exit(0)
}

// status reads a number of MB from /proc/self/status.
func status(field string) int {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), field+":")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kb >> 10
}

// parallel runs f b.N times from a number of goroutines.
func parallel(b *testing.B, clients int, f func(int64)) {
	b.ResetTimer()
	spread(clients, int64(b.N), f)
	b.StopTimer()
}

func spread(clients int, n int64, f func(int64)) {
	var next atomic.Int64
	done := make(chan struct{})
	for range clients {
		go func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				f(i)
			}
			done <- struct{}{}
		}()
	}
	for range clients {
		<-done
	}
}

// BenchmarkScheduler measures deliveries of a backlog that take no time: what the scheduler and the store cost.
func BenchmarkScheduler(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	body := octets(1, 4<<10)
	spread(200, int64(b.N), func(int64) { put(b, s, newItem(NewID(time.Now()), 0), body) })
	left := make(chan struct{}, b.N)
	sched, err := NewScheduler(bg, SchedulerOptions{Store: s, MaxConcurrent: 100, Run: func(_ context.Context, it *Item) Outcome {
		if _, err := s.Open(bg, it.ID); err != nil {
			b.Error(err)
		}
		left <- struct{}{}
		return Outcome{Action: Done}
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	sched.Start()
	for range b.N {
		<-left
	}
	if err := sched.Drain(bg, 0); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if n := s.Stats().Messages; n != 0 {
		b.Errorf("%d messages left", n)
	}
}

func nop(context.Context, *Item) Outcome { return Outcome{} }
