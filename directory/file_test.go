package directory

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that only moves when told to. It begins well after the files of the test are written, so that they count as at rest.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Add(time.Hour)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a file source with a clock and a log of its own.
type bench struct {
	t          *testing.T
	clock      *clock
	dir        string
	ldif, snap string
	log        strings.Builder
	src        *FileSource
}

func newBench(t *testing.T, content string) *bench {
	b := &bench{t: t, clock: newClock(), dir: t.TempDir()}
	b.ldif, b.snap = filepath.Join(b.dir, "contoso.ldif"), filepath.Join(b.dir, "directory.view")
	if content != "" {
		b.write(content)
	}
	b.open()
	return b
}

func (b *bench) open() {
	b.src = NewFileSource(FileConfig{Path: b.ldif, Snapshot: b.snap, Now: b.clock.now, Log: slog.New(slog.NewTextHandler(&b.log, nil))})
}

// restart is an end without Close, as after a crash, when clean is not "clean".
func (b *bench) restart(how string) {
	b.t.Helper()
	if how == "clean" {
		if err := b.src.Close(); err != nil {
			b.t.Fatal(err)
		}
	}
	b.open()
}

func (b *bench) write(content string) {
	b.t.Helper()
	if err := os.WriteFile(b.ldif, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// replace puts another file in place, by its name.
func (b *bench) replace(content string) {
	b.t.Helper()
	tmp := b.ldif + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(tmp, b.ldif); err != nil {
		b.t.Fatal(err)
	}
}

// poll is one look of Run.
func (b *bench) poll() error {
	b.src.refresh.Lock()
	defer b.src.refresh.Unlock()
	err := b.src.look(context.Background(), false)
	b.src.persist(false)
	return err
}

func (b *bench) serves(mail string) {
	b.t.Helper()
	v := b.src.View()
	if v == nil {
		b.t.Fatalf("no view; want %s", mail)
	}
	if len(v.Find(KeyMail, mail, nil)) != 1 {
		b.t.Errorf("the view has no %s", mail)
	}
}

func (b *bench) state(want, lastError string) {
	b.t.Helper()
	if s := b.src.Status(); s.State != want || !strings.Contains(s.LastError, lastError) || (lastError == "") != (s.LastError == "") {
		b.t.Errorf("state %q, error %q; want %q, %q", s.State, s.LastError, want, lastError)
	}
}

func (b *bench) age(want time.Duration) {
	b.t.Helper()
	if got := b.src.Age(b.clock.now()); got != want {
		b.t.Errorf("age %v, want %v", got, want)
	}
}

var (
	alexFile  = strings.ReplaceAll(strings.ReplaceAll(adele, "Adele Vance", "Alex Wilber"), "adelev", "alexw")
	adeleMail = "adelev@contoso.com"
	alexMail  = "alexw@contoso.com"
)

func TestFileSourceFollows(t *testing.T) {
	for _, how := range []string{"in place", "by rename"} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t, adele)
			if b.src.View() != nil {
				t.Error("a view before anything was read")
			}
			b.state(StateNoView, "")
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			b.serves(adeleMail)
			b.state(StateOK, "")
			first, changed := b.src.View(), b.src.Changed()
			b.clock.add(5 * time.Second)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			if b.src.View() != first {
				t.Error("another view of the same file")
			}
			b.age(0)
			if how == "in place" {
				b.write(alexFile)
			} else {
				b.replace(alexFile)
			}
			select {
			case <-changed:
				t.Error("a change is told before it is seen")
			default:
			}
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			b.serves(alexMail)
			<-changed
			if s := b.src.Status(); !s.LastChange.Equal(b.clock.now()) || s.Objects["user"] != 1 || s.Addresses != 1 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestFileSourceKeepsTheLastView(t *testing.T) {
	breaks := []struct {
		name string
		do   func(b *bench)
		want string
	}{
		{"missing", func(b *bench) { os.Remove(b.ldif) }, "no such file"},
		{"empty", func(b *bench) { b.write("") }, "no entries"},
		{"broken", func(b *bench) { b.write(adele + "nonsense\n") }, "contoso.ldif:4: \"nonsense\" has no colon"},
		{"cut", func(b *bench) { b.write(adele + "mail:: YWJ") }, "contoso.ldif:4: the file ends within base64"},
		{"a directory", func(b *bench) { os.Remove(b.ldif); os.Mkdir(b.ldif, 0o700) }, "is not a regular file"},
		{"a change record", func(b *bench) { b.write("dn: CN=A,DC=com\nchangetype: delete\n") }, "a change record"},
	}
	for _, c := range breaks {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, adele)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			c.do(b)
			for i := range 3 {
				b.clock.add(time.Minute)
				if err := b.poll(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("poll %d: %v, want %q", i, err, c.want)
				}
			}
			b.serves(adeleMail)
			b.state(StateDegraded, c.want)
			b.age(3 * time.Minute)
			if n := strings.Count(b.log.String(), "level=ERROR"); n != 1 {
				t.Errorf("the reason is logged %d times:\n%s", n, b.log.String())
			}

			b.restart("crash") // the snapshot serves, with the age that it had
			b.serves(adeleMail)
			b.state(StateDegraded, "")
			b.age(3 * time.Minute)
			if err := b.src.Refresh(context.Background()); err == nil {
				t.Error("no error after a restart")
			}
			b.serves(adeleMail)
			b.state(StateDegraded, c.want)

			os.Remove(b.ldif)
			b.write(alexFile)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			b.serves(alexMail)
			b.state(StateOK, "")
			b.age(0)
		})
	}
}

