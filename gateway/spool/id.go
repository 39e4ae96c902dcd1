package spool

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idAlphabet has neither I, L, O nor U, and is in ASCII order, so that IDs read aloud well and sort by time.
const idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var idEncoding = base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding)

// NewID makes a message ID of 16 letters and digits: 48 bits of now in milliseconds, then 32 bits from crypto/rand. IDs made
// later sort later, which the store and the scheduler use to take the oldest first.
func NewID(now time.Time) string {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	rand.Read(b[6:10]) // never fails since Go 1.24
	return idEncoding.EncodeToString(b[:10])
}

// validID reports whether an ID can be a key and the name of a file.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		ok := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_'
		if !ok {
			return false
		}
	}
	return true
}
