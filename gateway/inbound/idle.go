package inbound

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A client that says nothing for a while costs as little as can be: its buffer is given back, and the goroutine of its dialogue, whose
// stack has grown, ends. One that has the smallest stack there is waits for the socket in its place.

var errAsleep = errors.New("asleep")

// rawConn is the socket under a connection, nil where there is none to wait for.
func rawConn(nc net.Conn) syscall.RawConn {
	if p, ok := nc.(interface{ Raw() net.Conn }); ok { // behind a PROXY header
		nc = p.Raw()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sleep waits, on a goroutine of its own, until something comes or the deadline passes, and goes on with the dialogue then. A read of
// the whole socket timed out just before, so that neither TLS nor anything else above it holds octets that nobody would wake for.
func (c *conn) sleep() {
	c.in.release()
	c.out = nil
	go func() {
		_ = c.raw.Read(readable) // whatever ends it: the dialogue reads, and sees
		go c.run((*conn).dialogue)
	}()
}

// readable says whether a read of a socket would return at once.
func readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}
