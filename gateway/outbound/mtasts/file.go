package mtasts

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The file holds one JSON object a line; a later line of the same domain replaces an earlier one. It is appended to, and
// written anew when it has many lines of no more use.

// line is an entry in the file.
type line struct {
	Domain  string    `json:"domain"`
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`
	Policy  string    `json:"policy"`
}

// maxLine is the longest line believed: a policy of 64 KiB, escaped.
const maxLine = 8 * maxPolicySize

// spareLines is how many lines of no use the file may have beside twice those of use.
const spareLines = 200

// load reads the file. Lines that make no sense, such as one that a crash cut, are left out.
func (c *Cache) load() {
	if c.o.Path == "" {
		return
	}
	data, err := os.ReadFile(c.o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.o.Logger.Error("the MTA-STS policies of before cannot be read", "error", err)
		return
	}
	bad := c.parse(data)
	if bad > 0 {
		c.o.Logger.Warn("lines of the MTA-STS policy file make no sense and were left out", "file", c.o.Path, "lines", bad)
	}
	if bad > 0 || c.lines > 2*len(c.entries)+spareLines {
		c.rewrite()
	}
}

func (c *Cache) parse(data []byte) (bad int) {
	now := c.o.Clock()
	scan := bufio.NewScanner(bytes.NewReader(data))
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		c.lines++
		domain, e, err := parseLine(scan.Bytes())
		if err != nil {
			bad++
			continue
		}
		if e.fetched.After(now) { // the clock was wrong, then or now
			e.fetched = now
		}
		delete(c.entries, domain)
		if now.Before(e.expires()) {
			c.entries[domain] = e
			c.evict(now)
		}
	}
	if scan.Err() != nil || len(data) > 0 && data[len(data)-1] != '\n' {
		bad++
	}
	return bad
}

func parseLine(text []byte) (string, entry, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return "", entry{}, err
	}
	policy, err := ParsePolicy(l.Policy)
	if err == nil && (l.Domain == "" || l.ID == "") {
		err = errPolicy
	}
	return l.Domain, entry{policy: policy, id: l.ID, fetched: l.Fetched}, err
}

func formatLine(domain string, e entry) []byte {
	// Strings and a time of our own always marshal.
	text, _ := json.Marshal(line{Domain: domain, ID: e.id, Fetched: e.fetched, Policy: e.policy.String()})
	return append(text, '\n')
}

// save adds an entry to the file. After a failure the whole file is written again, since half a line may stand at its end.
// The caller holds mu.
func (c *Cache) save(domain string, e entry) {
	if c.o.Path == "" {
		return
	}
	if c.unsaved || c.lines > 2*len(c.entries)+spareLines {
		c.rewrite()
		return
	}
	f, err := os.OpenFile(c.o.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		err = writeSynced(f, formatLine(domain, e))
	}
	if err == nil {
		c.lines++
	}
	c.saved(err)
}

// rewrite writes the file anew, beside the old one, and then takes its place. The caller holds mu, or nobody knows c yet.
func (c *Cache) rewrite() {
	var all []byte
	for domain, e := range c.entries {
		all = append(all, formatLine(domain, e)...)
	}
	err := replace(c.o.Path, all)
	if err == nil {
		c.lines = len(c.entries)
	}
	c.saved(err)
}

// saved tells of the first of several failures.
func (c *Cache) saved(err error) {
	if err != nil && !c.unsaved {
		c.o.Logger.Error("MTA-STS policies cannot be saved, they would be lost at a restart", "error", err)
	}
	c.unsaved = err != nil
}

func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = writeSynced(f, content)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it may be gone
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

// file is what writeSynced needs of an os.File.
type file interface {
	io.WriteCloser
	Sync() error
}

func writeSynced(f file, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
