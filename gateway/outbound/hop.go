package outbound

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/outbound/dane"
	"github.com/coexist-mail/coexist/routing"
)

// hopKey tells pools apart: connections are shared only where side, host, port and TLS policy are the same.
type hopKey struct {
	side routing.Side
	host string
	port uint16
	tls  config.SideTLS
	dane string // dane.Policy.Key, with tlsDANE
}

func (k hopKey) String() string { return net.JoinHostPort(k.host, strconv.Itoa(int(k.port))) }

// hopError is why a host could not be talked to. It never is the answer for a recipient: other hosts, or the same one
// later, are tried.
type hopError struct {
	stage    Stage
	enhanced smtp.EnhancedCode
	addr     string // ip:port, when one was reached for
	loop     bool   // the host is this gateway
	slow     bool   // it timed out
	err      error
}

func (e *hopError) Error() string { return e.err.Error() }
func (e *hopError) Unwrap() error { return e.err }

var errClosed = errors.New("the gateway is stopping")

// target is how a connection to a hop is made.
type target struct {
	addrs []netip.Addr // empty: look the configured name up
	hurry bool         // another host remains
}

// hop is the pool of connections to one host, its limit, and its circuit.
type hop struct {
	t    *Transport
	key  hopKey
	dane *dane.Policy // with tlsDANE

	mu          sync.Mutex
	idle        []*conn // used last comes last
	open        int     // slots taken: connections and connections being made
	established int     // connections
	waiters     list.List
	limit       int
	limitAt     time.Time // when limit last changed
	worked      time.Time // when a connection was last given back in order
	failures    int
	broken      bool // the circuit is open
	probing     bool // probe runs
	lastErr     *hopError
	retryAt     time.Time
	lastUse     time.Time
	target      target
	known       []netip.Addr // what the name last resolved to
}

// grant is what a delivery gets: a connection, or (nil) a slot to make one in.
type grant struct{ c *conn }

func newHop(t *Transport, key hopKey, policy *dane.Policy, s *settings) *hop {
	return &hop{t: t, key: key, dane: policy, limit: s.ConnectionsPerHop}
}

func (h *hop) touch(now time.Time) {
	h.mu.Lock()
	h.lastUse = now
	h.mu.Unlock()
}

// unusedFor is how long nobody delivered to the hop; 0 while it has connections.
func (h *hop) unusedFor(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open > 0 || h.waiters.Len() > 0 {
		return 0
	}
	return now.Sub(h.lastUse)
}

// acquire returns a connection to send one transaction on: a kept one, or (always with fresh) a new one. It waits for its
// turn when the limit is reached.
func (h *hop) acquire(ctx context.Context, s *settings, to target, fresh bool) (*conn, *hopError) {
	for {
		g, herr := h.turn(ctx, s, to, fresh)
		if herr != nil {
			return nil, herr
		}
		if g.c != nil {
			if g.c.usable(h.t.settings.Load()) {
				return g.c, nil
			}
			h.discard(g.c)
			continue
		}
		c, herr := h.connectInSlot(ctx, s, to)
		if herr == nil {
			return c, nil
		}
		if ctx.Err() == nil && h.shrink(herr, s.Clock()) {
			continue
		}
		return nil, herr
	}
}

// connectInSlot makes a connection in the slot that the caller was granted, and gives the slot back when that fails.
func (h *hop) connectInSlot(ctx context.Context, s *settings, to target) (*conn, *hopError) {
	if herr := h.brokenError(); herr != nil { // the circuit opened while it waited
		h.freeSlot()
		return nil, herr
	}
	c, herr := h.connect(ctx, s, to)
	if herr == nil {
		h.connected(s)
		return c, nil
	}
	if ctx.Err() == nil {
		h.failed(herr, s)
	}
	h.freeSlot()
	return nil, herr
}

