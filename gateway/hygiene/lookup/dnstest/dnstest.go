// Package dnstest runs a name server on loopback for tests: its zone is a few lines of a master file.
package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
)

// Server answers from Zone. Questions for names under a domain of Broken get SERVFAIL, those under one of Silent no answer.
type Server struct {
	Address string // host:port, UDP and TCP

	mu      sync.Mutex
	zone    []dns.RR
	broken  []string
	silent  []string
	queries []string
}

// Start runs a server whose zone is in master-file form (RFC 1035 5), a record a line, until the test ends.
func Start(t testing.TB, zone string) *Server {
	t.Helper()
	s := &Server{}
	s.Add(t, zone)
	packet, stream := listen(t)
	s.Address = packet.LocalAddr().String()
	for _, server := range []*dns.Server{
		{PacketConn: packet, Handler: dns.HandlerFunc(s.answer)}, {Listener: stream, Handler: dns.HandlerFunc(s.answer)},
	} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return s
}

// listen takes a port that is free for UDP and TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	var last error
	for range 50 {
		packet, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packet.LocalAddr().String())
		if err == nil {
			return packet, stream
		}
		packet.Close()
		last = err
	}
	t.Fatal(last)
	return nil, nil
}

// Resolver asks the server, each question for at most timeout.
func (s *Server) Resolver(timeout time.Duration) *lookup.Bounded {
	return lookup.Bound(lookup.Server(s.Address), timeout)
}

// Add adds records.
func (s *Server) Add(t testing.TB, zone string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(zone) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		rr, err := dns.NewRR(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		s.zone = append(s.zone, rr)
	}
}

// Break makes the server fail for what is under domain.
func (s *Server) Break(domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, dns.Fqdn(domain))
}

// Silence makes the server not answer for what is under domain.
func (s *Server) Silence(domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = append(s.silent, dns.Fqdn(domain))
}

// Queries lists what was asked so far, as "name TYPE".
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := q.Question[0]
	s.queries = append(s.queries, question.Name+" "+dns.TypeToString[question.Qtype])
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true // else an empty answer reads as a lame referral
	switch {
	case under(question.Name, s.silent):
		return
	case under(question.Name, s.broken):
		m.Rcode = dns.RcodeServerFailure
	default:
		m.Rcode = dns.RcodeNameError
		for _, rr := range s.zone {
			if strings.EqualFold(rr.Header().Name, question.Name) {
				m.Rcode = dns.RcodeSuccess
				if rr.Header().Rrtype == question.Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		m.Truncate(dns.MinMsgSize)
	}
	w.WriteMsg(m)
}

func under(name string, domains []string) bool {
	for _, d := range domains {
		if dns.IsSubDomain(d, name) {
			return true
		}
	}
	return false
}
