package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// peerKinds are the combinations of extensions that take different ways through the client.
var peerKinds = []struct {
	name string
	ext  []string
}{
	{"chunking", allExtensions},
	{"pipelining", without("CHUNKING", "BINARYMIME")},
	{"chunking without pipelining", without("PIPELINING")},
	{"plain", []string{"8BITMIME"}},
}

func TestDeliver(t *testing.T) {
	for _, k := range peerKinds {
		t.Run(k.name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.ext = k.ext
			tr := transport(t, nil, p.addr())
			for i := range 3 {
				res := deliver(t, tr, request(sample+fmt.Sprint(i)+"\r\n", "alexd@contoso.com", "juliai@contoso.com"))
				wantSummary(t, res, "delivered 250 2.0.0 eod; delivered 250 2.0.0 eod")
				if res[0].Host != "127.0.0.1" || res[0].Addr != p.addr() || res[0].Reply.Message != "taken" || res[0].Local {
					t.Errorf("result: %+v", res[0])
				}
			}
			got := p.got()
			if len(got) != 3 || p.connections() != 1 {
				t.Fatalf("%d messages over %d connections, want 3 over 1", len(got), p.connections())
			}
			for i, m := range got {
				if want := sample + fmt.Sprint(i) + "\r\n"; m.content != want {
					t.Errorf("message %d: got %q, want %q", i, m.content, want)
				}
				if diff := cmp.Diff([]string{"TO:<alexd@contoso.com>", "TO:<juliai@contoso.com>"}, m.to); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name        string
		ext         []string
		first, kept int // round trips: the first also has greeting and EHLO
	}{
		{"PIPELINING and CHUNKING", allExtensions, 4, 1},
		{"PIPELINING", without("CHUNKING"), 4, 2},
		{"neither", nil, 6, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.ext = c.ext
			tr := transport(t, nil, p.addr())
			last := 0
			for i := range 4 {
				wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
				want := c.kept
				if i == 0 {
					want = c.first
				}
				if got := p.trips() - last; got != want {
					t.Errorf("message %d took %d round trips, want %d", i, got, want)
				}
				last = p.trips()
			}
		})
	}
}

func TestContentOnTheWire(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	big := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n", 60_000)
	for _, c := range []struct {
		name     string
		segments []string
		want     string // as received; with CRLF at the end where DATA needs one
	}{
		{"dots at line starts", []string{".\r\n..\r\n.a\r\n a.b\r\n.\r\n"}, ".\r\n..\r\n.a\r\n a.b\r\n.\r\n"},
		{"dots at segment starts", []string{"a\r\n", ".b\r", "\n.c", ".d\r\n", "", "."}, "a\r\n.b\r\n.c.d\r\n.\r\n"},
		{"no final CRLF", []string{"a: b\r\n\r\nlast"}, "a: b\r\n\r\nlast\r\n"},
		{"lone LF", []string{"a: b\n\nc\n.\nd"}, "a: b\r\n\r\nc\r\n.\r\nd\r\n"},
		{"lone CR", []string{"a: b\r\r\nc\r", "d\r"}, "a: b\r\n\r\nc\r\nd\r\n"},
		{"smuggled end of data", []string{"a\n.\nMAIL FROM:<x@y>\r\r\n.\r\r\n"}, "a\r\n.\r\nMAIL FROM:<x@y>\r\n\r\n.\r\n\r\n"},
		{"a line of 70,000", []string{long + "\r\n"}, long + "\r\n"},
		{"3.6 MB", []string{big}, big},
	} {
		for _, k := range peerKinds {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				p := newPeer(t, nil)
				p.ext = k.ext
				tr := transport(t, nil, p.addr())
				r := request("", "alexd@contoso.com")
				r.Content = nil
				for _, s := range c.segments {
					r.Content = append(r.Content, []byte(s))
				}
				for range 2 { // a new and a kept connection
					wantSummary(t, deliver(t, tr, r), "delivered 250 2.0.0 eod")
				}
				for _, m := range p.got() {
					got := m.content
					if m.bdat && !strings.HasSuffix(got, "\r\n") {
						got += "\r\n"
					}
					if got != c.want {
						t.Errorf("got %q\nwant %q", head(got), head(c.want))
					}
				}
				if len(p.got()) != 2 {
					t.Errorf("%d messages", len(p.got()))
				}
			})
		}
	}
}

func head(s string) string { return s[:min(len(s), 300)] }

