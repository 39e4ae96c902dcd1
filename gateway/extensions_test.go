package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// dialogue is a client that says exactly what it is told.
type dialogue struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func beginDialogue(t *testing.T, g *gatewaytest.Gateway, from routing.Side) *dialogue {
	t.Helper()
	nc, err := g.Dial(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(60 * time.Second))
	w := &dialogue{t, nc, bufio.NewReader(nc)}
	w.want("220 ")
	return w
}

// ask sends octets and reads one reply, whose last line must begin with want.
func (w *dialogue) ask(octets, want string) string {
	w.t.Helper()
	if _, err := w.nc.Write([]byte(octets)); err != nil {
		w.t.Fatal(err)
	}
	return w.want(want)
}

func (w *dialogue) want(want string) string {
	w.t.Helper()
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("waiting for %s: %q, %v", want, line, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			w.t.Fatalf("got %q, want %s", line, want)
		}
		return line
	}
}

func bdat(message string) string { return fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message) }

// withBinary are the extensions of a next hop that takes any octets.
func withBinary(more ...string) []string {
	return append(append(fakemta.Extensions(), "BINARYMIME"), more...)
}

// A binary message reaches each side in a form that its next hop takes, whether or not it was spooled in between.
func TestBinaryMIME(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	const fields = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: "
	message := fields + "binary\r\n\r\n" + string(all) + "\r\n.\r\n\n.\r"
	_, content, _ := strings.Cut(message, "\r\n\r\n")
	for _, ackAfter := range []time.Duration{5 * time.Second, 0} {
		t.Run(fmt.Sprint("ack_after ", ackAfter), func(t *testing.T) {
			g := gatewaytest.StartWith(t, gatewaytest.Options{
				Cloud:     fakemta.Options{Extensions: withBinary()},
				Configure: func(c *config.Config) { c.Delivery.AckAfter = ackAfter },
			})
			w := beginDialogue(t, g, routing.Internet)
			w.ask("EHLO client.example\r\n", "250 ")
			w.ask("MAIL FROM:<"+sender+"> BODY=BINARYMIME\r\n", "250 2.1.0")
			w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 2.1.5")
			w.ask("RCPT TO:<meganb@contoso.com>\r\n", "250 2.1.5")
			w.ask(bdat(message), "250 2.0.0")
			inCloud, onPrem := g.WaitCloud(1)[0], g.WaitOnPrem(1)[0]
			if got := below(t, inCloud.Data); got != message {
				t.Errorf("in the cloud: %q", got)
			}
			if !slices.Contains(inCloud.SenderParams, "BODY=BINARYMIME") {
				t.Errorf("in the cloud: %q", inCloud.SenderParams)
			}
			header, encoded, _ := strings.Cut(below(t, onPrem.Data), "\r\n\r\n")
			decoded, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "\r\n", ""))
			if header != fields+"base64" || err != nil || string(decoded) != content {
				t.Errorf("on-prem: %q, %v", onPrem.Data, err)
			}
			if onPrem.BareCR || onPrem.BareLF || slices.ContainsFunc(onPrem.SenderParams, func(s string) bool { return strings.HasPrefix(s, "BODY=") }) {
				t.Errorf("on-prem: %q", onPrem.SenderParams)
			}
		})
	}
}

// What may not be encoded is returned when a next hop does not take it: to a waiting sender as the reply, else as a DSN with the header.
func TestBinaryMIMEIsReturned(t *testing.T) {
	message := "Subject: signed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r\n" +
		"--b\r\nContent-Type: application/pkcs7-signature\r\n\r\ns\r\n--b--\r\n"
	g := gatewaytest.StartWith(t, gatewaytest.Options{Cloud: fakemta.Options{Extensions: withBinary()}})
	w := beginDialogue(t, g, routing.Internet)
	w.ask("EHLO client.example\r\n", "250 ")
	mail := "MAIL FROM:<" + sender + "> BODY=BINARYMIME RET=FULL\r\n"
	w.ask(mail, "250 ")
	w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 ")
	w.ask(bdat(message), "550 5.6.3 ")
	w.ask(mail, "250 ")
	w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 ")
	w.ask("RCPT TO:<meganb@contoso.com>\r\n", "250 ")
	w.ask(bdat(message), "250 2.0.0")
	if got := below(t, g.WaitCloud(1)[0].Data); got != message {
		t.Errorf("in the cloud: %q", got)
	}
	dsn := string(g.WaitInternet(1)[0].Data)
	if !strings.Contains(dsn, "text/rfc822-headers") || !strings.Contains(dsn, "5.6.3") || strings.Contains(dsn, "\x00") || strings.Contains(dsn, "pkcs7") {
		t.Errorf("the DSN: %s", dsn)
	}
}

