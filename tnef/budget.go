package tnef

import "unsafe"

// budget is how much memory the bodies of a message may take: HTML, text and the pictures in RTF. One is shared by all streams of a
// message and all messages attached to it, so that a small message can't become a large one: a compressed RTF body alone is up to eight times its size when
// it is decompressed, and its HTML may be several times that.
//
// A body is written in pieces, which are then joined: each octet costs two. With that, all that a conversion allocates stays below 20
// times its input and 16 MiB.
type budget struct {
	left    int // octets
	granted int // so far, in all
	most    int // Limits.Output
}

const (
	// bodyGrowth is how many octets of body an octet of a stream may become. Of 105 bodies in real samples, those of more than 4 KB
	// became at most twice, the others up to 4.6 times as long as they were.
	bodyGrowth = 5
	// bodyFree is what any message may become, in octets.
	bodyFree = 5 << 20
	// bodyFloor is what a body may take when nothing is left: the beginning of each can be read.
	bodyFloor = 2 << 10
)

func newBudget(opt *Options) *budget {
	b := &budget{most: opt.limits().Output}
	b.grant(bodyFree)
	return b
}

// stream grants what a stream of n octets may become.
func (b *budget) stream(n int) { b.grant(bodyGrowth * n) }

func (b *budget) grant(n int) {
	n = min(n, b.most-b.granted)
	b.left += n
	b.granted += n
}

// html is how long a body and what belongs to it may become; a part is kept for its text. n is how large the body is in the stream.
func (b *budget) html(n int) int { return max(b.left-b.left/4, min(bodyFloor, bodyGrowth*n)) }

// text is how long a text made of HTML of n octets may become.
func (b *budget) text(n int) int { return max(min(b.left, n+textGrowth), min(bodyFloor, n)) }

// textGrowth is by how many octets a text may be longer than its HTML.
const textGrowth = 64 << 10

func (b *budget) take(n int) { b.left = max(0, b.left-n) }

// octets gives the octets of s without copying them. Nobody may change them; entities are only read.
func octets(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
