// Package fakemta is a next hop for tests: a small, fast SMTP server that keeps what it accepts, and that can be told to
// refuse, delay, hang or drop at any command, by recipient.
//
//	mta, err := fakemta.Start(fakemta.Options{})
//	...
//	mta.SetRules(fakemta.Rule{Verb: fakemta.Rcpt, Match: "*@contoso.com", Reply: "450 4.2.0 busy", Times: 1})
//	... send to mta.Addr() ...
//	messages, err := mta.Wait(1, 10*time.Second)
//
// It is strict where a lenient server would hide faults of its client: only CRLF ends a line, only CRLF.CRLF a message,
// and parameters and octets of extensions that were not offered are refused.
package fakemta

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Extensions returns the EHLO keywords that are offered by default. STARTTLS is only offered with a certificate. BINARYMIME and REQUIRETLS,
// which are offered where Options.Extensions names them, are known as well.
func Extensions() []string {
	return []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS"}
}

// Options are how a server is started. The zero value listens on a port of 127.0.0.1 that the system chooses, and
// accepts everything.
type Options struct {
	// Address is host:port. Default: 127.0.0.1:0.
	Address string
	// Hostname is the name in the greeting and in the reply to EHLO. Default: mta.example.
	Hostname string
	// Extensions are the EHLO keywords that are offered. nil: those of Extensions; empty, not nil: none.
	Extensions []string
	// MaxSize is the SIZE that is announced and kept to, in octets. 0: no limit.
	MaxSize int64
	// TLS offers STARTTLS. Set ClientAuth to tls.RequestClientCert to learn the client's names.
	TLS *tls.Config
	// ImplicitTLS speaks TLS from the first octet (RFC 8314) instead of offering STARTTLS.
	ImplicitTLS bool
	// Rules are the first script; SetRules changes it.
	Rules []Rule
	// Discard keeps no message at all, only counts: for benchmarks.
	Discard bool
	// Forget hands messages to OnMessage and does not keep them in memory.
	Forget bool
	// OnMessage is called for each message before it is acknowledged, from several goroutines at a time. An error is
	// replied as 451 4.3.0, and the message is not kept. Data is nil with Discard.
	OnMessage func(*Message) error
	// IdleTimeout closes a connection that sends nothing for that long, with 421. Default: 10 minutes.
	IdleTimeout time.Duration
}

// Stats are counts since the start of a server.
type Stats struct {
	Connections   int          // accepted
	Open          int          // now
	MaxConcurrent int          // the most that were open at a time
	Messages      int          // accepted
	Octets        int64        // of accepted messages
	Commands      map[Verb]int // received, and for CONNECT, BODY and EOD how often that moment came
	Unannounced   int          // commands sent ahead without an offer of PIPELINING (RFC 2920 3.1)
}

// Server is a running fake MTA. Its methods may be called from several goroutines.
type Server struct {
	options  Options
	offered  map[string]bool
	listener net.Listener
	script   atomic.Pointer[script]
	done     chan struct{}
	wait     sync.WaitGroup

	connections atomic.Int64
	accepted    atomic.Int64
	octets      atomic.Int64
	unannounced atomic.Int64
	commands    [len(verbs)]atomic.Int64

	mu       sync.Mutex // guards what follows
	open     map[net.Conn]struct{}
	maxOpen  int
	messages []Message
	arrived  chan struct{} // closed and replaced when a message arrives
}

// Start listens and serves. Close ends it.
func Start(options Options) (*Server, error) {
	for _, rule := range options.Rules {
		if err := rule.Check(); err != nil {
			return nil, fmt.Errorf("start fake MTA: %w", err)
		}
	}
	if options.ImplicitTLS && options.TLS == nil {
		return nil, errors.New("start fake MTA: implicit TLS without a certificate")
	}
	setDefaults(&options)
	listener, err := net.Listen("tcp", options.Address)
	if err != nil {
		return nil, fmt.Errorf("start fake MTA: %w", err)
	}
	s := &Server{
		options:  options,
		offered:  map[string]bool{},
		listener: listener,
		done:     make(chan struct{}),
		open:     map[net.Conn]struct{}{},
		arrived:  make(chan struct{}),
	}
	for _, keyword := range options.Extensions {
		s.offered[strings.ToUpper(keyword)] = true
	}
	if options.TLS == nil || options.ImplicitTLS {
		delete(s.offered, "STARTTLS")
	}
	s.script.Store(newScript(options.Rules))
	s.wait.Add(1)
	go s.serve()
	return s, nil
}

