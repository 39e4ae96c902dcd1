package fakemta

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// Folder keeps messages as files: N.eml, the exact octets, and N.json, the envelope. N counts up from the highest
// number that is there. One process may write to a folder at a time.
type Folder struct {
	path string
	last atomic.Int64
}

// OpenFolder makes the folder when it does not exist, and finds the highest number in it.
func OpenFolder(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make folder for messages: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read folder for messages: %w", err)
	}
	f := &Folder{path: path}
	for _, entry := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(entry.Name(), ".eml"), ".json")
		if n, err := strconv.ParseInt(name, 10, 64); err == nil && n > f.last.Load() && name != entry.Name() {
			f.last.Store(n)
		}
	}
	return f, nil
}

// Save numbers and writes a message; it fits Options.OnMessage. N.eml is complete when N.json appears, and both are
// there before the message is acknowledged. They are not synced to disk: this is for tests.
func (f *Folder) Save(m *Message) error {
	m.Number = int(f.last.Add(1))
	name := filepath.Join(f.path, strconv.Itoa(m.Number))
	envelope, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write envelope: %w", err)
	}
	if err := writeFile(name+".eml", m.Data); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if err := writeFile(name+".json", append(envelope, '\n')); err != nil {
		return fmt.Errorf("write envelope: %w", err)
	}
	return nil
}

// writeFile makes a file appear complete.
func writeFile(name string, data []byte) error {
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}
