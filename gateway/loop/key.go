package loop

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// minKey is the least length of a key in octets: as much as the digests have. New keys have newKey.
const (
	minKey = 16
	newKey = 32
)

// LoadKey reads the key in a file, written in hexadecimal, and makes one, mode 0600, where there is no such file. Gateways that
// stand side by side are given copies of one file, so that they know each other's fields.
func LoadKey(path string) ([]byte, error) {
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKey(path); err == nil {
			key, err = readKey(path) // perhaps that of another process, which was faster
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key for trace fields: %w", err)
	}
	return key, nil
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > 4096 {
		return nil, fmt.Errorf("%s is no key file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): make it 0600, or remove it to get a new key", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) < minKey {
		return nil, fmt.Errorf("%s does not hold %d octets or more in hexadecimal: remove it to get a new key", path, minKey)
	}
	return key, nil
}

// createKey writes a new key. A file is never seen in part, and one that is there is never replaced.
func createKey(path string) error {
	key := make([]byte, newKey)
	rand.Read(key)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