// turn is the next grant: at once, or first come first served.
func (h *hop) turn(ctx context.Context, s *settings, to target, fresh bool) (grant, *hopError) {
	h.mu.Lock()
	h.target = target{addrs: to.addrs}
	h.grow(s)
	if !fresh && len(h.idle) > 0 {
		c := h.idle[len(h.idle)-1]
		h.idle = h.idle[:len(h.idle)-1]
		h.mu.Unlock()
		return grant{c}, nil
	}
	if herr := h.brokenErrorLocked(); herr != nil {
		h.mu.Unlock()
		return grant{}, herr
	}
	for fresh && h.open >= h.limit && len(h.idle) > 0 { // make room for a new one
		old := h.idle[0]
		h.idle = h.idle[1:]
		h.open--
		h.established--
		defer old.quit()
	}
	if h.open < h.limit {
		h.open++
		h.mu.Unlock()
		return grant{}, nil
	}
	ch := make(chan grant, 1)
	e := h.waiters.PushBack(ch)
	h.mu.Unlock()
	return h.wait(ctx, e, ch)
}

func (h *hop) wait(ctx context.Context, e *list.Element, ch chan grant) (grant, *hopError) {
	var err error
	select {
	case g := <-ch:
		return g, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-h.t.ctx.Done():
		err = errClosed
	}
	h.mu.Lock()
	h.waiters.Remove(e)
	h.mu.Unlock()
	select {
	case g := <-ch: // granted at the same moment: pass it on
		if g.c != nil {
			h.release(g.c, true)
		} else {
			h.freeSlot()
		}
	default:
	}
	return grant{}, &hopError{stage: StageConnect, enhanced: smtp.EnhancedCode{4, 4, 5},
		err: fmt.Errorf("waiting for a free connection: %w", err)}
}

// grow lets the limit recover, one connection every few seconds, after shrink or throttle. The caller holds mu.
func (h *hop) grow(s *settings) {
	const every = 5 * time.Second
	if now := s.Clock(); h.limit < s.ConnectionsPerHop && now.Sub(h.limitAt) >= every {
		h.limit++
		h.limitAt = now
	}
	h.limit = min(h.limit, s.ConnectionsPerHop)
	h.wakeLocked()
}

// shrink is told that a further connection could not be made. When others work and the host said no at once, it takes no
// more than those: the limit follows, and the caller waits for one of them.
func (h *hop) shrink(herr *hopError, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.livesLocked(herr, now) || herr.loop || h.broken {
		return false
	}
	h.limit, h.limitAt = h.established, now
	return true
}

// livesLocked reports whether the host serves other connections although a further one could not be made: it said no at
// once, or a transaction ended well a moment ago. The caller holds mu.
func (h *hop) livesLocked(herr *hopError, now time.Time) bool {
	const moment = 5 * time.Second
	return h.established > 0 && (!herr.slow || now.Sub(h.worked) < moment)
}

// throttle halves the limit: the host asked for less.
func (h *hop) throttle(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit, h.limitAt = max(1, h.limit/2), now
}

// release gives a connection back after a transaction; keep says that it can be used for another.
func (h *hop) release(c *conn, keep bool) {
	s := h.t.settings.Load()
	c.used = s.Clock()
	if !keep || h.t.ctx.Err() != nil || !c.fresh(s) {
		if keep {
			c.quit()
			h.freeConn()
			return
		}
		h.discard(c)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.worked = c.used
	if e := h.waiters.Front(); e != nil { // even over a limit that shrank: nobody may wait beside an idle connection
		h.waiters.Remove(e)
		e.Value.(chan grant) <- grant{c}
		return
	}
	h.idle = append(h.idle, c)
	if h.t.ctx.Err() != nil { // Close may have passed already
		h.idle = h.idle[:len(h.idle)-1]
		h.open--
		h.established--
		go c.close()
	}
}

// discard closes a connection without ceremony and frees its slot.
func (h *hop) discard(c *conn) {
	c.close()
	h.freeConn()
}

func (h *hop) freeConn() {
	h.mu.Lock()
	h.established--
	h.mu.Unlock()
	h.freeSlot()
}

// freeSlot gives a slot up, to whoever waits longest.
func (h *hop) freeSlot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	h.wakeLocked()
}

