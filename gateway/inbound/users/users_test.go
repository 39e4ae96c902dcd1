package users

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// cheap is argon2id of "secret" with 8 KiB, as the argon2 command writes it.
const cheap = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$"

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAuthenticate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	argon, err := Hash("scanner-password")
	if err != nil {
		t.Fatal(err)
	}
	y := "$2y" + strings.TrimPrefix(bcryptOf(t, "y-password"), "$2a")
	write(t, path, "# devices\n\nprinter:"+bcryptOf(t, "printer-password")+"\nscanner:"+argon+"\r\ny:"+y+"\n")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, password string
		want           bool
	}{
		{"printer", "printer-password", true}, {"printer", "scanner-password", false}, {"printer", "", false},
		{"scanner", "scanner-password", true}, {"scanner", "scanner-password ", false},
		{"y", "y-password", true},
		{"PRINTER", "printer-password", false}, {"nobody", "printer-password", false}, {"", "", false}, {"# devices", "", false},
	} {
		identity, ok, err := f.Authenticate(tt.user, tt.password)
		if ok != tt.want || err != nil || ok && identity != tt.user {
			t.Errorf("%q with %q: %q, %v, %v", tt.user, tt.password, identity, ok, err)
		}
	}
}

// A known answer, made by the reference implementation (phc-winner-argon2, "argon2 somesalt -id -t 2 -m 16 -p 1 -l 32").
func TestArgonOfTheReference(t *testing.T) {
	h, err := parseHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches("password") || h.matches("passwore") {
		t.Error("the hash of the reference implementation does not match")
	}
}

func TestFileErrors(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"no colon", "printer", "expected USER:HASH"},
		{"no name", ":" + bcryptOf(t, "x"), "expected USER:HASH"},
		{"a password in clear", "printer:secret", "neither bcrypt"},
		{"an old hash", "printer:$1$abc$def", "neither bcrypt"},
		{"a cut bcrypt hash", "printer:$2a$10$abc", "not whole"},
		{"a bcrypt cost of 31", "printer:$2a$31" + bcryptOf(t, "x")[6:], "a bcrypt cost of 31"},
		{"argon2id without a tag", "printer:" + cheap, "expected $argon2id$"},
		{"argon2i", "printer:$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA", "neither bcrypt"},
		{"another version", "printer:$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "expected $argon2id$"},
		{"too much memory", "printer:$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "m up to"},
		{"no passes", "printer:$argon2id$v=19$m=8,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "t up to"},
		{"no threads", "printer:$argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "p up to"},
		{"a short salt", "printer:$argon2id$v=19$m=8,t=1,p=1$c2Fs$AAAAAAAAAAAAAAAAAAAAAA", "expected $argon2id$"},
		{"bad base64", "printer:$argon2id$v=19$m=8,t=1,p=1$c2Fsd!!!$AAAAAAAAAAAAAAAAAAAAAA", "expected $argon2id$"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			write(t, path, "# first\n"+tt.line+"\n")
			_, err := Open(path, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "users:2: ") {
				t.Errorf("error %v, want %q at line 2", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "a:x\nb:y\n")
	if _, err := Open(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "users:1") || !strings.Contains(err.Error(), "users:2") {
		t.Errorf("not all at once: %v", err)
	}
	write(t, path, "a:"+bcryptOf(t, "x")+"\na:"+bcryptOf(t, "y")+"\n")
	if _, err := Open(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "a second time") {
		t.Errorf("a user twice: %v", err)
	}
	os.Chmod(path, 0o644)
	if _, err := Open(path, slog.New(slog.DiscardHandler)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a file that anybody reads: %v", err)
	}
	if _, err := Open(path+"x", slog.New(slog.DiscardHandler)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// The file is read again when it changes; a broken one changes nothing, and is reported once.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "a:"+bcryptOf(t, "one")+"\n")
	var log bytes.Buffer
	f, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	stamp := now
	for _, step := range []struct {
		text, password string
		errors         int
	}{
		{"", "one", 0}, {"a:" + bcryptOf(t, "two") + "\n", "two", 0}, {"a:broken\n", "two", 1}, {"", "two", 1}, {"a:" + bcryptOf(t, "three") + "\nb:" + bcryptOf(t, "b") + "\n", "three", 1},
	} {
		if step.text != "" {
			write(t, path, step.text)
			stamp = stamp.Add(time.Minute)
			os.Chtimes(path, stamp, stamp)
		}
		now = now.Add(2 * lookEvery)
		if _, ok, err := f.Authenticate("a", step.password); !ok || err != nil {
			t.Errorf("%+v: %v, %v", step, ok, err)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != step.errors {
			t.Errorf("%+v: %d errors logged", step, n)
		}
	}
	os.Remove(path)
	now = now.Add(2 * lookEvery)
	if _, ok, _ := f.Authenticate("b", "b"); !ok {
		t.Error("users are gone with the file")
	}
}

// A flood of logins waits for its turn, and then hears that it is too much.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "a:"+bcryptOf(t, "one")+"\n")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.wait = 10 * time.Millisecond
	for range cap(f.slots) {
		f.slots <- struct{}{}
	}
	if _, ok, err := f.Authenticate("a", "one"); !errors.Is(err, ErrBusy) || ok {
		t.Errorf("%v, %v", ok, err)
	}
	for range cap(f.slots) {
		<-f.slots
	}
	f.wait = time.Minute
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, ok, err := f.Authenticate("a", "one"); !ok || err != nil {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
	wg.Wait()
}

// A user who does not exist is checked against a hash all the same.
func TestUnknownUserTakesAsLong(t *testing.T) {
	f := &File{users: map[string]hash{}, now: time.Now, looked: time.Now(), slots: make(chan struct{}, 1), wait: time.Second}
	d := &counted{}
	f.decoy = d
	if _, ok, _ := f.Authenticate("nobody", "x"); ok || d.n != 1 {
		t.Errorf("%v, %d hashes computed", ok, d.n)
	}
}

type counted struct{ n int }

func (c *counted) matches(string) bool { c.n++; return true }
func (c *counted) cost() int           { return 1 }

func FuzzParse(f *testing.F) {
	f.Add("printer:$2a$04$abcdefghijklmnopqrstuuJ1YdYdYdYdYdYdYdYdYdYdYdYdYdYdYdY\n")
	f.Add("scanner:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parse("users", strings.NewReader(text))
		if err != nil {
			return
		}
		for name, h := range users {
			if !validName(name) || h.cost() < 0 {
				t.Errorf("%q, cost %d", name, h.cost())
			}
			if a, ok := h.(argonHash); ok && (a.memory > maxArgonMemory || a.passes > maxArgonPasses) {
				t.Errorf("%+v", a)
			}
		}
	})
}