// TestMisbehaviour has a next hop that misbehaves at one verb, for good, and one recipient.
func TestMisbehaviour(t *testing.T) {
	long := "550-" + strings.Repeat("5.1.1 go away ", 140) + "\r\n"
	for _, c := range []struct {
		name   string
		script func(*peerConn, string, string) *act
		ext    []string
		want   string
		taken  int // messages that the peer has in the end
	}{
		{"5xx greeting", on("CONNECT", act{reply: "554 5.3.2 no", close: true}), nil, "deferred 451 4.4.1 connect", 0},
		{"4xx greeting", on("CONNECT", act{reply: "421 4.3.2 later", close: true}), nil, "deferred 451 4.4.1 connect", 0},
		{"closes at once", on("CONNECT", act{close: true}), nil, "deferred 451 4.4.2 connect", 0},
		{"hangs before the greeting", on("CONNECT", act{hang: true}), nil, "deferred 451 4.4.2 connect", 0},
		{"greets in HTTP", on("CONNECT", act{reply: "HTTP/1.1 400 Bad Request", close: true}), nil, "deferred 451 4.4.2 connect", 0},
		{"half a greeting", on("CONNECT", act{reply: "220-mx\r\n22~", close: true}), nil, "deferred 451 4.4.2 connect", 0},
		{"421 to EHLO", on("EHLO", act{reply: "421 4.3.2 later", close: true}), nil, "deferred 451 4.4.1 ehlo", 0},
		{"hangs at EHLO", on("EHLO", act{hang: true}), nil, "deferred 451 4.4.1 ehlo", 0},
		{"HELO only", on("EHLO", act{reply: "502 5.5.1 what"}), nil, "delivered 250 2.0.0 eod", 1},

		{"5xx MAIL", on("MAIL", act{reply: "550 5.7.1 not you"}), nil, "refused 550 5.7.1 mail", 0},
		{"4xx MAIL", on("MAIL", act{reply: "452 4.3.1 full"}), nil, "deferred 452 4.3.1 mail", 0},
		{"421 MAIL", on("MAIL", act{reply: "421 4.3.2 later", close: true}), nil, "deferred 421 4.3.2 mail", 0},
		{"hangs at MAIL", on("MAIL", act{hang: true}), nil, "deferred 451 4.4.2 mail", 0},
		{"closes at MAIL", on("MAIL", act{close: true}), nil, "deferred 451 4.4.2 mail", 0},
		{"354 to MAIL", on("MAIL", act{reply: "354 go"}), nil, "deferred 451 4.5.0 mail", 0},

		{"5xx RCPT", on("RCPT", act{reply: "550 5.1.1 unknown"}), nil, "refused 550 5.1.1 rcpt", 0},
		{"4xx RCPT", on("RCPT", act{reply: "450 4.2.0 greylisted"}), nil, "deferred 450 4.2.0 rcpt", 0},
		{"421 RCPT", on("RCPT", act{reply: "421 4.7.0 later", close: true}), nil, "deferred 421 4.7.0 rcpt", 0},
		{"hangs at RCPT", on("RCPT", act{hang: true}), nil, "deferred 451 4.4.2 rcpt", 0},
		{"not numeric", on("RCPT", act{reply: "OK whatever"}), nil, "deferred 451 4.5.0 rcpt", 0},
		{"no enhanced code", on("RCPT", act{reply: "550 unknown"}), nil, "refused 550 5.0.0 rcpt", 0},
		{"enhanced code of another class", on("RCPT", act{reply: "550 4.1.1 unknown"}), nil, "refused 550 5.0.0 rcpt", 0},
		{"100 KB reply", on("RCPT", act{reply: strings.Repeat(long, 50) + "550 5.1.1 end"}), nil, "refused 550 5.1.1 rcpt", 0},
		{"2 MB reply", on("RCPT", act{reply: strings.Repeat(long, 1100) + "550 5.1.1 end"}), nil, "refused 550 5.1.1 rcpt", 0},

		{"5xx DATA", on("DATA", act{reply: "554 5.6.0 no"}), without("CHUNKING"), "refused 554 5.6.0 data", 0},
		{"4xx DATA", on("DATA", act{reply: "451 4.3.0 no"}), without("CHUNKING"), "deferred 451 4.3.0 data", 0},
		{"421 DATA", on("DATA", act{reply: "421 4.3.0 no", close: true}), without("CHUNKING"), "deferred 421 4.3.0 data", 0},
		{"250 to DATA", on("DATA", act{reply: "250 ok", close: true}), without("CHUNKING"), "deferred 451 4.5.0 data", 0},
		{"hangs at DATA", on("DATA", act{hang: true}), without("CHUNKING"), "deferred 451 4.4.2 data", 0},
		{"closes at DATA", on("DATA", act{close: true}), without("CHUNKING"), "deferred 451 4.4.2 data", 0},

		{"5xx at the end", on("EOD", act{reply: "550 5.7.1 spam"}), without("CHUNKING"), "refused 550 5.7.1 eod", 0},
		{"4xx at the end", on("EOD", act{reply: "451 4.3.0 later"}), without("CHUNKING"), "deferred 451 4.3.0 eod", 0},
		{"421 at the end", on("EOD", act{reply: "421 4.3.0 later", close: true}), without("CHUNKING"), "deferred 421 4.3.0 eod", 0},
		{"closes after the final dot", on("EOD", act{close: true}), without("CHUNKING"), "deferred 451 4.4.2 eod uncertain", 0},
		{"half a reply after the final dot", on("EOD", act{reply: "250-2.0.0\r\n2~", close: true}), without("CHUNKING"), "deferred 451 4.4.2 eod uncertain", 0},
		{"garbage after the final dot", on("EOD", act{reply: "fine"}), without("CHUNKING"), "deferred 451 4.5.0 eod uncertain", 0},
		{"hangs after the final dot", on("EOD", act{hang: true}), without("CHUNKING"), "deferred 451 4.4.2 eod uncertain", 0},
		{"a reply of 2 MB after the final dot", on("EOD", act{reply: strings.Repeat("250-2.0.0 taken\r\n", 1<<17) + "250 2.0.0 taken"}), without("CHUNKING"), "delivered 250 2.0.0 eod", 1},
		{"a reply without end after the final dot", on("EOD", act{reply: strings.Repeat("250-2.0.0 taken\r\n", maxReplyRead/16) + "250 2.0.0 taken"}), without("CHUNKING"), "delivered 250 2.0.0 eod", 1},
		{"5xx BDAT", on("BDAT", act{reply: "550 5.7.1 spam"}), nil, "refused 550 5.7.1 eod", 0},
		{"421 BDAT", on("BDAT", act{reply: "421 4.3.0 later", close: true}), nil, "deferred 421 4.3.0 eod", 0},
		{"closes after BDAT", on("BDAT", act{close: true}), nil, "deferred 451 4.4.2 eod uncertain", 0},
		{"hangs after BDAT", on("BDAT", act{hang: true}), nil, "deferred 451 4.4.2 eod uncertain", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, c.script)
			if c.ext != nil {
				p.ext = c.ext
			}
			short := patience(c.name)
			tr := transport(t, func(o *Options) {
				o.Timeouts = Timeouts{Connect: short, Greeting: short, Command: short, DataStart: short, DataEnd: short}
			}, p.addr())
			res := deliver(t, tr, request(sample, "alexd@contoso.com"))
			wantSummary(t, res, c.want)
			if n := len(res[0].Reply.Message); n == 0 || n > maxReplyText+10 {
				t.Errorf("text of %d octets", n)
			}
			if len(p.got()) != c.taken {
				t.Errorf("the peer has %d messages, want %d", len(p.got()), c.taken)
			}
			for _, s := range tr.Stats() {
				if s.InUse != 0 || s.Waiting != 0 {
					t.Errorf("left in use: %+v", s)
				}
			}
		})
	}
}

