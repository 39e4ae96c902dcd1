package greylist

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// The file is magic, the number of pending and of known entries (4 octets each, big endian), the entries, and the SHA-256 of all
// that. An entry is its key, first and last in Unix seconds (8 octets each), and count (4 octets).
const (
	magic     = "coexist greylist 1\n"
	entrySize = 16 + 8 + 8 + 4
	maxFile   = 1 << 30
)

// errDamaged says that a file is not what Save wrote.
var errDamaged = errors.New("the file is damaged")

// Save writes the list to Options.File, if anything changed. What was there stays until the new file is on disk.
func (l *List) Save() error {
	if l.o.File == "" {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	var pending, known []entry
	if dirty {
		now := l.o.Clock()
		pending, known = l.pending.all(now.Add(-l.o.Window)), l.known.all(now.Add(-l.o.Keep))
	}
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := replaceFile(l.o.File, encode(pending, known)); err != nil {
		l.mu.Lock()
		l.dirty = true
		l.mu.Unlock()
		return fmt.Errorf("saving the greylist: %w", err)
	}
	return nil
}

// replaceFile makes data the content of path at once or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (l *List) load() error {
	if l.o.File == "" {
		return nil
	}
	info, err := os.Stat(l.o.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Size() > maxFile:
		return errDamaged
	}
	data, err := os.ReadFile(l.o.File)
	if err != nil {
		return err
	}
	pending, known, err := decode(data)
	if err != nil {
		return err
	}
	for _, e := range pending {
		l.pending.put(e)
	}
	for _, e := range known {
		l.known.put(e)
	}
	return nil
}

func encode(pending, known []entry) []byte {
	data := make([]byte, 0, len(magic)+8+entrySize*(len(pending)+len(known))+sha256.Size)
	data = append(data, magic...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(pending)))
	data = binary.BigEndian.AppendUint32(data, uint32(len(known)))
	for _, entries := range [][]entry{pending, known} {
		for _, e := range entries {
			data = append(data, e.key[:]...)
			data = binary.BigEndian.AppendUint64(data, uint64(e.first.Unix()))
			data = binary.BigEndian.AppendUint64(data, uint64(e.last.Unix()))
			data = binary.BigEndian.AppendUint32(data, e.count)
		}
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

func decode(data []byte) (pending, known []entry, err error) {
	end := len(data) - sha256.Size
	if end < len(magic)+8 || !bytes.HasPrefix(data, []byte(magic)) {
		return nil, nil, errDamaged
	}
	if sum := sha256.Sum256(data[:end]); !bytes.Equal(sum[:], data[end:]) {
		return nil, nil, errDamaged
	}
	rest := data[len(magic):end]
	np, nk := int64(binary.BigEndian.Uint32(rest)), int64(binary.BigEndian.Uint32(rest[4:]))
	rest = rest[8:]
	if (np+nk)*entrySize != int64(len(rest)) {
		return nil, nil, errDamaged
	}
	entries := make([]entry, 0, np+nk)
	for ; len(rest) > 0; rest = rest[entrySize:] {
		e := entry{first: unix(rest[16:]), last: unix(rest[24:]), count: binary.BigEndian.Uint32(rest[32:])}
		copy(e.key[:], rest)
		entries = append(entries, e)
	}
	return entries[:np], entries[np:], nil
}

func unix(b []byte) time.Time {
	return time.Unix(int64(min(binary.BigEndian.Uint64(b), math.MaxInt32*1000)), 0)
}