// wakeLocked gives free slots to those who wait. The caller holds mu.
func (h *hop) wakeLocked() {
	for h.open < h.limit && h.waiters.Len() > 0 {
		h.open++
		h.waiters.Remove(h.waiters.Front()).(chan grant) <- grant{}
	}
}

// closeIdle ends the idle connections that which selects.
func (h *hop) closeIdle(which func(*conn) bool) {
	h.mu.Lock()
	var end, keep []*conn
	for _, c := range h.idle {
		if which(c) {
			end = append(end, c)
		} else {
			keep = append(keep, c)
		}
	}
	h.idle = keep
	h.mu.Unlock()
	for _, c := range end {
		c.quit()
		h.freeConn()
	}
}

// renew adopts new settings.
func (h *hop) renew(s *settings) {
	h.mu.Lock()
	h.limit = s.ConnectionsPerHop
	h.wakeLocked()
	h.mu.Unlock()
	h.closeIdle(func(c *conn) bool { return !c.fresh(s) })
}

// brokenError is what a delivery is told while the circuit is open.
func (h *hop) brokenError() *hopError {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.brokenErrorLocked()
}

func (h *hop) brokenErrorLocked() *hopError {
	if !h.broken {
		return nil
	}
	e := *h.lastErr
	e.err = fmt.Errorf("not tried, %d connections failed in a row, the last: %w", h.failures, h.lastErr.err)
	return &e
}

// connected counts a connection that was made, and closes the circuit.
func (h *hop) connected(s *settings) {
	h.mu.Lock()
	closes := h.broken
	h.established++
	h.broken, h.failures, h.lastErr = false, 0, nil
	h.limit = max(h.limit, 1)
	h.mu.Unlock()
	if closes {
		h.isUp(s)
	}
}

func (h *hop) isUp(s *settings) {
	s.Logger.Info("next hop is up again", "side", h.key.side, "next_hop", h.key.String())
	h.changed(s)
}

// failed counts a connection that could not be made, and opens the circuit when there were too many in a row.
func (h *hop) failed(herr *hopError, s *settings) {
	h.mu.Lock()
	alarm := herr.loop && len(h.target.addrs) == 0 && (h.lastErr == nil || !h.lastErr.loop)
	h.lastErr = herr
	if h.livesLocked(herr, s.Clock()) {
		h.mu.Unlock()
		return // it takes no more connections at present
	}
	h.failures++
	opens := !h.broken && h.failures >= s.Backoff.Failures && !herr.loop
	h.broken = h.broken || opens
	// A configured hop is probed from its first failure, so that the mail which waits for it need not wait for the next retry.
	starts := !h.probing && !herr.loop && (h.broken || len(h.target.addrs) == 0)
	if starts {
		h.probing, h.retryAt = true, s.Clock().Add(s.Backoff.Min)
	}
	h.mu.Unlock()
	if alarm {
		s.Logger.Error("ALARM: a next hop of the configuration is this gateway itself, mail to the side waits", "side", h.key.side,
			"next_hop", h.key.String(), "error", herr.err, "fix", "name the mail system of the side in next_hop")
	}
	if opens {
		s.Logger.Warn("next hop is down", "side", h.key.side, "next_hop", h.key.String(), "error", herr.err)
		h.changed(s)
	}
	if starts {
		h.t.background(h.probe)
	}
}

// changed tells the owner of the transport about the circuit.
func (h *hop) changed(s *settings) {
	if s.HopChanged != nil {
		st := h.stats()
		h.t.background(func() { s.HopChanged(st) })
	}
}

