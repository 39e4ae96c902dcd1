package inbound

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A Recording writes down dialogues, a line for each line that passed:
//
//	2026-03-02T03:04:05.678Z 127.0.0.1:51234 C: MAIL FROM:<someone@fabrikam.com>
//	2026-03-02T03:04:05.679Z 127.0.0.1:51234 S: 250 2.1.0 Sender OK
//	2026-03-02T03:04:05.712Z 127.0.0.1:51234 =  message of 2048 octets
//
// Passwords are left out, and so are messages unless Bodies is set. One Recording may serve many connections.
type Recording struct {
	w      io.Writer
	bodies bool
	mu     sync.Mutex
}

// Contents says whether a Recording has the messages too.
type Contents string

// What is recorded.
const (
	WithoutBodies Contents = ""
	WithBodies    Contents = "bodies" // as quoted strings, of what a message was read in
)

// NewRecording records to w. What w cannot take is lost: a recording never stops mail.
func NewRecording(w io.Writer, contents Contents) *Recording {
	return &Recording{w: w, bodies: contents == WithBodies}
}

// recording is that of a client, or nil.
func (s *Server) recording(client netip.Addr) *Recording {
	if s.config.Record == nil {
		return nil
	}
	return s.config.Record(client)
}

// note records a line, if the connection is recorded. mark is C, S or =.
func (c *conn) note(mark string, line []byte) {
	if c.record == nil {
		return
	}
	r := c.record
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	fmt.Fprintf(r.w, "%s %s:%d %-2s %s\n", at, c.client.Addr, c.client.Port, mark, visible(line))
}

// noteCommand records what the client said, without passwords (RFC 4954 4: they come with AUTH and behind 334).
func (c *conn) noteCommand(line []byte) {
	switch {
	case c.record == nil:
	case c.secret:
		c.note("C:", []byte("(response, not shown)"))
	default:
		c.note("C:", c.withoutSecrets(line))
	}
}

// withoutSecrets is a command as it is written down: of AUTH only the mechanism; and nothing of what is no command but looks like the response
// of a client that went on although its AUTH was refused.
func (c *conn) withoutSecrets(line []byte) []byte {
	words := strings.FieldsFunc(string(line), func(r rune) bool { return r <= ' ' })
	switch {
	case len(words) > 0 && strings.EqualFold(words[0], "AUTH"):
		return []byte("AUTH " + strings.Join(words[1:min(2, len(words))], "") + " (not shown)")
	case len(words) == 1 && looksLikeBase64(words[0]):
		if _, known := c.server.verbs[strings.ToUpper(words[0])]; !known {
			return []byte("(no command, not shown)")
		}
	}
	return line
}

// looksLikeBase64 takes what is long for a word too, since a client may get the padding wrong.
func looksLikeBase64(s string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
	return strings.Trim(s, alphabet) == "" && (len(s) >= 8 || len(s)%4 == 0)
}

// recorded wraps a source of message octets.
func (c *conn) recorded(next func() ([]byte, error)) func() ([]byte, error) {
	if c.record == nil {
		return next
	}
	var n int64
	done := false
	return func() ([]byte, error) {
		p, err := next()
		n += int64(len(p))
		if c.record.bodies && len(p) > 0 {
			c.note("D:", []byte(strconv.Quote(string(p))))
		}
		if err != nil && !done {
			done = true
			c.note("=", []byte("message of "+strconv.FormatInt(n, 10)+" octets: "+err.Error()))
		}
		return p, err
	}
}

// visible makes a line safe for a terminal.
func visible(line []byte) []byte {
	for _, r := range string(line) {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return []byte(strconv.Quote(string(line)))
		}
	}
	return line
}