// patience is how long a step may take in a case: short only where the peer hangs, and the machine may be slow elsewhere.
func patience(name string) time.Duration {
	if strings.HasPrefix(name, "hangs") {
		return time.Second
	}
	return 15 * time.Second
}

// TestOnceOnly has misbehaviours that pass: the message must arrive in the same attempt, exactly once.
func TestOnceOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		verb string
		a    act
		ext  []string
		kept bool // a message goes before
		cons int
	}{
		{"421 to MAIL", "MAIL", act{reply: "421 4.3.2 x", close: true}, nil, false, 2},
		{"421 to RCPT", "RCPT", act{reply: "421 4.3.2 x", close: true}, nil, true, 2},
		{"421 to DATA", "DATA", act{reply: "421 4.3.2 x", close: true}, without("CHUNKING"), true, 2},
		{"421 to the content", "EOD", act{reply: "421 4.3.2 x", close: true}, without("CHUNKING"), true, 2},
		{"421 to BDAT", "BDAT", act{reply: "421 4.3.2 x", close: true}, nil, true, 2},
		{"a kept connection closes at MAIL", "MAIL", act{close: true}, nil, true, 2},
		{"a kept connection closes at MAIL, without CHUNKING", "MAIL", act{close: true}, without("CHUNKING"), true, 2},
		{"a kept connection closes at RCPT, without CHUNKING", "RCPT", act{close: true}, without("CHUNKING"), true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			if c.ext != nil {
				p.ext = c.ext
			}
			tr := transport(t, nil, p.addr())
			want := 1
			if c.kept {
				deliver(t, tr, request(sample, "alexd@contoso.com"))
				want = 2
			}
			var once sync.Once
			p.set(func(_ *peerConn, verb, _ string) (a *act) {
				if verb == c.verb {
					once.Do(func() { a = &c.a })
				}
				return a
			})
			wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
			if len(p.got()) != want || p.connections() != c.cons {
				t.Errorf("%d messages over %d connections, want %d over %d", len(p.got()), p.connections(), want, c.cons)
			}
		})
	}
}

