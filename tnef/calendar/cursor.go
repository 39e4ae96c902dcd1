package calendar

import "encoding/binary"

// cursor reads little-endian values. What is not there reads as zero, and short says so.
type cursor struct {
	b     []byte
	short bool
}

// take returns the next n octets, or what is left of them.
func (c *cursor) take(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)) {
		c.short = true
		n = uint32(len(c.b))
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); len(b) == 2 {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); len(b) == 4 {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}