// probe runs while the hop cannot be connected to: one connection at a time, after a growing pause. The first that works
// closes the circuit and is kept for the next message.
func (h *hop) probe() {
	pause := h.t.settings.Load().Backoff.Min
	for h.pause(pause) {
		s := h.t.settings.Load()
		if h.probed(s) {
			return
		}
		herr := h.probeOnce(s)
		if herr == nil {
			return
		}
		pause = nextPause(pause, herr, s.Backoff)
		h.mu.Lock()
		h.retryAt = s.Clock().Add(pause)
		h.mu.Unlock()
	}
}

// pause waits; false when the transport is closed.
func (h *hop) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.t.ctx.Done():
		return false
	}
}

// probed ends the probing of a hop that a delivery connected to meanwhile, or that nobody asked for in a long time; in the
// latter case the next message tries it again.
func (h *hop) probed(s *settings) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures > 0 && s.Clock().Sub(h.lastUse) < forgetAfter {
		return false
	}
	h.probing, h.broken, h.failures = false, false, 0
	return true
}

// probeOnce makes one connection. A success is always told: mail may wait for the hop, whether or not the circuit opened.
func (h *hop) probeOnce(s *settings) *hopError {
	h.mu.Lock()
	h.open++
	to := h.target
	h.mu.Unlock()
	c, herr := h.connect(h.t.ctx, s, to)
	if herr != nil {
		if h.t.ctx.Err() == nil {
			h.failed(herr, s)
		}
		h.freeSlot()
		return herr
	}
	h.mu.Lock()
	h.probing = false
	opened := h.broken
	h.mu.Unlock()
	h.connected(s)
	if !opened {
		h.isUp(s)
	}
	h.release(c, true)
	return nil
}

func nextPause(pause time.Duration, herr *hopError, b Backoff) time.Duration {
	if errors.Is(herr.err, syscall.ECONNREFUSED) {
		return b.Min
	}
	return min(2*pause, b.Max)
}

func (h *hop) stats() HopStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HopStats{Side: h.key.side, Hop: h.key.String(), TLS: h.key.tls, Open: h.open, Idle: len(h.idle),
		InUse: h.established - len(h.idle), Waiting: h.waiters.Len(), Limit: h.limit, Circuit: "closed", Failures: h.failures}
	if h.broken {
		s.Circuit, s.RetryAt = "open", h.retryAt
	}
	if h.lastErr != nil {
		s.LastError = h.lastErr.Error()
	}
	return s
}

// addresses are those that the host has at present, without the gateway's own. When the system's resolver fails, the last
// known ones are used: a name server that is down must not stop mail to a host that is up.
func (h *hop) addresses(ctx context.Context, s *settings, to target) ([]netip.Addr, *hopError) {
	addrs := to.addrs
	if len(addrs) == 0 {
		var herr *hopError
		if addrs, herr = h.lookup(ctx, s); herr != nil {
			return nil, herr
		}
	}
	others := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return s.self.hasAddr(a, h.key.port) })
	if len(others) == 0 {
		return nil, &hopError{stage: StageRoute, loop: true, err: fmt.Errorf("%s is this gateway itself", h.key)}
	}
	return others, nil
}

func (h *hop) lookup(ctx context.Context, s *settings) ([]netip.Addr, *hopError) {
	if a, err := netip.ParseAddr(h.key.host); err == nil {
		return []netip.Addr{a}, nil
	}
	found, err := s.LookupHop(ctx, h.key.host)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && len(found) > 0 {
		for i := range found { // the system's resolver gives IPv4 addresses in the form ::ffff:192.0.2.1, which no admin wants to read
			found[i] = found[i].Unmap()
		}
		h.known = found
		return found, nil
	}
	if len(h.known) > 0 {
		return h.known, nil
	}
	if err == nil {
		err = errors.New("the name has no address")
	}
	return nil, &hopError{stage: StageConnect, enhanced: smtp.EnhancedCode{4, 4, 3}, err: fmt.Errorf("looking %s up: %w", h.key.host, err)}
}
