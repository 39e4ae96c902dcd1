package hygiene

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/greylist"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
	"github.com/coexist-mail/coexist/gateway/hygiene/tenant"
	"github.com/coexist-mail/coexist/gateway/hygiene/verdict"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

const zone = `
	9.100.51.198.bl.example. 60 A 127.0.0.2
	fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.fabrikam.com. 60 TXT "v=DMARC1; p=reject"
	_dmarc.soft.example. 60 TXT "v=DMARC1; p=quarantine"`

const mail = "From: john@fabrikam.com\r\nSubject: x\r\n\r\nHello.\r\n"

// spam is a filter that refuses what says "spam", marks the rest, and notes macros.
type spam struct {
	gomilter.NoOpMilter
	mu    sync.Mutex
	bad   bool
	heard []string
}

func (s *spam) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, name+" "+m.Macros["{tls_version}"]+" "+m.Macros["{cipher}"])
	return gomilter.RespContinue, nil
}

func (s *spam) BodyChunk(chunk []byte, _ *gomilter.Modifier) (gomilter.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = strings.Contains(string(chunk), "spam")
	return gomilter.RespContinue, nil
}

func (s *spam) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad {
		return gomilter.NewResponseStr('y', "554 5.7.1 Spam"), nil
	}
	return gomilter.RespAccept, m.AddHeader("X-Checked", "yes")
}

func serve(t *testing.T, s *spam) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go (&gomilter.Server{NewMilter: func() gomilter.Milter { return s }, Actions: gomilter.OptAddHeader}).Serve(ln)
	return ln.Addr().String()
}