func TestFileSourceWaitsForAWriter(t *testing.T) {
	b := newBench(t, adele)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(-time.Hour) // now what is written was written just now
	half, rest := adele+"\ndn: CN=Alex Wilber,DC=contoso,DC=com\nobjectClass: user\n", "mail: alexw@contoso.com\n"
	b.write(half)
	first := b.src.View()
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	if b.src.View() != first {
		t.Error("a file was read at the first sight of a change")
	}
	b.write(half + rest)
	for range 2 {
		if err := b.poll(); err != nil {
			t.Fatal(err)
		}
	}
	b.serves(alexMail)
}

// TestFileSourceSettles changes a file so that neither size nor times tell: that can only be just after it was read.
func TestFileSourceSettles(t *testing.T) {
	b := newBench(t, adele)
	info, err := os.Stat(b.ldif)
	if err != nil {
		t.Fatal(err)
	}
	b.clock.add(-time.Hour)
	if err := b.src.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.write(strings.Replace(adele, "adelev@", "adelex@", 1))
	if err := os.Chtimes(b.ldif, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	// The time of the change of the inode gives it away in truth; pretend that the clock was too coarse for it.
	state, err := statFile(b.ldif)
	if err != nil {
		t.Fatal(err)
	}
	b.src.loaded.Ctime = state.Ctime
	b.clock.add(time.Hour)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.serves("adelex@contoso.com")
}

func TestFileSourceRestart(t *testing.T) {
	b := newBench(t, adele)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(10 * time.Second)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(10 * time.Second)

	b.restart("crash")
	b.age(20 * time.Second) // the age is written once a minute
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.age(0)
	if n := strings.Count(b.log.String(), "directory view read"); n != 1 {
		t.Errorf("an unchanged file was read %d times", n)
	}
	b.clock.add(time.Minute)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Second)
	b.restart("crash")
	b.age(time.Second)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(5 * time.Second)
	b.restart("clean")
	b.age(5 * time.Second)

	// The file has changed while nobody looked, but is touched only.
	b.write(adele)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.log.String(), "directory view read"); n != 1 {
		t.Errorf("a file with the same content was read %d times", n)
	}
	b.write(alexFile)
	b.restart("clean")
	b.serves(adeleMail)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.serves(alexMail)
}

