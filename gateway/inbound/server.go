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
	Message   time.Duration // all of a message, however steadily it comes; 2 hours
	Handshake time.Duration // TLS; 30 seconds
	Write     time.Duration // a reply; 1 minute

	park time.Duration // until a connection that waits for a command goes to sleep; parkAfter
}

// Config is what a Server needs. Hostname and NewSession are required.
type Config struct {
	Hostname   string
	NewSession NewSession
	Limits     func() Limits // asked for each connection, so that a reload counts at once
	Timeouts   Timeouts
	Logger     *slog.Logger
	// Refused is told of each connection or command that was refused by the server itself: "connections", "connections-per-client",
	// "connections-per-network", "client-score", "network-score", "junk", "idle-commands", "early-talker", "harvest", "auth", "timeout", "tls", "size", "recipients". May be nil.
	Refused func(reason string)
	// Replied is told of each reply that refuses something, 4xx or 5xx, whoever decided it. May be nil.
	Replied func(code int, enhanced smtp.EnhancedCode)
	// Known says whether an address is one of those that are known, as the networks of the two systems: the limits per network are not
	// for it. Nil: none is.
	Known func(netip.Addr) bool
	// GreetDelay is how long a client must be silent before it is greeted; 0 is not at all. EarlyTalkers says what becomes of one
	// that is not.
	GreetDelay   time.Duration
	EarlyTalkers EarlyTalkers
	// Greeting gives the two for a client's address, in place of the fields above: so that known systems are not kept waiting, and that a
	// reload counts at once. May be nil.
	Greeting func(client netip.Addr) (time.Duration, EarlyTalkers)
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
	// Proxied says whether a connection began with a PROXY header. Then what follows is the client's own words, and XCLIENT is not for it.
	// Nil: none does.
	Proxied func(net.Conn) bool
}

// Server speaks SMTP on any number of listeners.
type Server struct {
	config Config
	verbs  map[string]verb

	mu            sync.Mutex
	listeners     map[net.Listener]struct{}
	conns         map[*conn]struct{}
	perClient     map[netip.Addr]int
	perNetwork    map[netip.Prefix]int
	hurried       time.Time // when the idle were hurried last
	open          atomic.Int64
	reading       atomic.Int64 // messages that are being read
	stressAt      atomic.Int64
	scores        *scores // of clients
	networkScores *scores // by the first address
	draining      atomic.Bool
	quit          chan struct{} // closed when draining begins
	quitOnce      sync.Once
	wg            sync.WaitGroup
}

// New makes a server; it listens nowhere until Serve.
func New(config Config) *Server {
	t := &config.Timeouts
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&t.Command, 5 * time.Minute}, {&t.Data, 3 * time.Minute}, {&t.Message, 2 * time.Hour}, {&t.Handshake, 30 * time.Second}, {&t.Write, time.Minute}, {&t.park, parkAfter}} {
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
		config:        config,
		scores:        newScores(time.Now),
		networkScores: newScores(time.Now),
		quit:          make(chan struct{}),
		verbs:         commandTable(),
		listeners:     map[net.Listener]struct{}{},
		conns:         map[*conn]struct{}{},
		perClient:     map[netip.Addr]int{},
		perNetwork:    map[netip.Prefix]int{},
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
	go c.run((*conn).begin)
}

// enter counts a connection in, or says why not.
func (s *Server) enter(c *conn) *smtp.SMTPError {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits, client := c.limits, clientKey(c.client.Addr)
	c.network = s.networkOf(c.client.Addr)
	score := s.scores.add(client, 0)
	switch {
	case s.draining.Load():
		return fail(421, 4, 3, 2, s.config.Hostname+" is shutting down")
	case limits.Connections > 0 && len(s.conns) >= limits.Connections:
		s.config.Refused("connections")
		return fail(421, 4, 3, 2, s.config.Hostname+" has too many connections, try again later")
	case exceeds(score, limits.ClientScore):
		s.config.Refused("client-score")
		return s.retryLater("address", score)
	}
	if refusal := s.crowded(limits, client, c.network); refusal != nil {
		return refusal
	}
	if c.network.IsValid() {
		if score := s.networkScores.add(c.network.Addr(), 0); exceeds(score, limits.NetworkScore) {
			s.config.Refused("network-score")
			return s.retryLater("network", score)
		}
	}
	c.entered = true
	s.conns[c] = struct{}{}
	s.count(client, c.network)
	s.open.Store(int64(len(s.conns)))
	s.stressAt.Store(stressBegins(limits.Connections))
	s.hurry()
	return nil
}

// networkOf is the network that an address counts for, the zero Prefix for none.
func (s *Server) networkOf(a netip.Addr) netip.Prefix {
	if s.config.Known != nil && s.config.Known(a) {
		return netip.Prefix{}
	}
	return networkKey(a)
}

// crowded refuses one connection more of a client or a network that has enough. The server is locked.
func (s *Server) crowded(limits Limits, client netip.Addr, network netip.Prefix) *smtp.SMTPError {
	what := ""
	switch {
	case limits.ConnectionsPerClient > 0 && s.perClient[client] >= limits.ConnectionsPerClient:
		s.config.Refused("connections-per-client")
		what = "address"
	case network.IsValid() && limits.ConnectionsPerNetwork > 0 && s.perNetwork[network] >= limits.ConnectionsPerNetwork:
		s.config.Refused("connections-per-network")
		what = "network"
	default:
		return nil
	}
	return fail(421, 4, 7, 0, s.config.Hostname+" has too many connections from your "+what+", try again later")
}

// move counts a connection as that of another client, or says why not.
func (s *Server) move(c *conn, to netip.Addr) *smtp.SMTPError {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, client, network := clientKey(c.client.Addr), clientKey(to), s.networkOf(to)
	if from == client {
		return nil
	}
	s.forget(from, c.network)
	if refusal := s.crowded(c.limits, client, network); refusal != nil {
		s.count(from, c.network)
		return refusal
	}
	s.count(client, network)
	c.network = network
	return nil
}

// count and forget keep the numbers of connections. The server is locked.
func (s *Server) count(client netip.Addr, network netip.Prefix) {
	s.perClient[client]++
	if network.IsValid() {
		s.perNetwork[network]++
	}
}

func (s *Server) forget(client netip.Addr, network netip.Prefix) {
	if s.perClient[client]--; s.perClient[client] <= 0 {
		delete(s.perClient, client)
	}
	if !network.IsValid() {
		return
	}
	if s.perNetwork[network]--; s.perNetwork[network] <= 0 {
		delete(s.perNetwork, network)
	}
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.forget(clientKey(c.client.Addr), c.network)
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
		c.hangUp()
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