func TestMixedRecipients(t *testing.T) {
	script := func(_ *peerConn, verb, arg string) *act {
		switch {
		case verb == "RCPT" && strings.Contains(arg, "unknown"):
			return &act{reply: "550-5.1.1 The address\r\n550 5.1.1 is not known\x07"}
		case verb == "RCPT" && strings.Contains(arg, "full"):
			return &act{reply: "452 4.2.2 full"}
		}
		return nil
	}
	for _, k := range peerKinds {
		t.Run(k.name, func(t *testing.T) {
			p := newPeer(t, script)
			p.ext = k.ext
			tr := transport(t, nil, p.addr())
			for i := range 2 {
				res := deliver(t, tr, request(sample, "unknown@contoso.com", "alexd@contoso.com", "full@contoso.com", "juliai@contoso.com"))
				class := [2]string{"0.0", "1.1"}[1]
				wantSummary(t, res, "refused 550 5."+class+" rcpt; delivered 250 2.0.0 eod; deferred 452 4.2.2 rcpt; delivered 250 2.0.0 eod")
				if got := res[0].Reply.Message; got != "The address\nis not known?" {
					t.Errorf("text %q", got)
				}
				if got := p.got(); len(got) != i+1 || len(got[i].to) != 2 {
					t.Errorf("received %+v", got)
				}
			}
		})
	}
}

// TestNobodyAccepted: whatever the peer says to DATA or BDAT, nothing is delivered, and the next message goes through on the
// same connection.
func TestNobodyAccepted(t *testing.T) {
	for _, lax := range []bool{false, true} {
		for _, k := range peerKinds {
			t.Run(fmt.Sprintf("%s/accepts content all the same %v", k.name, lax), func(t *testing.T) {
				p := newPeer(t, nil)
				p.ext, p.lax = k.ext, lax
				tr := transport(t, nil, p.addr())
				wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
				p.set(on("RCPT", act{reply: "550 5.1.1 unknown"}))
				wantSummary(t, deliver(t, tr, request(sample+".\r\nMAIL FROM:<a@b>\r\n", "a@contoso.com", "b@contoso.com")),
					"refused 550 5.1.1 rcpt; refused 550 5.1.1 rcpt")
				p.set(nil)
				wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
				n := 0
				for _, m := range p.got() {
					if len(m.to) > 0 {
						n++
					}
				}
				if n != 2 || p.connections() != 1 {
					t.Errorf("%d messages over %d connections, want 2 over 1", n, p.connections())
				}
			})
		}
	}
}

// TestMAILRefusedButDATAAccepted: content must not be ended when nobody can say whom it would go to.
func TestMAILRefusedButDATAAccepted(t *testing.T) {
	p := newPeer(t, func(_ *peerConn, verb, _ string) *act {
		switch verb {
		case "MAIL":
			return &act{reply: "550 5.7.1 no"}
		case "DATA":
			return &act{reply: "354 go"}
		}
		return nil
	})
	p.ext = without("CHUNKING")
	tr := transport(t, nil, p.addr())
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "refused 550 5.7.1 mail")
	if p.count("EOD") != 0 || len(p.got()) != 0 {
		t.Error("the content was ended")
	}
}