func TestFileSourceSnapshotIsNotUsed(t *testing.T) {
	damage := func(b *bench) {
		content, err := os.ReadFile(b.snap)
		if err != nil {
			b.t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(b.snap, content, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		do   func(b *bench)
		want string
	}{
		{"damaged", damage, "damaged"},
		{"foreign", func(b *bench) { os.WriteFile(b.snap, []byte("something else entirely, but long enough"), 0o600) }, "not a snapshot"},
		{"of another source", func(b *bench) { b.ldif += ".other" }, "another source"},
		{"gone", func(b *bench) { os.Remove(b.snap) }, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, adele)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			c.do(b)
			b.restart("crash")
			if b.src.View() != nil || b.src.Age(b.clock.now()) < 1000*time.Hour {
				t.Error("there is a view")
			}
			if !strings.Contains(b.log.String(), c.want) {
				t.Errorf("the log does not tell that it is %q:\n%s", c.want, b.log.String())
			}
			b.state(StateNoView, "")
			b.write(alexFile)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			b.serves(alexMail)
			b.restart("crash")
			b.serves(alexMail)
		})
	}
}

func TestFileSourceDiskTrouble(t *testing.T) {
	b := newBench(t, adele)
	if err := os.Mkdir(b.snap+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := b.poll(); err != nil {
			t.Fatal(err)
		}
	}
	b.serves(adeleMail)
	if n := strings.Count(b.log.String(), "cannot be kept on disk"); n != 1 {
		t.Errorf("trouble is logged %d times at once", n)
	}
	if err := b.src.Close(); err == nil {
		t.Error("Close does not tell")
	}
	if err := os.Remove(b.snap + ".tmp"); err != nil {
		t.Fatal(err)
	}
	b.clock.add(2 * time.Minute)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.restart("crash")
	b.serves(adeleMail)
}

// TestFileSourceRun uses the real clock, and readers beside the changes.
func TestFileSourceRun(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "contoso.ldif")
	src := NewFileSource(FileConfig{Path: path, Snapshot: filepath.Join(dir, "view"), Poll: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := src.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if v := src.View(); v != nil && v.Stats().Total() != 1 {
				t.Error("a view without its object")
			}
			src.Status()
			time.Sleep(time.Millisecond)
		}
	})
	for _, step := range []struct{ content, mail string }{{adele, adeleMail}, {"", adeleMail}, {alexFile, alexMail}, {adele, adeleMail}} {
		changed := src.Changed()
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if step.content == "" {
			continue
		}
		for deadline := time.After(30 * time.Second); ; {
			if v := src.View(); v != nil && len(v.Find(KeyMail, step.mail, nil)) == 1 {
				break
			}
			select {
			case <-changed:
				changed = src.Changed()
			case <-time.After(time.Second): // it may have changed before the channel was asked for
			case <-deadline:
				t.Fatalf("%s is not seen: %+v", step.mail, src.Status())
			}
		}
	}
	cancel()
	wg.Wait()
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStatusJSON(t *testing.T) {
	b := newBench(t, adele)
	check := func(want string) {
		t.Helper()
		s := b.src.Status()
		s.Bytes = 0
		got, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check(`{"source":"ldif","state":"no-view","dc":"","method":"watch","objects":{"contact":0,"group":0,"user":0},"addresses":0,"last_change":null,"last_poll":null,"age_seconds":null}`)
	b.clock.t = time.Date(2100, 1, 31, 9, 30, 0, 0, time.UTC)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.clock.add(2500 * time.Millisecond)
	check(`{"source":"ldif","state":"ok","dc":"","method":"watch","objects":{"contact":0,"group":0,"user":1},"addresses":1,"last_change":"2100-01-31T09:30:00Z","last_poll":"2100-01-31T09:30:00Z","age_seconds":2}`)
}
