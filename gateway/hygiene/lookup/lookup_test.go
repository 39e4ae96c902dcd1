package lookup_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

func TestBoundedTellsNothingFromTrouble(t *testing.T) {
	server := dnstest.Start(t, `
		contoso.com. 60 TXT "v=spf1 " "-all"
		contoso.com. 60 MX 10 mail.contoso.com.
		mail.contoso.com. 60 A 192.0.2.1
		1.2.0.192.in-addr.arpa. 60 PTR mail.contoso.com.`)
	server.Break("broken.example")
	server.Silence("silent.example")
	r := server.Resolver(1500 * time.Millisecond)
	for _, c := range []struct {
		name  string
		ask   func(context.Context) (any, error)
		want  any
		wrong string // "", "not found" or "temporary"
	}{
		{"TXT", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "contoso.com") }, []string{"v=spf1 -all"}, ""},
		{"rooted", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "contoso.com.") }, []string{"v=spf1 -all"}, ""},
		{"MX", func(ctx context.Context) (any, error) { return r.LookupMX(ctx, "contoso.com") }, []*net.MX{{Host: "mail.contoso.com.", Pref: 10}}, ""},
		{"PTR", func(ctx context.Context) (any, error) { return r.LookupAddr(ctx, "192.0.2.1") }, []string{"mail.contoso.com."}, ""},
		{"no such name", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "nobody.example") }, []string(nil), "not found"},
		{"no such type", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "mail.contoso.com") }, []string(nil), "not found"},
		{"impossible name", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "a..b") }, []string(nil), "not found"},
		{"SERVFAIL", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "x.broken.example") }, []string(nil), "temporary"},
		{"no answer", func(ctx context.Context) (any, error) { return r.LookupTXT(ctx, "x.silent.example") }, []string(nil), "temporary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.ask(context.Background())
			if c.wrong == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			var d *net.DNSError
			if !errors.As(err, &d) || d.IsNotFound != (c.wrong == "not found") || d.Temporary() != (c.wrong == "temporary") {
				t.Errorf("error %#v, want %s", err, c.wrong)
			}
		})
	}
}

// A Resolver may return an error that is none of net's.
func TestForeignErrorIsTemporary(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := lookup.Bound(lookup.Server("127.0.0.1:1"), time.Second).LookupTXT(ctx, "contoso.com")
	var d *net.DNSError
	if !errors.As(err, &d) || !d.Temporary() {
		t.Errorf("error %#v", err)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"contoso.com": true, "contoso.com.": true, "_dmarc.contoso.com": true, "": false, ".": false, "a..b": false, ".a": false,
		"a b": false, "a\x00b": false, "b\u00fccher.example": false, strings.Repeat("a", 64) + ".com": false,
		strings.Repeat("a", 63) + ".com": true, strings.Repeat("a.", 126) + "a": true, strings.Repeat("a.", 127) + "a": false,
	} {
		if got := lookup.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

// TestServer: the one that is named is asked, whatever the system's; without a name it is the system's.
func TestServer(t *testing.T) {
	server := dnstest.Start(t, `contoso.com. 60 IN TXT "found"`)
	named := lookup.Server(server.Address)
	if texts, err := named.LookupTXT(t.Context(), "contoso.com."); err != nil || len(texts) != 1 {
		t.Errorf("a named server: %q, %v", texts, err)
	}
	system, ok := lookup.Server("").(*net.Resolver)
	if !ok || system.Dial != nil {
		t.Fatalf("without a name: %#v, want a resolver that dials the system's servers", system)
	}
	var dialled []string
	system.Dial = func(ctx context.Context, network, address string) (net.Conn, error) { // the test asks nobody outside
		dialled = append(dialled, address)
		return new(net.Dialer).DialContext(ctx, network, server.Address)
	}
	texts, err := system.LookupTXT(t.Context(), "contoso.com.")
	if err != nil || len(texts) != 1 {
		t.Errorf("the system's: %q, %v", texts, err)
	}
	for _, address := range dialled {
		if _, port, _ := net.SplitHostPort(address); port != "53" {
			t.Errorf("dialled %s, want a server of the system", address)
		}
	}
}

// TestErrorNamesNoOtherServer: what a named server did is not told of the system's, which was not asked.
func TestErrorNamesNoOtherServer(t *testing.T) {
	server := dnstest.Start(t, "")
	server.Break("contoso.com")
	_, err := server.Resolver(5*time.Second).LookupTXT(t.Context(), "contoso.com")
	if want := "lookup contoso.com: server misbehaving"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