func TestTooManyRecipients(t *testing.T) {
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("user%d@contoso.com", i))
	}
	for _, c := range []struct {
		name  string
		limit int // of the peer; 0: none
		want  []int
	}{
		{"100 in a transaction", 0, []int{100, 100, 50}},
		{"452 after 40", 40, []int{40, 40, 40, 40, 40, 40, 10}},
	} {
		for _, k := range peerKinds {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				p := newPeer(t, func(pc *peerConn, verb, _ string) *act {
					if verb == "RCPT" && c.limit > 0 && len(pc.msg.to) >= c.limit {
						return &act{reply: "452 4.5.3 Too many recipients"}
					}
					return nil
				})
				p.ext = k.ext
				tr := transport(t, nil, p.addr())
				for _, r := range deliver(t, tr, request(sample, to...)) {
					if r.Outcome != Delivered {
						t.Fatalf("%+v %v", r, r.Reply)
					}
				}
				var sizes []int
				seen := map[string]int{}
				for _, m := range p.got() {
					sizes = append(sizes, len(m.to))
					for _, a := range m.to {
						seen[a]++
					}
				}
				if diff := cmp.Diff(c.want, sizes); diff != "" || len(seen) != len(to) {
					t.Errorf("%d different recipients; transactions: %s", len(seen), diff)
				}
			})
		}
	}
}

func TestTooManyRecipientsForAll(t *testing.T) {
	p := newPeer(t, on("RCPT", act{reply: "452 4.5.3 Too many recipients"}))
	tr := transport(t, nil, p.addr())
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "deferred 452 4.5.3 rcpt")
}

func TestFailover(t *testing.T) {
	closed := func(t *testing.T) string { // a port that refuses
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	for _, c := range []struct {
		name   string
		script func(*peerConn, string, string) *act
		want   string
		second int // messages at the second host
	}{
		{"refused connection", nil, "delivered 250 2.0.0 eod", 1},
		{"5xx greeting", on("CONNECT", act{reply: "554 no", close: true}), "delivered 250 2.0.0 eod", 1},
		{"4xx greeting", on("CONNECT", act{reply: "421 no", close: true}), "delivered 250 2.0.0 eod", 1},
		{"hangs before the greeting", on("CONNECT", act{hang: true}), "delivered 250 2.0.0 eod", 1},
		{"hangs at EHLO", on("EHLO", act{hang: true}), "delivered 250 2.0.0 eod", 1},
		{"hangs at MAIL", on("MAIL", act{hang: true}), "delivered 250 2.0.0 eod", 1},
		{"closes at RCPT", on("RCPT", act{close: true}), "delivered 250 2.0.0 eod", 1},
		{"421 again and again", on("MAIL", act{reply: "421 4.3.2 no", close: true}), "delivered 250 2.0.0 eod", 1},
		{"recipient deferred", on("RCPT", act{reply: "450 4.2.0 later"}), "delivered 250 2.0.0 eod", 1},
		{"recipient refused", on("RCPT", act{reply: "550 5.1.1 no"}), "refused 550 5.1.1 rcpt", 0},
		{"message may have been taken", on("BDAT", act{close: true}), "deferred 451 4.4.2 eod uncertain", 0},
		{"hangs after the content", on("BDAT", act{hang: true}), "deferred 451 4.4.2 eod uncertain", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first := closed(t)
			if c.script != nil {
				first = newPeer(t, c.script).addr()
			}
			second := newPeer(t, nil)
			short := patience(c.name)
			tr := transport(t, func(o *Options) {
				o.Timeouts = Timeouts{Failover: short, Command: short, DataEnd: short}
			}, first, second.addr())
			res := deliver(t, tr, request(sample, "alexd@contoso.com"))
			wantSummary(t, res, c.want)
			if len(second.got()) != c.second {
				t.Errorf("second host has %d messages, want %d", len(second.got()), c.second)
			}
		})
	}
}

// TestFailoverKeepsTheAnswer: a host that cannot be reached does not replace what an earlier one said.
func TestFailoverKeepsTheAnswer(t *testing.T) {
	first := newPeer(t, on("RCPT", act{reply: "450 4.2.0 greylisted"}))
	second := newPeer(t, on("CONNECT", act{close: true}))
	tr := transport(t, nil, first.addr(), second.addr())
	res := deliver(t, tr, request(sample, "alexd@contoso.com"))
	wantSummary(t, res, "deferred 450 4.2.0 rcpt")
	if res[0].Addr != first.addr() {
		t.Errorf("address %s", res[0].Addr)
	}
}

func TestDeadIdleConnection(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *peer)
	}{
		{"closed", func(p *peer) { p.dropAll() }},
		{"421 first", func(p *peer) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for c := range p.open {
				fmt.Fprint(c, "421 4.4.2 idle too long\r\n")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			tr := transport(t, nil, p.addr())
			wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
			c.end(p)
			time.Sleep(20 * time.Millisecond) // for the loopback; without it the retry on a new connection is what is tested
			wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
			if len(p.got()) != 2 || p.connections() != 2 {
				t.Errorf("%d messages over %d connections", len(p.got()), p.connections())
			}
		})
	}
}