func setDefaults(o *Options) {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.Hostname == "" {
		o.Hostname = "mta.example"
	}
	if o.Extensions == nil {
		o.Extensions = Extensions()
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 10 * time.Minute
	}
}

// Addr returns host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// SetRules replaces the script, with all counts at 0. Commands that come from now on follow it.
func (s *Server) SetRules(rules ...Rule) error {
	for _, rule := range rules {
		if err := rule.Check(); err != nil {
			return fmt.Errorf("set rules: %w", err)
		}
	}
	s.script.Store(newScript(rules))
	return nil
}

// Messages returns what was accepted so far, in the order of acknowledgement. Nothing with
// Options.Discard or Options.Forget.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Reset forgets the messages, not the counts.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = nil
}

// Wait returns the messages when there are at least n, or an error, with those that there are, after timeout.
func (s *Server) Wait(n int, timeout time.Duration) ([]Message, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		messages, arrived := s.messages, s.arrived
		s.mu.Unlock()
		if len(messages) >= n {
			return slices.Clone(messages), nil
		}
		select {
		case <-arrived:
		case <-timer.C:
			return slices.Clone(messages), fmt.Errorf("%d of %d messages arrived within %v", len(messages), n, timeout)
		case <-s.done:
			return slices.Clone(messages), fmt.Errorf("%d of %d messages arrived before the server was closed", len(messages), n)
		}
	}
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	stats := Stats{
		Connections: int(s.connections.Load()),
		Messages:    int(s.accepted.Load()),
		Octets:      s.octets.Load(),
		Commands:    map[Verb]int{},
		Unannounced: int(s.unannounced.Load()),
	}
	for i, verb := range verbs {
		if n := s.commands[i].Load(); n > 0 {
			stats.Commands[verb] = int(n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Open, stats.MaxConcurrent = len(s.open), s.maxOpen
	return stats
}

// CloseConnections closes all connections that are open, as a restarting MTA does. New ones are accepted.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		conn.Close()
	}
}

// Close closes the listener and all connections, and waits for their goroutines. It may be called twice.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.done:
		s.mu.Unlock()
		s.wait.Wait()
		return nil
	default:
	}
	close(s.done)
	s.mu.Unlock()
	err := s.listener.Close()
	s.CloseConnections()
	s.wait.Wait()
	return err
}

func (s *Server) serve() {
	defer s.wait.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !s.sleep(10*time.Millisecond) {
				return
			}
			continue // out of descriptors, or a client that was gone already
		}
		number := int(s.connections.Add(1))
		if !s.enter(conn) {
			conn.Close()
			return
		}
		go s.run(conn, number)
	}
}

// enter notes an open connection; false when the server is closing.
func (s *Server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return false
	default:
	}
	s.open[conn] = struct{}{}
	s.maxOpen = max(s.maxOpen, len(s.open))
	s.wait.Add(1)
	return true
}

func (s *Server) run(conn net.Conn, number int) {
	defer s.wait.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, conn)
	}()
	newSession(s, conn, number).run()
}

// sleep waits, and returns false when the server was closed meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.done:
		return false
	}
}

// keep takes a message that is about to be acknowledged.
func (s *Server) keep(m *Message) error {
	if s.options.OnMessage != nil {
		if err := s.options.OnMessage(m); err != nil {
			return err
		}
	}
	s.octets.Add(m.Size)
	if s.options.Discard || s.options.Forget {
		s.accepted.Add(1)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	number := int(s.accepted.Add(1))
	if m.Number == 0 {
		m.Number = number
	}
	s.messages = append(s.messages, *m)
	close(s.arrived)
	s.arrived = make(chan struct{})
	return nil
}

// keywords are the lines of the reply to EHLO.
func (s *Server) keywords(secure bool) []string {
	var lines []string
	for _, keyword := range s.options.Extensions {
		upper := strings.ToUpper(keyword)
		switch {
		case upper == "STARTTLS" && (secure || !s.offered[upper]):
			continue
		case upper == requireTLS && !secure:
			continue
		case upper == "SIZE" && s.options.MaxSize > 0:
			keyword += " " + strconv.FormatInt(s.options.MaxSize, 10)
		}
		lines = append(lines, keyword)
	}
	return lines
}
