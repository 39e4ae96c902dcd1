package milter_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
	"github.com/coexist-mail/coexist/gateway/message"
)

const mail = "Received: from a\r\n\tby b\r\nFrom: john@fabrikam.com\r\nsubject:no space\r\nX-Two: 1\r\nTo: bob@contoso.com\r\nX-Two:  2\r\n\r\nHello.\r\n\r\nBye"

var session = milter.Session{
	Client: netip.MustParseAddr("192.0.2.1"), Port: 4711, Helo: "mail.fabrikam.com", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256",
	CertSubject: "mail.fabrikam.com", CertIssuer: "Fabrikam CA", AuthUser: "printer", Listener: "192.0.2.25:25", Hostname: "gw1.contoso.com", ID: "ABC123",
	Envelope: message.Envelope{ReversePath: "john@fabrikam.com", Body: "8BITMIME", Recipients: []message.Recipient{{Address: "bob@contoso.com"}, {Address: "al@contoso.com"}}},
}

// filter is a milter that notes what it is told and answers by script. The library's server speaks version 2 of the protocol.
type filter struct {
	gomilter.NoOpMilter
	mu     sync.Mutex
	told   []string
	macros map[string]string
	body   strings.Builder
	at     map[string]gomilter.Response   // by step: what it answers
	end    func(*gomilter.Modifier) error // at the end of the message
}

func (f *filter) note(step, what string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, step+" "+what)
	for k, v := range m.Macros {
		f.macros[k] = v
	}
	if r := f.at[step]; r != nil {
		return r, nil
	}
	return gomilter.RespContinue, nil
}

func (f *filter) Connect(host, family string, port uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("connect", fmt.Sprint(host, " ", family, " ", port, " ", addr), m)
}

func (f *filter) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("helo", name, m)
}

func (f *filter) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("mail", from, m)
}

func (f *filter) RcptTo(to string, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("rcpt", to, m)
}

func (f *filter) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("header", name+"|"+value, m)
}

func (f *filter) Headers(h textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	return f.note("eoh", "", m)
}

func (f *filter) BodyChunk(chunk []byte, m *gomilter.Modifier) (gomilter.Response, error) {
	f.body.Write(chunk)
	return f.note("body", "", m)
}

func (f *filter) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	if f.end != nil {
		if err := f.end(m); err != nil {
			return nil, err
		}
	}
	r, err := f.note("end", "", m)
	if r == gomilter.RespContinue {
		r = gomilter.RespAccept
	}
	return r, err
}