func TestPoolLimit(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	p := newPeer(t, func(_ *peerConn, verb, _ string) *act {
		if verb == "MAIL" {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		}
		return nil
	})
	tr := transport(t, func(o *Options) { o.ConnectionsPerHop = 3 }, p.addr())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if res := deliver(t, tr, request(sample, "alexd@contoso.com")); res[0].Outcome != Delivered {
				t.Errorf("%s: %v", summary(res), res[0].Reply)
			}
		})
	}
	wg.Wait()
	if most > 3 || p.connections() > 3 || len(p.got()) != 40 {
		t.Errorf("%d at once over %d connections, %d messages", most, p.connections(), len(p.got()))
	}
	if s := tr.Stats()[0]; s.Open != s.Idle || s.InUse != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPeerTakesFewer: a peer that takes two connections and greets the others with 421 costs no message its delivery.
func TestPeerTakesFewer(t *testing.T) {
	var mu sync.Mutex
	open := 0
	p := newPeer(t, nil)
	p.set(func(c *peerConn, verb, _ string) *act {
		mu.Lock()
		defer mu.Unlock()
		switch verb {
		case "CONNECT":
			if open == 2 {
				return &act{reply: "421 4.7.0 too many connections", close: true}
			}
			open++
		case "QUIT":
			open--
		case "MAIL":
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	tr := transport(t, nil, p.addr())
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if res := deliver(t, tr, request(sample, "alexd@contoso.com")); res[0].Outcome != Delivered {
				t.Errorf("%s: %v", summary(res), res[0].Reply)
			}
		})
	}
	wg.Wait()
	if s := tr.Stats()[0]; s.Limit > 2 || s.Circuit != "closed" {
		t.Errorf("%+v", s)
	}
}

func TestCircuit(t *testing.T) {
	p := newPeer(t, nil)
	addr := p.addr()
	p.stop()
	var changes []string
	var mu sync.Mutex
	tr := transport(t, func(o *Options) {
		o.HopChanged = func(s HopStats) {
			mu.Lock()
			changes = append(changes, s.Circuit)
			mu.Unlock()
		}
	}, addr)
	for range 4 {
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "deferred 451 4.4.1 connect")
	}
	s := tr.Stats()[0]
	if s.Circuit != "open" || s.Failures < 3 || !strings.Contains(s.LastError, "refused") || s.RetryAt.IsZero() {
		t.Fatalf("%+v", s)
	}
	res := deliver(t, tr, request(sample, "alexd@contoso.com"))
	if !strings.Contains(res[0].Reply.Message, "not tried") || !strings.Contains(res[0].Reply.Message, "refused") {
		t.Errorf("text %q", res[0].Reply.Message)
	}
	again := newPeerAt(t, addr, nil)
	for deadline := time.Now().Add(5 * time.Second); tr.Stats()[0].Circuit == "open" || tr.Stats()[0].Idle == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the circuit did not close")
		}
		time.Sleep(5 * time.Millisecond)
	}
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	if again.connections() != 1 {
		t.Errorf("%d connections, want that of the probe only", again.connections())
	}
	tr.Close()
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"open", "closed"}, changes); diff != "" {
		t.Error(diff)
	}
}

// TestRecoveryIsTold: mail that failed once on a configured hop need not wait for its next retry.
func TestRecoveryIsTold(t *testing.T) {
	p := newPeer(t, nil)
	addr := p.addr()
	p.stop()
	told := make(chan HopStats, 10)
	tr := transport(t, func(o *Options) { o.HopChanged = func(s HopStats) { told <- s } }, addr)
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "deferred 451 4.4.1 connect")
	newPeerAt(t, addr, nil)
	for {
		select {
		case s := <-told:
			if s.Circuit == "closed" {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was told")
		}
	}
}

func TestCancel(t *testing.T) {
	for _, c := range []struct {
		verb string
		want string
	}{
		{"CONNECT", "deferred 451 4.4.2 connect"},
		{"MAIL", "deferred 451 4.4.2 mail"},
		{"BDAT", "deferred 451 4.4.2 eod uncertain"},
	} {
		t.Run(c.verb, func(t *testing.T) {
			reached := make(chan struct{})
			p := newPeer(t, func(_ *peerConn, verb, _ string) *act {
				if verb == c.verb {
					close(reached)
					return &act{hang: true}
				}
				return nil
			})
			tr := transport(t, func(o *Options) { o.ConnectionsPerHop = 1 }, p.addr())
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				<-reached
				cancel()
			}()
			start := time.Now()
			wantSummary(t, tr.Deliver(ctx, request(sample, "alexd@contoso.com")), c.want)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
			if s := tr.Stats()[0]; s.Open != 0 {
				t.Errorf("connection left: %+v", s)
			}
		})
	}
}

