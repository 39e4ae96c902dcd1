package tneftest

import (
	"bytes"
	"encoding/binary"
)

// StorageStream is one stream of a compound file.
type StorageStream struct {
	Name string
	Data []byte
}

// CompoundFile writes a compound file ([MS-CFB] version 3) with these streams in its root storage: what an OLE attachment holds. Short
// streams go to the mini stream, as the format asks.
func CompoundFile(streams ...StorageStream) []byte {
	const (
		sector, mini, cutoff = 512, 64, 4096
		free, end, fatSector = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
	)
	var miniStream []byte
	var miniFAT, fat []uint32
	var body bytes.Buffer
	// add appends data in whole sectors as one chain and returns its first sector.
	add := func(data []byte) uint32 {
		if len(data) == 0 {
			return end
		}
		first := uint32(body.Len() / sector)
		n := (len(data) + sector - 1) / sector
		body.Write(data)
		body.Write(make([]byte, n*sector-len(data)))
		for i := range n {
			if i == n-1 {
				fat = append(fat, end)
			} else {
				fat = append(fat, first+uint32(i)+1)
			}
		}
		return first
	}
	type entry struct {
		name        string
		kind        byte
		start, size uint32
	}
	entries := []entry{{name: "Root Entry", kind: 5}}
	for _, s := range streams {
		e := entry{name: s.Name, kind: 2, size: uint32(len(s.Data))}
		if len(s.Data) >= cutoff {
			e.start = add(s.Data)
		} else {
			first := uint32(len(miniStream) / mini)
			n := (len(s.Data) + mini - 1) / mini
			miniStream = append(miniStream, s.Data...)
			miniStream = append(miniStream, make([]byte, n*mini-len(s.Data))...)
			for i := range n {
				next := first + uint32(i) + 1
				if i == n-1 {
					next = end
				}
				miniFAT = append(miniFAT, next)
			}
			e.start = first
		}
		entries = append(entries, e)
	}
	entries[0].start, entries[0].size = add(miniStream), uint32(len(miniStream))
	miniStart := add(packWords(miniFAT, sector, free))
	var dir bytes.Buffer
	for i, e := range entries {
		b := make([]byte, 128)
		name := utf16Bytes(e.name + "\x00")
		copy(b, name)
		binary.LittleEndian.PutUint16(b[64:], uint16(len(name)))
		b[66], b[67] = e.kind, 1
		child, right := uint32(free), uint32(free)
		if i == 0 && len(entries) > 1 {
			child = 1
		}
		if i > 0 && i+1 < len(entries) {
			right = uint32(i + 1)
		}
		for k, v := range []uint32{free, right, child} {
			binary.LittleEndian.PutUint32(b[68+4*k:], v)
		}
		binary.LittleEndian.PutUint32(b[116:], e.start)
		binary.LittleEndian.PutUint32(b[120:], e.size)
		dir.Write(b)
	}
	dirStart := add(dir.Bytes())
	// The table describes its own sectors too.
	fatStart := uint32(body.Len() / sector)
	fatSectors := 1
	for (len(fat)+fatSectors)*4 > fatSectors*sector {
		fatSectors++
	}
	for range fatSectors {
		fat = append(fat, fatSector)
	}
	body.Write(packWords(fat, sector, free))

	h := make([]byte, sector)
	copy(h, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")
	for at, v := range map[int]uint16{24: 0x3E, 26: 3, 28: 0xFFFE, 30: 9, 32: 6} {
		binary.LittleEndian.PutUint16(h[at:], v)
	}
	for at, v := range map[int]uint32{44: uint32(fatSectors), 48: dirStart, 56: cutoff, 60: miniStart, 64: uint32((len(miniFAT)*4 + sector - 1) / sector), 68: end} {
		binary.LittleEndian.PutUint32(h[at:], v)
	}
	for i := range 109 {
		v := uint32(free)
		if i < fatSectors {
			v = fatStart + uint32(i)
		}
		binary.LittleEndian.PutUint32(h[76+4*i:], v)
	}
	return append(h, body.Bytes()...)
}

// packWords writes words in whole sectors, filled up.
func packWords(list []uint32, sector int, fill uint32) []byte {
	var b []byte
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for len(b)%sector != 0 {
		b = binary.LittleEndian.AppendUint32(b, fill)
	}
	return b
}

// Ole10Native is the stream of that name ("\x01Ole10Native") that Windows' Packager writes around a file.
func Ole10Native(label, path string, data []byte) []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = append(append(b, label...), 0)
	b = append(append(b, path...), 0)
	b = append(b, 0, 0, 3, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(path)+1))
	b = append(append(b, path...), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}