// everything is a Filter with all parts on.
func everything(t *testing.T, s *spam) *Filter {
	t.Helper()
	f, err := New(Options{
		Hostname: "gw1.contoso.com", Resolver: dnstest.Start(t, zone).Resolver(time.Second), Exempt: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
		Auth:       &auth.Options{Enforce: auth.Reject},
		Blocklists: &dnsbl.Options{Zones: []dnsbl.Zone{{Name: "bl.example"}}},
		Greylist:   &greylist.Options{File: filepath.Join(t.TempDir(), "greylist")},
		Milters:    []Milter{{Filter: milter.Filter{Address: serve(t, s)}}},
		Tenant:     &tenant.Options{Domains: []string{"contoso.com"}},
		Verdict:    &verdict.Options{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var from = message.Envelope{ReversePath: "john@fabrikam.com"}

func client(side routing.Side, addr string) Client {
	return Client{Side: side, Addr: netip.MustParseAddr(addr), Port: 4711, Helo: "mail.fabrikam.com"}
}

func TestCheck(t *testing.T) {
	f := everything(t, &spam{})
	for _, c := range []struct {
		name      string
		client    Client
		recipient string
		code      int
		reason    Reason
	}{
		{"listed", client(routing.Internet, "198.51.100.9"), "bob@contoso.com", 550, Blocklist},
		{"new", client(routing.Internet, "198.51.100.10"), "bob@contoso.com", 451, Greylisted},
		{"listed, writes to <Postmaster>", client(routing.Internet, "198.51.100.9"), "Postmaster", 0, ""},
		{"new, writes to postmaster", client(routing.Internet, "198.51.100.10"), "POSTMASTER@contoso.com", 0, ""},
		{"exempt", client(routing.Internet, "::ffff:203.0.113.7"), "bob@contoso.com", 0, ""},
		{"cloud", client(routing.Cloud, "198.51.100.9"), "bob@contoso.com", 0, ""},
		{"on-prem", client(routing.OnPrem, "198.51.100.9"), "bob@contoso.com", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := f.Check(context.Background(), c.client, from, message.Recipient{Address: c.recipient})
			switch {
			case r == nil && c.code != 0:
				t.Errorf("let in, want %d", c.code)
			case r != nil && (r.Reply.Code != c.code || r.Reason != c.reason || r.Detail == ""):
				t.Errorf("%+v: %v, want %d %s", r, r.Reply, c.code, c.reason)
			}
		})
	}
}

func TestExamine(t *testing.T) {
	down, err := New(Options{Hostname: "gw1.contoso.com", Milters: []Milter{{Filter: milter.Filter{Address: filepath.Join(t.TempDir(), "none.sock")}, Sides: []routing.Side{routing.OnPrem}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &spam{}
	f := everything(t, s)
	good, forged := client(routing.Internet, "192.0.2.1"), client(routing.Internet, "198.51.100.77")
	for _, c := range []struct {
		name       string
		filter     *Filter
		client     Client
		msg        string
		reason     Reason
		quarantine string
		fields     bool
		changed    bool
	}{
		{"good", f, good, mail, "", "", true, true},
		{"forged", f, forged, mail, DMARCPolicy, "", true, false},
		{"to be set aside", f, forged, strings.Replace(mail, "fabrikam.com", "soft.example", 1), "", "DMARC policy of soft.example", true, true},
		{"spam", f, good, strings.Replace(mail, "Hello", "spam", 1), FilterSaid, "", true, false},
		{"forged, from on-prem", f, client(routing.OnPrem, "10.0.0.1"), mail, "", "", false, false},
		{"forged, from the cloud", f, client(routing.Cloud, "198.51.100.77"), mail, "", "", false, false},
		{"filter down", down, client(routing.OnPrem, "10.0.0.1"), mail, FilterDown, "", false, false},
		{"filter down, another side", down, good, mail, "", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.filter.Examine(context.Background(), c.client, Mail{ID: "ABC", Octets: []byte(c.msg),
				Envelope: message.Envelope{ReversePath: "john@fabrikam.com", Recipients: []message.Recipient{{Address: "bob@contoso.com"}}}})
			var reason Reason
			if r.Refusal != nil {
				reason = r.Refusal.Reason
			}
			if reason != c.reason || r.Quarantine != c.quarantine || (len(r.Fields) > 0) != c.fields || (r.Auth != nil) != c.fields || (r.Message != nil) != c.changed {
				t.Errorf("%+v", r)
			}
			if c.fields && (!strings.HasPrefix(string(r.Fields), "Authentication-Results: gw1.contoso.com;") || !strings.HasSuffix(string(r.Fields), "\r\n")) {
				t.Errorf("fields %q", r.Fields)
			}
			if c.changed && !strings.Contains(string(r.Message.Bytes()), "\r\nX-Checked: yes\r\n\r\nHello.\r\n") {
				t.Errorf("message %q", r.Message.Bytes())
			}
			if (c.reason == FilterDown) != (len(r.Problems) > 0) {
				t.Errorf("problems %v", r.Problems)
			}
		})
	}
	good.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	f.Examine(context.Background(), good, Mail{Octets: []byte(mail), Envelope: message.Envelope{ReversePath: "john@fabrikam.com"}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.heard[len(s.heard)-1]; got != "mail.fabrikam.com TLSv1.3 TLS_AES_128_GCM_SHA256" {
		t.Errorf("the filter heard %q", got)
	}
}

// What is not configured does nothing, to any mail.
func TestAllOff(t *testing.T) {
	f, err := New(Options{Hostname: "gw1.contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	c := client(routing.Internet, "198.51.100.9")
	if r, _ := f.Check(context.Background(), c, from, message.Recipient{Address: "bob@contoso.com"}); r != nil {
		t.Errorf("%+v", r)
	}
	r := f.Examine(context.Background(), c, Mail{Octets: []byte(mail)})
	if r.Refusal != nil || r.Fields != nil || r.Message != nil || r.Discard || r.Quarantine != "" {
		t.Errorf("%+v", r)
	}
	if _, ok := f.Attribute([]byte("X-OriginatorOrg: fabrikam.com\r\n\r\n")); ok {
		t.Error("a tenant is checked")
	}
	if out, ok := f.Translate([]byte("X-MS-Exchange-Organization-SCL: 9\r\n\r\n")); ok || out.Size() != 37 {
		t.Errorf("%v %q", ok, out.Bytes())
	}
	if err := f.Save(); err != nil {
		t.Error(err)
	}
}

func TestCloudParts(t *testing.T) {
	f := everything(t, &spam{})
	if got, ok := f.Attribute([]byte("X-OriginatorOrg: fabrikam.com\r\n\r\n")); !ok || got.Side != routing.Internet {
		t.Errorf("%v %+v", ok, got)
	}
	if out, ok := f.Translate([]byte("X-MS-Exchange-Organization-SCL: 9\r\n\r\n")); !ok || !strings.Contains(string(out.Bytes()), "X-Spam-Flag: YES\r\n") {
		t.Errorf("%v %q", ok, out.Bytes())
	}
}

func TestNewReportsAllErrors(t *testing.T) {
	_, err := New(Options{Hostname: "a b", Auth: &auth.Options{}, Blocklists: &dnsbl.Options{}, Greylist: &greylist.Options{Delay: time.Hour, Window: time.Minute},
		Milters: []Milter{{Filter: milter.Filter{Address: "x"}}}, Tenant: &tenant.Options{}, Verdict: &verdict.Options{SpamAt: 99}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"authentication", "blocklists", "greylist", "milter", "tenant", "verdicts"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("nothing about %s in %v", word, err)
		}
	}
}

func TestMaintain(t *testing.T) {
	f := everything(t, &spam{})
	f.Check(context.Background(), client(routing.Internet, "198.51.100.10"), from, message.Recipient{Address: "b"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.maintain(ctx, time.Hour, func(err error) { t.Error(err) }) // ends, having saved
	broken, err := New(Options{Hostname: "gw1.contoso.com", Greylist: &greylist.Options{File: filepath.Join(t.TempDir(), "gone", "g")}})
	if err != nil {
		t.Fatal(err)
	}
	broken.Check(context.Background(), client(routing.Internet, "198.51.100.10"), from, message.Recipient{Address: "b"})
	var reported error
	broken.maintain(ctx, time.Hour, func(err error) { reported = errors.Join(reported, err) })
	if reported == nil {
		t.Error("an error was not reported")
	}
}
