package inbound

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// Client is what is known of the other end of a connection. A Session gets it after HELO or EHLO.
type Client struct {
	Addr     netip.Addr // the client's address; the PROXY header's where that is believed
	Port     uint16
	Helo     string               // the argument of HELO or EHLO; made of printable ASCII or valid UTF-8
	ESMTP    bool                 // EHLO
	TLS      *tls.ConnectionState // nil in clear text
	Listener string               // address of the listener that took the connection
	AuthUser string               // who authenticated (RFC 4954), or who a trusted proxy says did; else empty
}

// NewSession makes the session of a client that said hello. An error refuses the client, as a reply.
type NewSession func(Client) (smtp.Session, error)

// Timeouts bound how long a client may take. Zero values are replaced by the defaults.
type Timeouts struct {
	Command   time.Duration // for the next command; RFC 5321 4.5.3.2.7 asks for 5 minutes
	Data      time.Duration // without any octet of the message; RFC 5321 4.5.3.2.5 asks for 3 minutes
	Handshake time.Duration // TLS; 30 seconds
	Write     time.Duration // a reply; 1 minute
}

// Config is what a Server needs. Hostname and NewSession are required.
type Config struct {
	Hostname   string
	NewSession NewSession
	Limits     func() Limits // asked for each connection, so that a reload counts at once
	Timeouts   Timeouts
	Logger     *slog.Logger
	// Refused is told of each connection or command that was refused by the server itself: "connections", "connections-per-client",
	// "client-score", "junk", "idle-commands", "early-talker", "harvest", "auth", "timeout", "tls", "size", "recipients". May be nil.
	Refused func(reason string)
	// GreetDelay is how long a client must be silent before it is greeted; 0 is not at all. EarlyTalkers says what becomes of one
	// that is not.
	GreetDelay   time.Duration
	EarlyTalkers EarlyTalkers
	// Authenticator offers AUTH inside TLS; nil does not.
	Authenticator Authenticator
	// Record says how the connections of a client are recorded; nil, or a nil Recording, is not. It is asked for each connection.
	Record func(client netip.Addr) *Recording
}

// Listener is one place where a Server listens.
type Listener struct {
	net.Listener
	TLS      func() *tls.Config // nil: no TLS; asked for each handshake, so that new certificates count at once
	Implicit bool               // TLS from the first octet (RFC 8314)
	Required bool               // 530 5.7.0 before STARTTLS
	XClient  []netip.Prefix     // networks of proxies that may say, by XCLIENT, who their client is
}

// Server speaks SMTP on any number of listeners.
type Server struct {
	config Config
	verbs  map[string]verb

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perClient map[netip.Addr]int
	hurried   time.Time // when the idle were hurried last
	open      atomic.Int64
	stressAt  atomic.Int64
	scores    *scores
	draining  atomic.Bool
	quit      chan struct{} // closed when draining begins
	quitOnce  sync.Once
	wg        sync.WaitGroup
}

// New makes a server; it listens nowhere until Serve.
func New(config Config) *Server {
	t := &config.Timeouts
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&t.Command, 5 * time.Minute}, {&t.Data, 3 * time.Minute}, {&t.Handshake, 30 * time.Second}, {&t.Write, time.Minute}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if config.Refused == nil {
		config.Refused = func(string) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Limits == nil {
		config.Limits = func() Limits { return Limits{} }
	}
	s := &Server{
		config:    config,
		scores:    newScores(time.Now),
		quit:      make(chan struct{}),
		verbs:     commandTable(),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
		perClient: map[netip.Addr]int{},
	}
	s.stressAt.Store(stressBegins(0))
	return s
}

// Serve takes connections until Shutdown; then it returns nil. Other errors are the listener's.
func (s *Server) Serve(l Listener) error {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.listeners[l.Listener] = struct{}{}
	s.mu.Unlock()
	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			delay = 0
			s.start(nc, &l)
			continue
		}
		if s.draining.Load() || errors.Is(err, net.ErrClosed) {
			return nil
		}
		// Out of file descriptors, mostly: wait for some to come back rather than end.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.config.Logger.Error("cannot accept connections", "listener", l.Addr().String(), "error", err, "again_in", delay)
		time.Sleep(delay)
	}
}

func (s *Server) start(nc net.Conn, l *Listener) {
	c := newConn(s, nc, l)
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer nc.Close()
		// The address may come from a PROXY header, which is read here and not in the accept loop.
		c.client.Addr, c.client.Port = addrOf(nc.RemoteAddr())
		c.peer = proxyAddr(nc)
		c.record = s.recording(c.client.Addr)
		if refusal := s.enter(c); refusal != nil {
			c.refuse(refusal)
			return
		}
		defer s.leave(c)
		c.serve()
	}()
}

// enter counts a connection in, or says why not.
func (s *Server) enter(c *conn) *smtp.SMTPError {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits, client := c.limits, clientKey(c.client.Addr)
	score := s.scores.add(client, 0)
	switch {
	case s.draining.Load():
		return fail(421, 4, 3, 2, s.config.Hostname+" is shutting down")
	case limits.Connections > 0 && len(s.conns) >= limits.Connections:
		s.config.Refused("connections")
		return fail(421, 4, 3, 2, s.config.Hostname+" has too many connections, try again later")
	case limits.ConnectionsPerClient > 0 && s.perClient[client] >= limits.ConnectionsPerClient:
		s.config.Refused("connections-per-client")
		return s.crowded()
	case exceeds(score, limits.ClientScore):
		s.config.Refused("client-score")
		return retryLater(s.config.Hostname, score)
	}
	s.conns[c] = struct{}{}
	s.perClient[client]++
	s.open.Store(int64(len(s.conns)))
	s.stressAt.Store(stressBegins(limits.Connections))
	s.hurry()
	return nil
}

func (s *Server) crowded() *smtp.SMTPError {
	return fail(421, 4, 7, 0, s.config.Hostname+" has too many connections from your address, try again later")
}

// move counts a connection as that of another client, or says why not.
func (s *Server) move(c *conn, to netip.Addr) *smtp.SMTPError {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := clientKey(c.client.Addr), clientKey(to)
	if from == to {
		return nil
	}
	if limit := c.limits.ConnectionsPerClient; limit > 0 && s.perClient[to] >= limit {
		s.config.Refused("connections-per-client")
		return s.crowded()
	}
	s.forgetClient(from)
	s.perClient[to]++
	return nil
}

func (s *Server) forgetClient(client netip.Addr) {
	if s.perClient[client]--; s.perClient[client] <= 0 {
		delete(s.perClient, client)
	}
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.forgetClient(clientKey(c.client.Addr))
	s.open.Store(int64(len(s.conns)))
}

// Connections is the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown closes the listeners, tells waiting clients 421, lets messages that are being read or delivered finish, and cuts what
// is left when ctx ends; then it returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.quitOnce.Do(func() { close(s.quit) })
	s.mu.Lock()
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.wake()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.nc.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

func addrOf(a net.Addr) (netip.Addr, uint16) {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return ap.Addr().Unmap().WithZone(""), ap.Port()
	}
	if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		return ap.Addr().Unmap().WithZone(""), ap.Port()
	}
	return netip.Addr{}, 0
}

// proxyAddr is the address of the other end of the connection itself, whatever a PROXY header says.
func proxyAddr(nc net.Conn) netip.Addr {
	if p, ok := nc.(interface{ Raw() net.Conn }); ok {
		nc = p.Raw()
	}
	addr, _ := addrOf(nc.RemoteAddr())
	return addr
}
