package tnef

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// compoundFile reads a compound file ([MS-CFB]), as far as it takes to get a stream out of it: no more is trusted than what lies inside
// the octets given.
type compoundFile struct {
	b         []byte
	sector    int // octets
	fat       []uint32
	miniFAT   []uint32
	mini      []byte // the mini stream
	cutoff    uint64
	directory []cfbEntry
}

// cfbEntry is a directory entry ([MS-CFB] 2.6.1).
type cfbEntry struct {
	name  string
	kind  byte // 1 storage, 2 stream, 5 root
	start uint32
	size  uint64
	clsid [16]byte
}

const (
	cfbSignature = "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"
	cfbMini      = 64 // octets of a mini sector ([MS-CFB] 2.2)
	cfbMaxRegSec = 0xFFFFFFFA
	cfbHeader    = 512
)

// openCompoundFile reads allocation tables and directory; nil when b is no compound file, or one too broken.
func openCompoundFile(b []byte) *compoundFile {
	if len(b) < cfbHeader || !bytes.HasPrefix(b, []byte(cfbSignature)) {
		return nil
	}
	le := binary.LittleEndian
	shift := le.Uint16(b[30:])
	if shift != 9 && shift != 12 {
		return nil
	}
	f := &compoundFile{b: b, sector: 1 << shift, cutoff: uint64(le.Uint32(b[56:]))}
	f.readFAT()
	f.readDirectory(le.Uint32(b[48:]))
	if len(f.directory) == 0 || f.directory[0].kind != 5 {
		return nil
	}
	root := f.directory[0]
	f.mini = f.chain(root.start, root.size)
	f.miniFAT = words(f.chain(le.Uint32(b[60:]), uint64(len(b))))
	return f
}

// at returns sector n; nil when it lies outside. The last one may be cut short.
func (f *compoundFile) at(n uint32) []byte {
	start := (uint64(n) + 1) * uint64(f.sector)
	if n > cfbMaxRegSec || start >= uint64(len(f.b)) {
		return nil
	}
	return f.b[start:min(start+uint64(f.sector), uint64(len(f.b)))]
}

func words(b []byte) []uint32 {
	list := make([]uint32, len(b)/4)
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return list
}

// readFAT reads the sectors that the header and the DIFAT list ([MS-CFB] 2.5). The file can't have more FAT sectors than sectors.
func (f *compoundFile) readFAT() {
	le := binary.LittleEndian
	limit := len(f.b)/f.sector + 1
	list := words(f.b[76:cfbHeader])
	next := le.Uint32(f.b[68:])
	for range limit {
		s := f.at(next)
		if len(s) < f.sector {
			break
		}
		w := words(s)
		list = append(list, w[:len(w)-1]...)
		next = w[len(w)-1]
	}
	seen := 0
	for _, n := range list {
		if s := f.at(n); s != nil && seen < limit/(f.sector/4)+1 {
			f.fat = append(f.fat, words(s)...)
			seen++
		}
	}
}

// chain returns at most size octets of the sectors from n on. A chain that runs in a circle ends after as many sectors as the file has.
func (f *compoundFile) chain(n uint32, size uint64) []byte {
	size = min(size, uint64(len(f.b)))
	var out []byte
	for uint64(len(out)) < size {
		s := f.at(n)
		if s == nil || uint64(n) >= uint64(len(f.fat)) {
			break
		}
		out = append(out, s...)
		n = f.fat[n]
	}
	return out[:min(size, uint64(len(out)))]
}

func (f *compoundFile) readDirectory(start uint32) {
	const entry = 128
	dir := f.chain(start, uint64(len(f.b)))
	for ; len(dir) >= entry; dir = dir[entry:] {
		le := binary.LittleEndian
		n := min(int(le.Uint16(dir[64:])), 64)
		e := cfbEntry{name: trimNUL(decodeUTF16(dir[:n])), kind: dir[66], start: le.Uint32(dir[116:]), size: uint64(le.Uint32(dir[120:])), clsid: [16]byte(dir[80:96])}
		f.directory = append(f.directory, e)
	}
}

// stream returns the content of the first stream with this name, regardless of case; nil when there is none.
func (f *compoundFile) stream(name string) []byte {
	for _, e := range f.directory {
		if e.kind == 2 && strings.EqualFold(e.name, name) {
			if e.size >= f.cutoff {
				return f.chain(e.start, e.size)
			}
			return f.miniChain(e.start, e.size)
		}
	}
	return nil
}

// has tells whether there is a stream with this name.
func (f *compoundFile) has(name string) bool {
	for _, e := range f.directory {
		if e.kind == 2 && strings.EqualFold(e.name, name) {
			return true
		}
	}
	return false
}

// miniChain reads from the mini stream ([MS-CFB] 2.4).
func (f *compoundFile) miniChain(n uint32, size uint64) []byte {
	size = min(size, uint64(len(f.mini)))
	var out []byte
	for uint64(len(out)) < size {
		start := uint64(n) * cfbMini
		if uint64(n) >= uint64(len(f.miniFAT)) || start >= uint64(len(f.mini)) {
			break
		}
		out = append(out, f.mini[start:min(start+cfbMini, uint64(len(f.mini)))]...)
		n = f.miniFAT[n]
	}
	return out[:min(size, uint64(len(out)))]
}