// TNEF that comes as it is, without base64, is converted where the side wants that.
func TestBinaryTNEF(t *testing.T) {
	stream := tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, "written in Outlook")}}
	message := "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(stream.Bytes())
	g := gatewaytest.StartWith(t, gatewaytest.Options{Cloud: fakemta.Options{Extensions: withBinary()}})
	w := beginDialogue(t, g, routing.Internet)
	w.ask("EHLO client.example\r\n", "250 ")
	w.ask("MAIL FROM:<"+sender+"> BODY=BINARYMIME\r\n", "250 ")
	w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 ")
	w.ask("RCPT TO:<meganb@contoso.com>\r\n", "250 ")
	w.ask(bdat(message), "250 2.0.0")
	if got := below(t, g.WaitCloud(1)[0].Data); got != message {
		t.Errorf("in the cloud: %q", got)
	}
	if got := string(g.WaitOnPrem(1)[0].Data); !strings.Contains(got, "written in Outlook") || !strings.Contains(got, "X-Coexist-TNEF: converted") || strings.Contains(got, "ms-tnef") {
		t.Errorf("on-prem: %q", got)
	}
}

// secured is a gateway with a certificate, whose cloud keeps to REQUIRETLS while its on-prem side has TLS and no more.
func secured(t *testing.T, configure func(*config.Config)) (*gatewaytest.Gateway, *x509.CertPool) {
	t.Helper()
	cert, pool, err := fakemta.NewCertificate("gw1.contoso.com", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile := file("tls.crt", "CERTIFICATE", cert.Certificate[0]), file("tls.key", "PRIVATE KEY", key)
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	return gatewaytest.StartWith(t, gatewaytest.Options{
		Gateway: gateway.Options{RootCAs: pool},
		Cloud:   fakemta.Options{TLS: server, Extensions: withBinary("REQUIRETLS")},
		OnPrem:  fakemta.Options{TLS: server},
		Configure: func(c *config.Config) {
			c.Listeners[0].TLS, c.Listeners[0].CertFile, c.Listeners[0].KeyFile = config.ListenerTLSStartTLS, certFile, keyFile
			if configure != nil {
				configure(c)
			}
		},
	}), pool
}

func (w *dialogue) startTLS(pool *x509.CertPool) {
	w.t.Helper()
	w.ask("EHLO client.example\r\n", "250 ")
	w.ask("STARTTLS\r\n", "220 ")
	w.nc = tls.Client(w.nc, &tls.Config{RootCAs: pool, ServerName: "gw1.contoso.com"})
	w.r = bufio.NewReader(w.nc)
	w.ask("EHLO client.example\r\n", "250 ")
}

// A message with REQUIRETLS goes only where that is kept to, also from the spool, and its DSN is as well protected as can be.
func TestRequireTLS(t *testing.T) {
	for _, ackAfter := range []time.Duration{20 * time.Second, 0} {
		t.Run(fmt.Sprint("ack_after ", ackAfter), func(t *testing.T) {
			g, pool := secured(t, func(c *config.Config) { c.Delivery.AckAfter = ackAfter })
			w := beginDialogue(t, g, routing.Internet)
			w.startTLS(pool)
			mail := "MAIL FROM:<" + sender + "> REQUIRETLS RET=FULL\r\n"
			w.ask(mail, "250 ")
			w.ask("RCPT TO:<meganb@contoso.com>\r\n", "250 ")
			w.ask(bdat("Subject: x\r\n\r\nsecret\r\n"), "250 2.0.0")
			m := g.WaitCloud(1)[0]
			if m.TLS == nil || !slices.Contains(m.SenderParams, "REQUIRETLS") || !slices.Contains(m.SenderParams, "RET=HDRS") {
				t.Errorf("in the cloud: %q, %+v", m.SenderParams, m.TLS)
			}
			want := "250 2.0.0"
			if ackAfter > 0 {
				want = "550 5.7.30 "
			}
			w.ask(mail, "250 ")
			w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 ")
			w.ask(bdat("Subject: x\r\n\r\nsecret\r\n"), want)
			if ackAfter == 0 {
				dsn := string(g.WaitInternet(1)[0].Data)
				if !strings.Contains(dsn, "5.7.30") || !strings.Contains(dsn, "text/rfc822-headers") || strings.Contains(dsn, "secret") {
					t.Errorf("the DSN: %s", dsn)
				}
			}
			if n := len(g.OnPrem.Messages()); n != 0 {
				t.Errorf("%d messages went to a host that does not offer it", n)
			}
		})
	}
}

// The DSN about such a message asks for the same protection of a host that has it.
func TestRequireTLSOfDSN(t *testing.T) {
	g, pool := secured(t, func(c *config.Config) { c.Delivery.AckAfter = 0 })
	w := beginDialogue(t, g, routing.Internet)
	w.startTLS(pool)
	w.ask("MAIL FROM:<meganb@contoso.com> REQUIRETLS\r\n", "250 ")
	w.ask("RCPT TO:<adelev@contoso.com>\r\n", "250 ")
	w.ask(bdat("Subject: x\r\n\r\nsecret\r\n"), "250 2.0.0")
	if m := g.WaitCloud(1)[0]; m.Sender != "" || !slices.Contains(m.SenderParams, "REQUIRETLS") || !strings.Contains(string(m.Data), "5.7.30") {
		t.Errorf("the DSN: %q\n%s", m.SenderParams, m.Data)
	}
}

// Clients that a load balancer speaks for are counted by network, but for those of the sides.
func TestConnectionsPerNetwork(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Listeners[0].ProxyProtocol = c.OnPrem.Clients
		c.Limits.ConnectionsPerNetwork = 2
	}})
	for i, tt := range []struct{ client, want string }{
		{"192.0.2.1", "220 "}, {"192.0.2.2", "220 "}, {"192.0.2.3", "421 4.7.0 "}, {"192.0.3.1", "220 "},
		{"127.0.2.1", "220 "}, {"127.0.2.2", "220 "}, {"127.0.2.3", "220 "},
	} {
		nc, err := g.Dial(routing.OnPrem)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(30 * time.Second))
		w := &dialogue{t, nc, bufio.NewReader(nc)}
		w.ask(fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 %d 25\r\n", tt.client, 4000+i), tt.want)
	}
}

