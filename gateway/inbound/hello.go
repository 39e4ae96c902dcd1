package inbound

import (
	"io"
	"net"
)

// A TLS connection of the standard library reads each record into a buffer that stays as large as the largest record so far. Of a client
// that says little the largest is the first, with the ClientHello: nearly 2 KB with post-quantum key shares, and a half more in memory for
// each idle connection. A handshake message may be cut into records in any way (RFC 8446 5.1, RFC 5246 6.2.1), and the headers of records
// are not covered by the digest of the handshake. So the first record is handed up as many small ones.

const (
	recordHeader    = 5 // type, version, length (RFC 8446 5.1)
	recordHandshake = 22
	maxRecord       = 1 << 14
	helloFragment   = 48 // fits, with its header, into the smallest buffer there is
)

// helloConn is a socket on which a TLS handshake begins.
type helloConn struct {
	net.Conn
	begun   bool
	pending []byte // of the first record
}

// Read implements net.Conn.
func (h *helloConn) Read(p []byte) (int, error) {
	if !h.begun {
		h.begun = true
		if err := h.first(); err != nil {
			return 0, err
		}
	}
	if h.pending == nil {
		return h.Conn.Read(p)
	}
	// One fragment at a time, since the buffer above grows with what there is to read.
	n := copy(p, h.pending[:min(len(h.pending), recordHeader+helloFragment)])
	if h.pending = h.pending[n:]; len(h.pending) == 0 {
		h.pending = nil
	}
	return n, nil
}

// first reads the first record. What is no handshake is left as it is, for TLS to refuse.
func (h *helloConn) first() error {
	var header [recordHeader]byte
	if _, err := io.ReadFull(h.Conn, header[:]); err != nil {
		return err
	}
	length := int(header[3])<<8 | int(header[4])
	if header[0] != recordHandshake || length > maxRecord {
		h.pending = header[:]
		return nil
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(h.Conn, content); err != nil {
		return err
	}
	h.pending = fragments(header, content)
	return nil
}

// fragments is a record as records of less. An empty one stays: that is for TLS to judge.
func fragments(header [recordHeader]byte, content []byte) []byte {
	out := make([]byte, 0, len(content)+recordHeader*(len(content)/helloFragment+1))
	for {
		n := min(len(content), helloFragment)
		out = append(append(out, header[:3]...), byte(n>>8), byte(n))
		out = append(out, content[:n]...)
		if content = content[n:]; len(content) == 0 {
			return out
		}
	}
}