func TestCancelWhileWaiting(t *testing.T) {
	p := newPeer(t, on("MAIL", act{hang: true}))
	tr := transport(t, func(o *Options) { o.ConnectionsPerHop = 1 }, p.addr())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { tr.Deliver(ctx, request(sample, "alexd@contoso.com")) })
	}
	for len(tr.Stats()) == 0 || tr.Stats()[0].Waiting != 4 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	if s := tr.Stats()[0]; s.Open != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func TestCloseAndReload(t *testing.T) {
	first, second := newPeer(t, nil), newPeer(t, nil)
	tr := transport(t, nil, first.addr())
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	tr.Reload(Options{Hostname: "gw2.contoso.com", Sides: map[routing.Side]Side{
		routing.OnPrem: {Name: routing.OnPrem, Hops: []string{second.addr()}, TLS: config.SideTLSNone}}})
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	if len(first.got()) != 1 || len(second.got()) != 1 {
		t.Errorf("%d and %d messages", len(first.got()), len(second.got()))
	}
	for _, s := range tr.Stats() {
		if s.Hop == first.addr() && s.Open != 0 {
			t.Errorf("still open: %+v", s)
		}
	}
	tr.Close()
	if first.count("QUIT") != 1 || second.count("QUIT") != 1 {
		t.Errorf("QUIT %d and %d times", first.count("QUIT"), second.count("QUIT"))
	}
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "deferred 451 4.3.2 route")
}

func TestConnectionsEnd(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	p := newPeer(t, nil)
	tr := transport(t, func(o *Options) { o.Clock, o.MessagesPerConnection = clock, 3 }, p.addr())
	send := func(wantConns int) {
		t.Helper()
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
		if p.connections() != wantConns {
			t.Fatalf("%d connections, want %d", p.connections(), wantConns)
		}
	}
	forward := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	send(1)
	send(1)
	send(1)
	send(2) // three messages were on the first
	forward(44 * time.Second)
	send(2)
	forward(46 * time.Second)
	send(3) // idle too long
}

func TestConnectionAge(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newPeer(t, nil)
	var mu sync.Mutex
	tr := transport(t, func(o *Options) {
		o.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	}, p.addr())
	var conns []int
	for range 10 {
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
		conns = append(conns, p.connections())
		mu.Lock()
		now = now.Add(40 * time.Second)
		mu.Unlock()
	}
	if diff := cmp.Diff([]int{1, 1, 1, 1, 1, 1, 1, 1, 2, 2}, conns); diff != "" {
		t.Error(diff)
	}
}

func TestNeverToItself(t *testing.T) {
	p := newPeer(t, nil)
	tr := transport(t, func(o *Options) { o.Self.Listeners = mustAddrPorts("0.0.0.0:" + fmt.Sprint(p.port())) }, p.addr())
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "deferred 451 4.4.6 route")
	if p.connections() != 0 {
		t.Error("it connected")
	}
}

func TestSideUnknown(t *testing.T) {
	tr := transport(t, nil, "127.0.0.1:1")
	r := request(sample, "alexd@contoso.com")
	r.Side = routing.Cloud
	wantSummary(t, deliver(t, tr, r), "deferred 451 4.3.5 route")
}

// TestEarlyRefusalOfContent: a peer that refuses in the middle of the content and closes is understood.
func TestEarlyRefusalOfContent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(nc, "220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n552 5.3.4 too big\r\n")
			buf := make([]byte, 1<<20) // reads on, so that no reset overtakes the reply, but takes its time to close
			for i := 0; i < 3; i++ {
				if _, err := nc.Read(buf); err != nil {
					break
				}
			}
			nc.(*net.TCPConn).CloseWrite()
			for err == nil {
				_, err = nc.Read(buf)
			}
			nc.Close()
		}
	}()
	tr := transport(t, nil, ln.Addr().String())
	wantSummary(t, deliver(t, tr, request(strings.Repeat(sample, 50_000), "alexd@contoso.com")), "refused 552 5.3.4 eod")
}