// A client behind a load balancer says what it likes. Only a proxy that speaks SMTP itself says by XCLIENT who its client is.
func TestXClientBehindLoadBalancer(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Listeners[0].ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}})
	const xclient, relay = "XCLIENT ADDR=127.0.1.1 LOGIN=printer\r\n", "RCPT TO:<other@fabrikam.com>\r\n"
	for _, tt := range []struct{ name, header, want string }{
		{"PROXY v1", "PROXY TCP4 192.0.2.1 127.0.0.1 4000 25\r\n", "550 5.7.1 "},
		{"PROXY v1 of an unknown client", "PROXY UNKNOWN\r\n", "550 5.7.1 "},
		{"PROXY v2, LOCAL", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "550 5.7.1 "},
		{"no header", "", "220 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := g.Dial(routing.Internet)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { nc.Close() })
			nc.SetDeadline(time.Now().Add(30 * time.Second))
			w := &dialogue{t, nc, bufio.NewReader(nc)}
			w.ask(tt.header+"EHLO client.example\r\n", "220 ")
			w.want("250 ")
			w.ask(xclient, tt.want)
			if tt.want != "220 " {
				w.ask("MAIL FROM:<x@contoso.com>\r\n", "250 ")
				w.ask(relay, "550 5.7.1 ")
			}
		})
	}
}
