package directory

import (
	"math/bits"
	"math/rand/v2"
)

// seed makes the hashes of one view unlike those of another, so that nobody can choose values that collide.
type seed [2]uint64

func newSeed() seed { return seed{rand.Uint64(), rand.Uint64() | 1} }

// hash is the hash of a folded value of a class: 28 bits, never 0.
func (v *View) hash(folded []byte, c class) uint32 { return v.seed.hash(folded, uint64(c)) }

// bitOfCase is what letters of ASCII differ in by case. With it set in every byte, a value has the hash of what it folds to without being folded; that a few other characters
// become the same is no harm to a hash.
const bitOfCase = 0x20 * everyByte

// hash multiplies eight bytes after another into the sum, with both halves of each product, as the generators of its kind do. The last eight are those in the end, whether
// or not they were there before.
func (s seed) hash(b []byte, salt uint64) uint32 {
	h := s.first(len(b), salt)
	for i := 8; i < len(b); i += 8 {
		h = mix(h^(load8(b[i-8:])|bitOfCase), s[1])
	}
	if len(b) >= 8 {
		return s.last(h, load8(b[len(b)-8:]))
	}
	word := uint64(0)
	for i, c := range b {
		word |= uint64(c) << (8 * i)
	}
	return s.last(h, word)
}

// first is the beginning of a hash, and last its end.
func (s seed) first(size int, salt uint64) uint64 { return s[0] ^ salt<<32 ^ uint64(size) }
func (s seed) last(h, word uint64) uint32 {
	return max(1, uint32(mix(mix(h^(word|bitOfCase), s[1]), 0x9e3779b97f4a7c15)>>(64-hashBits)))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
