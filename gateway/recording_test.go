package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
	"github.com/coexist-mail/coexist/gateway/recordings"
	"github.com/coexist-mail/coexist/routing"
)

// A recording that an administrator asks for has the dialogue, and can be played again: here against the gateway that it was made of.
func TestRecordingByAdmin(t *testing.T) {
	for _, bodies := range []bool{false, true} {
		t.Run(map[bool]string{false: "without messages", true: "with messages"}[bodies], func(t *testing.T) {
			t.Parallel()
			cert, key := tlsFiles(t)
			g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
				l := &c.Listeners[0]
				l.TLS, l.CertFile, l.KeyFile = config.ListenerTLSStartTLS, cert, key
			}})
			client := admin.NewClient(g.AdminAddr().String())
			ctx := t.Context()
			info, err := client.StartRecording(ctx, recordings.Request{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Bodies: bodies})
			if err != nil || info.State != recordings.Running {
				t.Fatalf("%+v, %v", info, err)
			}
			g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: secret\r\n\r\n.dot\r\n{brace}\r\n")
			g.Send(routing.OnPrem, "adelev@contoso.com", []string{"meganb@contoso.com"}, "Subject: not recorded\r\n\r\nx\r\n")
			wire(t, g, routing.Internet, "EHLO x\r\nSTARTTLS now\r\nMAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<nobody@contoso.com>\r\nRCPT TO:<adelev@contoso.com>\r\n"+
				"BDAT 6\r\nA: b\r\nBDAT 7 LAST\r\n\r\nabc\r\n\x01X\r\nQUIT\r\n")
			if info, err = client.StopRecording(ctx, info.ID); err != nil || info.State != recordings.Stopped {
				t.Fatalf("%+v, %v", info, err)
			}
			g.Send(routing.Internet, "late@fabrikam.com", []string{"adelev@contoso.com"}, "x\r\n")
			var text, played bytes.Buffer
			if err := client.Recording(ctx, info.ID, &text); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{" C: MAIL FROM:<" + sender, " S: 354 ", " =  message of 34 octets: EOF", " C: RCPT TO:<nobody@contoso.com>", " S: 550 5.1.1 ", " C: BDAT 7 LAST"} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("no %q in\n%s", want, text.String())
				}
			}
			for _, not := range []string{"not recorded", "late@fabrikam.com"} {
				if strings.Contains(text.String(), not) {
					t.Errorf("%q in\n%s", not, text.String())
				}
			}
			if strings.Contains(text.String(), "secret") != bodies {
				t.Errorf("messages are recorded: %v", !bodies)
			}
			if err := recordings.Convert(&played, &text); err != nil {
				t.Fatal(err)
			}
			before := len(g.WaitOnPrem(3))
			play(t, g, played.String())
			if bodies {
				all := g.WaitOnPrem(before + 1)
				if got := string(all[before].Data); !strings.HasSuffix(got, "Subject: secret\r\n\r\n.dot\r\n{brace}\r\n") {
					t.Errorf("the message that was played again is %q", got)
				}
			}
			list, err := client.Recordings(ctx)
			if err != nil || len(list) != 1 || list[0].ID != info.ID {
				t.Errorf("%+v, %v", list, err)
			}
			if err := client.RemoveRecording(ctx, info.ID); err != nil {
				t.Error(err)
			}
			if err := client.Recording(ctx, info.ID, &text); !errors.Is(err, recordings.ErrNotFound) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// play holds a dialog against the gateway.
func play(t *testing.T, g *gatewaytest.Gateway, text string) {
	t.Helper()
	d, err := dialog.Parse("recorded.smtp", strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	r := &dialog.Runner{Timeout: 20 * time.Second, Vars: dialog.DefaultVars(), Dial: dialTo(g.Addr)}
	for _, s := range d.Sections {
		result, err := r.Run(t.Context(), s)
		if err != nil || result.Outcome != dialog.Passed {
			t.Errorf("%s: %+v, %v in\n%s", s.Name, result, err, text)
		}
	}
}

// The endpoints refuse what a browser could be made to send, and what cannot be.
func TestRecordingEndpoints(t *testing.T) {
	g := gatewaytest.Start(t)
	for _, tt := range []struct {
		method, path, body string
		control            bool
		want               int
	}{
		{"GET", "/api/recordings", "", false, 403},
		{"GET", "/api/recordings/20260101-000000", "", false, 403},
		{"POST", "/api/recordings", `{"clients":["127.0.0.1/32"]}`, false, 403},
		{"GET", "/api/recordings", "", true, 200},
		{"GET", "/api/recordings/20260101-000000", "", true, 404},
		{"GET", "/api/recordings/..%2Ftrace.key", "", true, 404},
		{"POST", "/api/recordings/20260101-000000/stop", "", true, 404},
		{"DELETE", "/api/recordings/..", "", true, 404},
		{"POST", "/api/recordings", `{"clients":[]}`, true, 400},
		{"POST", "/api/recordings", `{"clients":["127.0.0.1"]}`, true, 400},
		{"POST", "/api/recordings", `{"clients":["127.0.0.1/32"],"seconds":-1}`, true, 400},
		{"POST", "/api/recordings", `{"networks":["127.0.0.1/32"]}`, true, 400},
		{"POST", "/api/recordings", `nonsense`, true, 400},
		{"POST", "/api/recordings", `{"clients":["127.0.0.1/32"]}`, true, 200},
	} {
		req, err := http.NewRequestWithContext(context.Background(), tt.method, g.AdminURL(tt.path), strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.control {
			req.Header.Set("X-Coexist-Control", "1")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s %s: %d, want %d", tt.method, tt.path, tt.body, resp.StatusCode, tt.want)
		}
	}
	client := admin.NewClient(g.AdminAddr().String())
	if _, err := client.StopRecording(t.Context(), "20260101-000000"); !errors.Is(err, recordings.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	list, err := client.Recordings(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, want := range []error{nil, recordings.ErrNotRunning} {
		if _, err := client.StopRecording(t.Context(), list[0].ID); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}

func dialTo(addr string) func(context.Context, dialog.Peer) (net.Conn, error) {
	return func(ctx context.Context, _ dialog.Peer) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
}