// TestRefusesMAILAndHangsUp: the refusal counts, not the lost connection.
func TestRefusesMAILAndHangsUp(t *testing.T) {
	for _, c := range []struct{ reply, want string }{
		{"550 5.7.1 blocked", "refused 550 5.7.1 mail; refused 550 5.7.1 mail"},
		{"451 4.7.1 not now", "deferred 451 4.7.1 mail; deferred 451 4.7.1 mail"},
	} {
		for _, k := range peerKinds {
			t.Run(c.reply+"/"+k.name, func(t *testing.T) {
				p := newPeer(t, nil)
				p.ext = k.ext
				tr := transport(t, nil, p.addr())
				for range 2 {
					p.set(nil)
					wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
					p.set(on("MAIL", act{reply: c.reply, close: true}))
					wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com", "juliai@contoso.com")), c.want)
				}
				if len(p.got()) != 2 {
					t.Errorf("%d messages", len(p.got()))
				}
			})
		}
	}
}

// brokenPipe fails every write after the first limit octets, as a connection does whose peer stopped reading.
type brokenPipe struct {
	net.Conn
	limit int
}

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.limit -= len(p); b.limit < 0 {
		return 0, syscall.EPIPE
	}
	return b.Conn.Write(p)
}

// TestStopsReadingContent: what a peer said before it stopped reading is its answer.
func TestStopsReadingContent(t *testing.T) {
	for _, c := range []struct{ last, want string }{
		{"552 5.3.4 too big", "refused 552 5.3.4 data"},
		{"452 4.3.1 disk full", "deferred 452 4.3.1 data"},
		{"421 4.3.2 stopping", "deferred 421 4.3.2 data"},
		{"250 2.0.0 taken", "deferred 451 4.5.0 data"},
		{"", "deferred 451 4.4.2 data"},
	} {
		t.Run(c.last, func(t *testing.T) {
			reply := "354 go"
			if c.last != "" {
				reply += "\r\n" + c.last
			}
			p := newPeer(t, on("DATA", act{reply: reply}))
			p.ext = without("CHUNKING")
			tr := transport(t, func(o *Options) {
				o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					return &brokenPipe{nc, 2 << 20}, err
				}
			}, p.addr())
			wantSummary(t, deliver(t, tr, request(strings.Repeat(sample, 40_000), "alexd@contoso.com")), c.want)
			if len(p.got()) != 0 {
				t.Error("half a message was taken")
			}
		})
	}
}

// TestUnixSocket: DialContext may give any connection, here one that is neither TCP nor TLS.
func TestUnixSocket(t *testing.T) {
	p := newPeer(t, nil)
	tr := transport(t, func(o *Options) {
		o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return struct{ net.Conn }{nc}, err
		}
	}, p.addr())
	for range 2 {
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	}
	if p.trips() != 5 {
		t.Errorf("%d round trips, want 5", p.trips())
	}
}

func TestLookupHop(t *testing.T) {
	p := newPeer(t, nil)
	var fail error
	tr := transport(t, func(o *Options) {
		o.MessagesPerConnection = 1
		o.LookupHop = lookupLoopback(&fail)
	}, fmt.Sprintf("mail.contoso.local:%d", p.port()))
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	fail = errors.New("no name server answers")
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	other := transport(t, func(o *Options) { o.LookupHop = lookupLoopback(&fail) }, "mail.contoso.local:25")
	res := deliver(t, other, request(sample, "alexd@contoso.com"))
	wantSummary(t, res, "deferred 451 4.4.3 connect")
	if res[0].Host != "mail.contoso.local" {
		t.Errorf("host %q", res[0].Host)
	}
	mapped := transport(t, func(o *Options) {
		o.LookupHop = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		}
	}, fmt.Sprintf("mail.contoso.local:%d", p.port()))
	res = deliver(t, mapped, request(sample, "alexd@contoso.com"))
	if got, want := res[0].Addr, p.addr(); got != want {
		t.Errorf("delivered to %q, want %q", got, want)
	}
}

// A connection that heard many refusals is not used for more messages.
func TestManyRefusalsEndTheConnection(t *testing.T) {
	p := newPeer(t, on("RCPT", act{reply: "450 4.2.0 greylisted"}))
	tr := transport(t, nil, p.addr())
	for range maxRefusals + 1 {
		deliver(t, tr, request("Subject: x\r\n\r\nx\r\n", "a@contoso.com"))
	}
	if n := p.connections(); n < 2 {
		t.Errorf("%d connections for %d refusals, want another one", n, maxRefusals+1)
	}
}
