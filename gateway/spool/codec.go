package spool

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
)

// A record is a fixed head, which start-up reads without the rest, the lane, and the item as JSON. All numbers are big-endian.
//
//	0  version   1 octet
//	1  state     1 octet  'w' or 'h'
//	2  flags     1 octet  1: the body is a file
//	3  lane      1 octet, its length
//	4  checksum  4        CRC-32C of the record without these four
//	8  next, 16 received, 24 held until: nanoseconds since 1970, 0 for none
//	32 size      8
//	40 attempts  4
//	44 body      4        CRC-32C of the body
//	48 lane, then JSON
const (
	recordVersion = 1
	headSize      = 48
	flagFile      = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is the head of a record: what the index holds of each item.
type meta struct {
	held                      bool
	file                      bool
	attempts                  int32
	bodySum                   uint32
	next, received, heldUntil int64
	size                      int64
	lane                      string
}

// encodeRecord writes the item as a record. It fails only for items that JSON cannot hold, and long lanes.
func encodeRecord(it *Item, m meta) ([]byte, error) {
	if len(m.lane) > 255 {
		return nil, fmt.Errorf("lane of %d octets", len(m.lane))
	}
	stored := *it
	stored.Owner = ""
	stored.Envelope.Recipients = nil
	if stored.State == Delivering || stored.State == "" {
		stored.State = Waiting
	}
	body, err := json.Marshal(&stored)
	if err != nil {
		return nil, fmt.Errorf("encoding item %s: %w", it.ID, err)
	}
	b := make([]byte, headSize, headSize+len(m.lane)+len(body))
	b[0], b[1], b[3] = recordVersion, 'w', byte(len(m.lane))
	if m.held {
		b[1] = 'h'
	}
	if m.file {
		b[2] = flagFile
	}
	binary.BigEndian.PutUint64(b[8:], uint64(m.next))
	binary.BigEndian.PutUint64(b[16:], uint64(m.received))
	binary.BigEndian.PutUint64(b[24:], uint64(m.heldUntil))
	binary.BigEndian.PutUint64(b[32:], uint64(m.size))
	binary.BigEndian.PutUint32(b[40:], uint32(m.attempts))
	binary.BigEndian.PutUint32(b[44:], m.bodySum)
	b = append(append(b, m.lane...), body...)
	binary.BigEndian.PutUint32(b[4:], recordSum(b))
	return b, nil
}

func recordSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[8:])
}

// decodeMeta verifies a record and reads its head.
func decodeMeta(b []byte) (meta, error) {
	switch {
	case len(b) < headSize || len(b) < headSize+int(b[3]):
		return meta{}, fmt.Errorf("%w: record of %d octets", ErrDamaged, len(b))
	case b[0] != recordVersion:
		return meta{}, fmt.Errorf("%w: record version %d, expected %d", ErrDamaged, b[0], recordVersion)
	case binary.BigEndian.Uint32(b[4:]) != recordSum(b):
		return meta{}, fmt.Errorf("%w: checksum of the record", ErrDamaged)
	}
	return meta{
		held:      b[1] == 'h',
		file:      b[2]&flagFile != 0,
		next:      int64(binary.BigEndian.Uint64(b[8:])),
		received:  int64(binary.BigEndian.Uint64(b[16:])),
		heldUntil: int64(binary.BigEndian.Uint64(b[24:])),
		size:      int64(binary.BigEndian.Uint64(b[32:])),
		attempts:  int32(binary.BigEndian.Uint32(b[40:])),
		bodySum:   binary.BigEndian.Uint32(b[44:]),
		lane:      string(b[headSize : headSize+int(b[3])]),
	}, nil
}

// decodeRecord reads a whole record.
func decodeRecord(b []byte) (*Item, meta, error) {
	m, err := decodeMeta(b)
	if err != nil {
		return nil, m, err
	}
	it := &Item{}
	if err := json.Unmarshal(b[headSize+len(m.lane):], it); err != nil {
		return nil, m, fmt.Errorf("%w: record: %w", ErrDamaged, err)
	}
	return it, m, nil
}

// metaOf is the head that the item gets. Where the body is does not change while the item lives.
func metaOf(it *Item, file bool, bodySum uint32) meta {
	return meta{
		held: it.State == Held, file: file, bodySum: bodySum, size: it.Size, attempts: int32(it.Attempts), lane: it.Lane(),
		next: unixNano(it.NextAttempt), received: unixNano(it.Received), heldUntil: unixNano(it.HeldUntil),
	}
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// clone copies the item so that the caller's later changes do not reach it.
func (it *Item) clone() *Item {
	c := *it
	c.Recipients = append([]Recipient(nil), it.Recipients...)
	c.Envelope.Recipients = []message.Recipient(nil)
	return &c
}