// serve runs f until the test ends and returns its address.
func serve(t testing.TB, network string, f *filter) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "m.sock")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f.macros = make(map[string]string)
	s := &gomilter.Server{
		NewMilter: func() gomilter.Milter { return f },
		Actions:   gomilter.OptAddHeader | gomilter.OptChangeBody | gomilter.OptAddRcpt | gomilter.OptRemoveRcpt | gomilter.OptChangeHeader | gomilter.OptQuarantine,
	}
	go s.Serve(ln)
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func chain(t testing.TB, filters ...milter.Filter) *milter.Chain {
	t.Helper()
	c, err := milter.New(filters...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The filter hears what the session was, in its order, and every octet of the message.
func TestWhatTheFilterHears(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			f := &filter{}
			v := chain(t, milter.Filter{Address: serve(t, network, f)}).Examine(context.Background(), session, []byte(mail))
			if v.Reply != nil || v.Message != nil || len(v.Failed) > 0 || v.Discard {
				t.Fatalf("%+v", v)
			}
			want := []string{"connect [192.0.2.1] tcp4 4711 192.0.2.1", "helo mail.fabrikam.com", "mail john@fabrikam.com", "rcpt bob@contoso.com", "rcpt al@contoso.com",
				"header Received|from a\n\tby b", "header From|john@fabrikam.com", "header subject|no space", "header X-Two|1", "header To|bob@contoso.com", "header X-Two| 2",
				"eoh ", "body ", "end "}
			if diff := cmp.Diff(want, f.told); diff != "" {
				t.Error(diff)
			}
			if f.body.String() != "Hello.\r\n\r\nBye" {
				t.Errorf("body %q", f.body.String())
			}
			macros := map[string]string{"j": "gw1.contoso.com", "{daemon_name}": "coexist", "v": "coexist", "{client_addr}": "192.0.2.1", "{client_name}": "[192.0.2.1]",
				"{client_port}": "4711", "{client_ptr}": "[192.0.2.1]", "{daemon_addr}": "192.0.2.25", "{daemon_port}": "25",
				"{tls_version}": "TLSv1.3", "{cipher}": "TLS_AES_128_GCM_SHA256", "{cipher_bits}": "128", "{cert_subject}": "mail.fabrikam.com", "{cert_issuer}": "Fabrikam CA",
				"i": "ABC123", "{mail_addr}": "john@fabrikam.com", "{mail_host}": "fabrikam.com", "{mail_mailer}": "smtp", "{auth_type}": "PLAIN", "{auth_authen}": "printer",
				"{rcpt_addr}": "al@contoso.com", "{rcpt_host}": "contoso.com", "{rcpt_mailer}": "smtp"}
			if diff := cmp.Diff(macros, f.macros); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIPv6AndLargeBody(t *testing.T) {
	f := &filter{}
	s := session
	s.Client = netip.MustParseAddr("2001:db8::1")
	body := strings.Repeat("0123456789abcdef", 20_000)
	v := chain(t, milter.Filter{Address: serve(t, "tcp", f)}).Examine(context.Background(), s, []byte("A: b\r\n\r\n"+body))
	if v.Reply != nil || f.body.String() != body {
		t.Errorf("reply %v, body of %d octets", v.Reply, f.body.Len())
	}
	if f.told[0] != "connect [2001:db8::1] tcp6 4711 2001:db8::1" {
		t.Error(f.told[0])
	}
}

func TestActions(t *testing.T) {
	reject := func(text string) gomilter.Response { return gomilter.NewResponseStr('y', text) }
	for _, c := range []struct {
		name string
		at   map[string]gomilter.Response
		want string // code, enhanced code and text, or "accept", "discard"
	}{
		{"accept at once", map[string]gomilter.Response{"connect": gomilter.RespAccept}, "accept"},
		{"reject the client", map[string]gomilter.Response{"connect": gomilter.RespReject}, "550 [5 7 1] Message refused by a content filter"},
		{"reject HELO", map[string]gomilter.Response{"helo": gomilter.RespReject}, "550 [5 7 1] Message refused by a content filter"},
		{"put off the sender", map[string]gomilter.Response{"mail": gomilter.RespTempFail}, "451 [4 7 1] Message put off by a content filter, try again later"},
		{"reject a recipient", map[string]gomilter.Response{"rcpt": reject("550 5.1.1 Nobody")}, "550 [5 1 1] Nobody"},
		{"reject in the header", map[string]gomilter.Response{"header": gomilter.RespReject}, "550 [5 7 1] Message refused by a content filter"},
		{"discard in the body", map[string]gomilter.Response{"body": gomilter.RespDiscard}, "discard"},
		{"own reply", map[string]gomilter.Response{"end": reject("554 5.7.1 Virus found: Eicar")}, "554 [5 7 1] Virus found: Eicar"},
		{"own temporary reply", map[string]gomilter.Response{"end": reject("452 4.2.2 Busy")}, "452 [4 2 2] Busy"},
		{"a reply of several lines", map[string]gomilter.Response{"end": reject("554 5.7.1 One\r\n250 2.0.0 Two")}, "554 [5 7 1] One 250 2.0.0 Two"},
		{"a reply that is none", map[string]gomilter.Response{"end": reject("250 2.0.0 Fine")}, "550 [5 7 1] Fine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &filter{at: c.at}
			v := chain(t, milter.Filter{Address: serve(t, "tcp", f)}).Examine(context.Background(), session, []byte(mail))
			got := "accept"
			switch {
			case v.Discard:
				got = "discard"
			case v.Reply != nil:
				got = fmt.Sprint(v.Reply.Code, v.Reply.EnhancedCode, " ", v.Reply.Message)
			}
			if got != c.want || len(v.Failed) > 0 {
				t.Errorf("%s, want %s (%v)", got, c.want, v.Failed)
			}
		})
	}
}

func TestModifications(t *testing.T) {
	for _, c := range []struct {
		name string
		msg  string
		end  func(m *gomilter.Modifier) error
		want string // "" for unchanged
	}{
		{"nothing", mail, func(m *gomilter.Modifier) error { return nil }, ""},
		{"add", mail, func(m *gomilter.Modifier) error { return m.AddHeader("X-Spam", "YES") }, strings.Replace(mail, "\r\n\r\nHello", "\r\nX-Spam: YES\r\n\r\nHello", 1)},
		{"insert on top", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X-Spam", "YES") }, "X-Spam: YES\r\n" + mail},
		{"insert third", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(2, "X-Spam", "YES") }, strings.Replace(mail, "subject:", "X-Spam: YES\r\nsubject:", 1)},
		{"insert far behind", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(99, "X-Spam", "YES") }, strings.Replace(mail, "\r\n\r\nHello", "\r\nX-Spam: YES\r\n\r\nHello", 1)},
		{"change, name as written", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "Subject", "[SPAM] no space") }, strings.Replace(mail, "subject:no", "subject: [SPAM] no", 1)},
		{"change the second", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(2, "X-Two", "3") }, strings.Replace(mail, "X-Two:  2", "X-Two: 3", 1)},
		{"change what is not there", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(3, "X-Two", "3") }, strings.Replace(mail, "\r\n\r\nHello", "\r\nX-Two: 3\r\n\r\nHello", 1)},
		{"delete the first", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "x-two", "") }, strings.Replace(mail, "X-Two: 1\r\n", "", 1)},
		{"delete a folded one", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "Received", "") }, strings.TrimPrefix(mail, "Received: from a\r\n\tby b\r\n")},
		{"delete what is not there", mail, func(m *gomilter.Modifier) error { return m.ChangeHeader(1, "X-None", "") }, ""},
		{"folded value", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X-Spam", "YES,\n\tscore 9\n and\r\n more") }, "X-Spam: YES,\r\n\tscore 9\r\n and\r\n more\r\n" + mail},
		{"a value that would end the header", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X-Spam", "a\n\nBcc: x\n \nBody") }, "X-Spam: a\r\n\tBcc: x\r\n\tBody\r\n" + mail},
		{"a name that is none", mail, func(m *gomilter.Modifier) error { return m.InsertHeader(0, "X Spam:", "a") }, ""},
		{"body", mail, func(m *gomilter.Modifier) error { return m.ReplaceBody([]byte("Clean.\n")) }, mail[:strings.Index(mail, "Hello.")] + "Clean.\r\n"},
		{"several", mail, func(m *gomilter.Modifier) error {
			return errors.Join(m.InsertHeader(0, "A", "1"), m.InsertHeader(0, "B", "2"), m.ChangeHeader(1, "A", ""), m.AddHeader("C", "3"))
		}, "B: 2\r\n" + strings.Replace(mail, "\r\n\r\nHello", "\r\nC: 3\r\n\r\nHello", 1)},
		{"no header", "\r\nbody\r\n", func(m *gomilter.Modifier) error { return m.AddHeader("A", "1") }, "A: 1\r\n\r\nbody\r\n"},
		{"no body, last line open", "A: 1", func(m *gomilter.Modifier) error { return m.AddHeader("B", "2") }, "A: 1\r\nB: 2\r\n"},
		{"body for a message without", "A: 1", func(m *gomilter.Modifier) error { return m.ReplaceBody([]byte("x")) }, "A: 1\r\n\r\nx"},
		{"line endings of the message", "A: 1\n\nx\n", func(m *gomilter.Modifier) error { return m.AddHeader("B", "2\n 3") }, "A: 1\nB: 2\n 3\n\nx\n"},
		{"what is no field", "From x Mon\r\nA: 1\r\nbad line\r\n\r\n", func(m *gomilter.Modifier) error { return m.InsertHeader(0, "B", "2") }, "From x Mon\r\nB: 2\r\nA: 1\r\nbad line\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &filter{end: c.end}
			v := chain(t, milter.Filter{Address: serve(t, "tcp", f)}).Examine(context.Background(), session, []byte(c.msg))
			if len(v.Failed) > 0 || v.Reply != nil {
				t.Fatalf("%+v", v)
			}
			if (v.Message != nil) != (c.want != "") {
				t.Fatalf("changed: %v", v.Message != nil)
			}
			if c.want != "" {
				if diff := cmp.Diff(c.want, string(v.Message.Bytes())); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Each filter sees what those before it made of the message; a refusal ends the list.
func TestChain(t *testing.T) {
	first := &filter{end: func(m *gomilter.Modifier) error {
		return errors.Join(m.AddHeader("X-First", "seen"), m.Quarantine("looks\r\nodd"), m.AddRecipient("x@fabrikam.com"))
	}}
	second := &filter{at: map[string]gomilter.Response{"end": gomilter.RespReject}}
	third := &filter{}
	c := chain(t, milter.Filter{Address: serve(t, "tcp", first)}, milter.Filter{Address: serve(t, "unix", second)}, milter.Filter{Address: serve(t, "tcp", third)})
	v := c.Examine(context.Background(), session, []byte(mail))
	if v.Reply == nil || v.Reply.Code != 550 || v.Quarantine != "looks odd" || len(third.told) != 0 {
		t.Errorf("%+v, third told %d", v, len(third.told))
	}
	if !strings.Contains(strings.Join(second.told, "\n"), "header X-First|seen") {
		t.Errorf("the second filter does not see the work of the first: %q", second.told)
	}
	if diff := cmp.Diff([]string{"recipient +<x@fabrikam.com>"}, v.Ignored); diff != "" {
		t.Error(diff)
	}
}

// scripted is a server at the level of packets: it answers each packet by what script returns for its code; nil closes.
func scripted(t *testing.T, script func(code byte) []string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					var n uint32
					if binary.Read(conn, binary.BigEndian, &n) != nil || n == 0 || n > 1<<20 {
						return
					}
					packet := make([]byte, n)
					if _, err := io.ReadFull(conn, packet); err != nil {
						return
					}
					if packet[0] == 'D' {
						continue
					}
					answers := script(packet[0])
					if answers == nil {
						return
					}
					for _, a := range answers {
						binary.Write(conn, binary.BigEndian, uint32(len(a)))
						io.WriteString(conn, a)
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// negotiation is a version 6 answer to OPTNEG, with steps that it wants left out.
func negotiation(steps uint32) string {
	b := binary.BigEndian.AppendUint32([]byte{'O'}, 6)
	b = binary.BigEndian.AppendUint32(b, 0x7f)
	return string(binary.BigEndian.AppendUint32(b, steps))
}

// Filters that break off, say nonsense or nothing at all count as not available, within their time.
func TestTrouble(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	answer := func(by map[byte][]string) func(byte) []string {
		return func(code byte) []string {
			if a, ok := by[code]; ok {
				return a
			}
			if code == 'O' {
				return []string{negotiation(0)}
			}
			return []string{"c"}
		}
	}
	for name, address := range map[string]string{
		"nobody listens":         closed.Addr().String(),
		"no socket":              filepath.Join(t.TempDir(), "none.sock"),
		"never answers":          silent.Addr().String(),
		"closes at once":         scripted(t, func(byte) []string { return nil }),
		"closes at the end":      scripted(t, answer(map[byte][]string{'E': nil})),
		"is no milter":           scripted(t, answer(map[byte][]string{'O': {"HTTP/1.1 400 Bad Request"}})),
		"short negotiation":      scripted(t, answer(map[byte][]string{'O': {"O\x00\x00"}})),
		"answer of no kind":      scripted(t, answer(map[byte][]string{'M': {"Z"}})),
		"reply without a code":   scripted(t, answer(map[byte][]string{'E': {"yabc def\x00"}})),
		"reply too short":        scripted(t, answer(map[byte][]string{'E': {"y55"}})),
		"modification too short": scripted(t, answer(map[byte][]string{'E': {"m\x00", "a"}})),
		"keeps us waiting":       scripted(t, answer(map[byte][]string{'E': {"p"}})),
		"accepts after garbage":  scripted(t, answer(map[byte][]string{'E': {"", "a"}})),
	} {
		for _, fallback := range []milter.Fallback{"", milter.Accept} {
			t.Run(name+" "+string(fallback), func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				c := chain(t, milter.Filter{Address: address, Fallback: fallback, Connect: 300 * time.Millisecond, Answer: 300 * time.Millisecond, Total: time.Second})
				v := c.Examine(context.Background(), session, []byte(mail))
				if len(v.Failed) != 1 || !strings.Contains(v.Failed[0].Error(), address) {
					t.Errorf("errors %v", v.Failed)
				}
				if put := v.Reply != nil && v.Reply.Code == 451; put != (fallback == "") || v.Message != nil {
					t.Errorf("%+v", v)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

// A filter that always says that it is working is cut off when the time of the session is over.
func TestProgressIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			if _, err := io.WriteString(conn, "\x00\x00\x00\x01p"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	start := time.Now()
	v := chain(t, milter.Filter{Address: ln.Addr().String(), Answer: time.Minute, Total: 300 * time.Millisecond}).Examine(context.Background(), session, []byte(mail))
	if took := time.Since(start); len(v.Failed) != 1 || took > 5*time.Second {
		t.Errorf("%v, took %v", v.Failed, took)
	}
}

// A version 6 filter may leave out steps and answers.
func TestVersion6(t *testing.T) {
	var mu sync.Mutex
	var codes []byte
	const leaveOut = 1<<0 | 1<<1 | 1<<4 | 1<<7 | 1<<15 // no connect, helo, body; no answers to header and rcpt
	address := scripted(t, func(code byte) []string {
		mu.Lock()
		codes = append(codes, code)
		mu.Unlock()
		switch code {
		case 'O':
			return []string{negotiation(leaveOut)}
		case 'L', 'R':
			return []string{}
		case 'E':
			return []string{"p", "hX-Spam\x00YES\x00", "qodd\x00", "ex@fabrikam.com\x00", "c"}
		}
		return []string{"c"}
	})
	v := chain(t, milter.Filter{Address: address}).Examine(context.Background(), session, []byte(mail))
	if len(v.Failed) > 0 || v.Quarantine != "odd" || v.Message == nil || !strings.Contains(string(v.Message.Bytes()), "X-Spam: YES\r\n\r\nHello") {
		t.Errorf("%+v", v)
	}
	if diff := cmp.Diff([]string{"sender x@fabrikam.com"}, v.Ignored); diff != "" {
		t.Error(diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.TrimRight(string(codes), "AQ"); got != "OMRRTLLLLLLNE" {
		t.Errorf("steps %s", got)
	}
}

func TestNewRefusesBadFilters(t *testing.T) {
	for _, f := range []milter.Filter{{Address: ""}, {Address: "localhost"}, {Address: ":11332"}, {Address: "127.0.0.1:1", Fallback: "perhaps"}} {
		if _, err := milter.New(f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
	if _, err := milter.New(milter.Filter{Address: "unix:/run/m.sock"}, milter.Filter{Address: "[::1]:1"}); err != nil {
		t.Error(err)
	}
}
