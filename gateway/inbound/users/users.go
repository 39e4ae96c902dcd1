// Package users is a file of users and hashed passwords, for devices that relay by SMTP AUTH:
//
//	# the printers of the second floor
//	printer:$2y$12$...
//	scanner:$argon2id$v=19$m=19456,t=2,p=1$...$...
//
// The hashes are bcrypt (as of htpasswd -B) and argon2id (RFC 9106, in the form of the argon2 command). The file is read again when
// it changes.
package users

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// File is a file of users. It implements inbound.Authenticator.
type File struct {
	path   string
	logger *slog.Logger
	now    func() time.Time
	slots  chan struct{} // bounds the hashes that are computed at once: each may take megabytes
	wait   time.Duration

	mu      sync.Mutex
	users   map[string]hash
	decoy   hash // for users who do not exist, so that they take as long
	looked  time.Time
	version version
	failure string // of the last reading, said once
}

// version tells one content of the file from another.
type version struct {
	modified time.Time
	size     int64
}

// lookEvery is how often the file is looked at, at most.
const lookEvery = time.Second

// hashWait is how long a login may wait for others.
const hashWait = 10 * time.Second

// Open reads the file at path. Errors name file and line, all at once. Later, a file that cannot be read leaves the users as they
// were, and the logger is told.
func Open(path string, logger *slog.Logger) (*File, error) {
	f := &File{path: path, logger: logger, now: time.Now, slots: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)), wait: hashWait}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// ErrBusy is when too many passwords wait to be checked.
var ErrBusy = errors.New("too many logins at once")

// Authenticate checks a password. The identity is the user's name. A user who does not exist takes as long as a wrong password.
func (f *File) Authenticate(user, password string) (identity string, ok bool, err error) {
	h, known := f.find(user)
	timer := time.NewTimer(f.wait)
	defer timer.Stop()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-timer.C:
		return "", false, ErrBusy
	}
	matches := h != nil && h.matches(password)
	return user, known && matches, nil
}

func (f *File) find(user string) (h hash, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= lookEvery {
		f.looked = now
		f.refresh()
	}
	if h, known = f.users[user]; !known {
		return f.decoy, false
	}
	return h, true
}

// refresh reads the file if it is another one than before.
func (f *File) refresh() {
	info, err := os.Stat(f.path)
	if err == nil && (version{info.ModTime(), info.Size()}) == f.version {
		return
	}
	if err == nil {
		err = f.read()
	}
	switch {
	case err == nil:
		f.logger.Info("users read again", "file", f.path, "users", len(f.users))
	case err.Error() != f.failure:
		f.failure = err.Error()
		f.logger.Error("users not read again: those of before count", "file", f.path, "error", err)
	}
}

// read replaces the users.
func (f *File) read() error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("reading users: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("reading users: %s: anybody may read or change it (mode %04o): %w", f.path, info.Mode().Perm(), fs.ErrPermission)
	}
	if err != nil {
		return err
	}
	users, err := parse(f.path, file)
	if err != nil {
		return err
	}
	f.users, f.decoy, f.failure = users, slowest(users), ""
	f.version = version{info.ModTime(), info.Size()}
	return nil
}

// slowest is one of the hashes that take longest to check.
func slowest(users map[string]hash) (h hash) {
	for _, other := range users {
		if h == nil || other.cost() > h.cost() {
			h = other
		}
	}
	return h
}

const (
	maxLine = 4 << 10
	maxName = 255
)

func parse(path string, r interface{ Read([]byte) (int, error) }) (map[string]hash, error) {
	users := map[string]hash{}
	var errs []error
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, h, err := parseLine(string(line))
		if _, twice := users[name]; err == nil && twice {
			err = fmt.Errorf("user %q a second time", name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, n, err))
			continue
		}
		users[name] = h
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, fmt.Errorf("%s:%d: %w", path, n+1, err))
	}
	return users, errors.Join(errs...)
}

// parseLine reads USER:HASH. It never puts a hash into an error: errors end up in logs.
func parseLine(line string) (name string, h hash, err error) {
	name, text, ok := strings.Cut(line, ":")
	if !ok || !validName(name) {
		return "", nil, errors.New("expected USER:HASH")
	}
	h, err = parseHash(text)
	if err != nil {
		return "", nil, fmt.Errorf("user %q: %w", name, err)
	}
	return name, h, nil
}

func validName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}
