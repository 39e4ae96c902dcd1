package tnef

import "encoding/binary"

// cursor reads a stream front to back. Reading beyond the end gives zeros and sets short; nothing else can go wrong.
type cursor struct {
	b     []byte
	pos   int
	short bool
}

func (c *cursor) left() int { return len(c.b) - c.pos }

// take returns the next n octets, or fewer when fewer are left.
func (c *cursor) take(n uint32) []byte {
	if uint64(n) > uint64(c.left()) {
		c.short = true
		n = uint32(c.left())
	}
	p := c.b[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return p
}

// fixed returns n octets; zeros when fewer are left.
func (c *cursor) fixed(n uint32) []byte {
	p := c.take(n)
	if len(p) < int(n) {
		return make([]byte, n) // n is 16 at most
	}
	return p
}

func (c *cursor) u8() byte    { return c.fixed(1)[0] }
func (c *cursor) u16() uint16 { return binary.LittleEndian.Uint16(c.fixed(2)) }
func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.fixed(4)) }

// pad skips the padding after n octets of a property value to a multiple of four. At the end of a list some writers leave it out.
func (c *cursor) pad(n uint32) {
	c.pos += min(int(-n&3), c.left())
}
