package inbound

import (
	"errors"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"
)

// A Truster is a session that says whether its client is known: limits that are made for strangers then do not apply.
type Truster interface{ Trusted() bool }

// EarlyTalkers says what becomes of clients that talk before it is their turn (RFC 5321 4.3.1, RFC 2920 3.1): before the greeting,
// or behind EHLO, DATA or STARTTLS in one go. Each is reported once a connection, as "early-talker".
type EarlyTalkers string

// The ways to treat them.
const (
	TolerateEarlyTalkers EarlyTalkers = ""       // they are served
	RefuseEarlyTalkers   EarlyTalkers = "refuse" // 554 5.5.1 and the end, unless the client is trusted
)

// early notices a client that talks early, and says whether that was its end.
func (c *conn) early() bool {
	if !c.wasEarly {
		c.wasEarly = true
		c.server.config.Refused("early-talker")
		c.server.config.Logger.Debug("client talks before it is its turn", "client", c.client.Addr)
	}
	if _, treatment := c.greeting(); treatment != RefuseEarlyTalkers || c.trusted.Load() {
		return false
	}
	c.reply(fail(554, 5, 5, 1, "You talk before it is your turn"))
	c.ending = true
	return true
}

// greeting is how long the client must be silent before it is greeted, and what becomes of it if it is not.
func (c *conn) greeting() (time.Duration, EarlyTalkers) {
	if f := c.server.config.Greeting; f != nil {
		return f(c.client.Addr)
	}
	return c.server.config.GreetDelay, c.server.config.EarlyTalkers
}

// awaitTurn is what comes before the greeting: a pause, if configured, in which the client must be silent. A shutdown ends it.
func (c *conn) awaitTurn() bool {
	if d, _ := c.greeting(); d > 0 {
		c.mu.Lock()
		c.waiting, c.since = true, time.Now()
		deadline := c.since.Add(d)
		if c.server.draining.Load() {
			deadline = time.Unix(1, 0)
		}
		c.nc.SetReadDeadline(deadline)
		c.mu.Unlock()
		err := c.in.fill()
		c.mu.Lock()
		c.waiting = false
		c.mu.Unlock()
		c.nc.SetReadDeadline(time.Time{})
		var ne net.Error
		if err == nil {
			return !c.early()
		}
		return errors.As(err, &ne) && ne.Timeout()
	}
	if hasInput(c.nc) {
		return !c.early()
	}
	return true
}

// hasInput looks, without waiting and without reading, whether there is something to read.
func hasInput(nc net.Conn) (there bool) {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		there = err == nil && n > 0
	})
	return there
}

// refusedRecipient counts a recipient that was refused, makes the client wait, and ends the connection of one that guesses (RFC 5321
// 7.3 leaves the means to us). The reply is given in between.
func (c *conn) refusedRecipient(refusal error) {
	var e *smtp.SMTPError
	if c.trusted.Load() || !errors.As(refusal, &e) || e.Code/100 != 5 {
		c.replyError(refusal)
		return
	}
	c.refused++
	score, tooMuch := c.gather(1)
	if over := c.refused - c.accepted - freeRefusals; over > 0 && c.limits.RefusalDelay > 0 {
		c.pause(min(time.Duration(over)*c.limits.RefusalDelay, maxRefusalDelay))
	}
	c.replyError(refusal)
	limit := c.limits.RefusedRecipients
	if c.server.stressed() && limit > 0 {
		limit = max(limit/stressFactor, 1)
	}
	if exceeds(c.refused, limit) || tooMuch {
		c.server.config.Refused("harvest")
		c.server.config.Logger.Warn("closing on a client that guesses recipients", "client", c.client.Addr, "refused", c.refused, "score", score)
		c.reply(fail(421, 4, 7, 0, "Too many recipients were refused, closing the connection"))
	}
}

func (c *conn) acceptedRecipient() {
	c.accepted++
	if c.refused > 0 {
		c.gather(-1)
	}
}

// pause gives the replies that are ready and waits. A shutdown ends it.
func (c *conn) pause(d time.Duration) {
	c.flush()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.server.quit:
	}
}

// idleCommand counts a command that leads to no message, and says whether that was one too many.
func (c *conn) idleCommand() bool {
	if c.idle++; c.trusted.Load() || !exceeds(c.idle, c.limits.IdleCommands) {
		return false
	}
	c.server.config.Refused("idle-commands")
	c.reply(fail(421, 4, 7, 0, "Too many commands without a message, closing the connection"))
	return true
}

// Under stress, when four fifths of the connections are taken, strangers get less: time and patience. Others wait for their place.
const (
	stressNumerator, stressDenominator = 4, 5
	stressTimeout                      = 10 * time.Second // Postfix has the same
	stressFactor                       = 10               // by which limits on errors shrink
)

func (s *Server) stressed() bool { return s.open.Load() >= s.stressAt.Load() }

// stressBegins is the number of connections at which stress begins.
func stressBegins(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return max(int64(limit)*stressNumerator/stressDenominator, 1)
}

// hurry shortens the wait for a command that began before the stress did. It is called with the server locked, at most once a second.
func (s *Server) hurry() {
	now := time.Now()
	if !s.stressed() || now.Sub(s.hurried) < time.Second {
		return
	}
	s.hurried = now
	for c := range s.conns {
		c.hurry(now)
	}
}

func (c *conn) hurry(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting || c.trusted.Load() || c.server.config.Timeouts.Command <= stressTimeout {
		return
	}
	// A moment, for one who is about to speak.
	deadline := c.since.Add(stressTimeout)
	if soon := now.Add(time.Second); deadline.Before(soon) {
		deadline = soon
	}
	c.nc.SetReadDeadline(deadline)
}

// patience is a timeout, shorter for strangers under stress.
func (c *conn) patience(d time.Duration) time.Duration {
	if d > stressTimeout && !c.trusted.Load() && c.server.stressed() {
		return stressTimeout
	}
	return d
}

// tooManyErrors says whether n commands without sense are too many.
func (c *conn) tooManyErrors() bool {
	limit := c.limits.Errors
	if !c.trusted.Load() && c.server.stressed() {
		limit = max(limit/stressFactor, 1)
	}
	return c.errors >= limit
}

// retryLater refuses a client, or its network, for what it asked for before.
func (s *Server) retryLater(whose string, score int) *smtp.SMTPError {
	return fail(421, 4, 7, 0, s.config.Hostname+" refused too much of what your "+whose+" asked for lately ("+strconv.Itoa(score)+"), try again later")
}
