package spool

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the process that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_VICTIM"); dir != "" {
		victim(dir)
	}
	if dir := os.Getenv("SPOOL_TEST_STARTER"); dir != "" {
		starter(dir)
	}
	os.Exit(m.Run())
}

// victim works on the spool until it is killed, and writes a line after each acknowledged step: P put, U attempts recorded,
// r removal begun, R removed.
func victim(dir string) {
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		fmt.Println("E", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...) // unbuffered: one write(2) a line
	}
	for w := range 8 {
		go func() {
			var last []*Item
			for n := 0; ; n++ {
				size := 200 + n%7*900
				if n%5 == 0 {
					size = 70<<10 + n
				}
				it := newItem(NewID(time.Now()), int64(size))
				if err := s.Put(bg, it, Segments{octets(uint64(n*8+w), size)}); err != nil {
					say("E put: %v", err)
					return
				}
				say("P %s %d", it.ID, size)
				if last = append(last, it); len(last) < 4 {
					continue
				}
				old := last[0]
				last = last[1:]
				old.Attempts++
				if err := s.Update(bg, old); err != nil {
					say("E update: %v", err)
				}
				say("U %s %d", old.ID, old.Attempts)
				if n%3 != 0 {
					say("r %s", old.ID)
					if err := s.Remove(bg, old); err != nil {
						say("E remove: %v", err)
					}
					say("R %s", old.ID)
				}
			}
		}()
	}
	select {}
}

// fate is what the parent knows of a message.
type fate struct {
	size              int
	attempts          int
	removing, removed bool
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	known := map[string]*fate{}
	for round := range 6 {
		killOnce(t, dir, time.Duration(150+round*40)*time.Millisecond, known)
		checkFates(t, dir, known)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if len(known) < 100 {
		t.Errorf("only %d messages were acknowledged: this says little", len(known))
	}
	t.Logf("%d messages acknowledged over 6 kills", len(known))
}

func killOnce(t *testing.T, dir string, after time.Duration, known map[string]*fate) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPOOL_TEST_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	started := false
	for lines.Scan() {
		if !started {
			started = true
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		note(t, lines.Text(), known)
	}
	err = cmd.Wait()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("the victim was not killed: %v", err)
	}
}

func note(t *testing.T, line string, known map[string]*fate) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) < 2 || f[0] == "E" {
		t.Errorf("victim: %s", line)
		return
	}
	n := 0
	if len(f) > 2 {
		fmt.Sscan(f[2], &n)
	}
	k := known[f[1]]
	if k == nil {
		k = &fate{}
		known[f[1]] = k
	}
	switch f[0] {
	case "P":
		k.size = n
	case "U":
		k.attempts = n
	case "r":
		k.removing = true
	case "R":
		k.removed = true
	}
}

// checkFates opens the spool as the next start would, and compares it with what was acknowledged.
func checkFates(t *testing.T, dir string, known map[string]*fate) {
	t.Helper()
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if d := s.Report().Damaged; len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
	found := map[string]bool{}
	for _, id := range ids(t, s, Filter{}) {
		found[id] = true
		b, err := s.Open(bg, id)
		if err != nil {
			t.Error(err)
			continue
		}
		if !whole(b.Bytes()) {
			t.Errorf("%s is not whole", id)
		}
		b.Close()
	}
	for id, k := range known {
		switch {
		case k.removed && found[id]:
			t.Errorf("%s was removed, and is back", id)
		case k.size > 0 && !k.removing && !found[id]:
			t.Errorf("%s was acknowledged, and is lost", id)
		case !found[id]:
			continue
		}
		it, err := s.Get(bg, id)
		if err != nil {
			t.Error(err)
			continue
		}
		if it.Size != int64(k.size) && k.size > 0 || it.Attempts < k.attempts {
			t.Errorf("%s: size %d, attempts %d; acknowledged were %d and %d", id, it.Size, it.Attempts, k.size, k.attempts)
		}
	}
}

// TestFullDisk fills a real, tiny file system, with no space kept back: what was acknowledged stays, deliveries can be
// recorded, and with room the store takes mail again.
func TestFullDisk(t *testing.T) {
	for _, size := range []int{4 << 10, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { fullDisk(t, size) })
	}
}

func fullDisk(t *testing.T, size int) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(dir, Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	acked := map[string][]byte{}
	var mu sync.Mutex
	fillUp := func(from string) (full int) {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for n := range 4000 {
					id := fmt.Sprintf("%s%d-%d", from, w, n)
					body := octets(uint64(n), size)
					err := s.Put(bg, newItem(id, int64(size)), Segments{body})
					mu.Lock()
					if err != nil {
						full++
						mu.Unlock()
						if !errors.Is(err, ErrFull) {
							t.Errorf("put on a full disk: %v", err)
						}
						return
					}
					acked[id] = body
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return full
	}
	verify := func() {
		t.Helper()
		got := ids(t, s, Filter{})
		if len(got) != len(acked) {
			t.Errorf("%d messages in the store, %d acknowledged", len(got), len(acked))
		}
		for id, body := range acked {
			wantBody(t, s, id, body)
		}
	}
	if fillUp("A") != 4 {
		t.Fatal("the disk did not fill")
	}
	// Somebody else takes the last octet.
	if out, err := exec.Command("dd", "if=/dev/zero", "of="+dir+"/other", "bs=4k").CombinedOutput(); err == nil {
		t.Fatalf("the disk is not full: %s", out)
	}
	verify()
	removed, all := 0, ids(t, s, Filter{})
	for _, id := range all[:len(all)/2] {
		it, err := s.Claim(bg, id, "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(bg, it); err != nil {
			t.Fatalf("recording a delivery on a full disk: %v", err)
		}
		delete(acked, id)
		removed++
	}
	rm(t, filepath.Join(dir, "other"))
	s.space.forget() // what a second does
	before := len(acked)
	if fillUp("B"); len(acked) == before {
		t.Errorf("nothing was taken after %d messages were removed", removed)
	}
	verify()
	if err := s.Close(); err != nil {
		t.Fatalf("close on a full disk: %v", err)
	}
	if s, err = Open(dir, Options{MinFree: -1}); err != nil {
		t.Fatalf("start on a full disk: %v", err)
	}
	if d := s.Report().Damaged; len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
	verify()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(names(t, filepath.Join(dir, "damaged"))) != 0 {
		t.Error("something was quarantined")
	}
}
