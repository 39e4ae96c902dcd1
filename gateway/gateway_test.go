package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/testdata"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

const sender = "someone@fabrikam.com"

// fastRetry makes what waits be tried again at once.
func fastRetry(c *config.Config) {
	c.Delivery.Retry = []time.Duration{200 * time.Millisecond}
}

func rule(t *testing.T, text string) []fakemta.Rule {
	t.Helper()
	r, err := fakemta.ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return []fakemta.Rule{r}
}

func code(err error) string {
	var e *textproto.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%d %s", e.Code, e.Msg)
	}
	return fmt.Sprint(err)
}

// below is what stands below the trace fields of the gateway: its X-Coexist fields, Authentication-Results, and then its one Received field.
func below(t *testing.T, data []byte) string {
	t.Helper()
	s := string(data)
	for {
		received := strings.HasPrefix(s, "Received: from ")
		if !received && !strings.HasPrefix(s, "X-Coexist-") && !strings.HasPrefix(s, "Authentication-Results: gw1.contoso.com") {
			t.Fatalf("no Received on top: %.200q", s)
		}
		for first := true; first || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\t"); first = false {
			_, rest, ok := strings.Cut(s, "\r\n")
			if !ok {
				t.Fatal("the message ends in a trace field")
			}
			s = rest
		}
		if received {
			return s
		}
	}
}

func TestEachSideGetsItsRecipients(t *testing.T) {
	g := gatewaytest.Start(t)
	reply := g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com", "kim.akers@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	id, _, ok := strings.Cut(strings.TrimPrefix(reply, "2.0.0 "), " ")
	if !ok || len(id) < 8 {
		t.Errorf("the reply %q has no id", reply)
	}
	for _, tt := range []struct {
		got  []fakemta.Message
		want string
	}{
		{g.WaitOnPrem(1), "AdeleV@contoso.com"}, {g.WaitCloud(1), "MeganB@contoso.mail.onmicrosoft.com"}, {g.WaitInternet(1), "kim.akers@fabrikam.com"},
	} {
		if len(tt.got) != 1 || len(tt.got[0].Recipients) != 1 || tt.got[0].Recipients[0] != tt.want || tt.got[0].Sender != sender {
			t.Errorf("got %+v, want it for %s", tt.got, tt.want)
		}
		if !strings.Contains(string(tt.got[0].Data), id) {
			t.Errorf("Received does not name %s: %.300q", id, tt.got[0].Data)
		}
	}
}

// A message that needs no change arrives as it came, whatever it looks like.
func TestByteExact(t *testing.T) {
	for name, msg := range map[string]string{
		"ordinary":            "From: a@b.c\r\nTo: d@e.f\r\nSubject: x\r\n\r\nbody\r\n",
		"odd case and spaces": "SUBJECT :  two  spaces\t\r\nX-weird_Header:y\r\n\r\nbody\r\n",
		"folded":              "Subject: a\r\n b\r\n\tc\r\n\r\nbody\r\n",
		"no header":           "\r\nonly a body\r\n",
		"no blank line":       "Subject: x\r\n",
		"no colon":            "this line has no colon\r\nSubject: x\r\n\r\nbody\r\n",
		"mbox From_":          "From someone Mon Jan  1 00:00:00 2026\r\nSubject: x\r\n\r\nbody\r\n",
		"duplicates":          "Subject: a\r\nSubject: b\r\nMessage-ID: <1@x>\r\nMessage-ID: <2@x>\r\nDate: x\r\n\r\nbody\r\n",
		"8 bit everywhere":    "Subject: \xc3\xa4\xff\r\n\r\n\xe4\xf6\xfc\xff\r\n",
		"NUL":                 "Subject: a\x00b\r\n\r\na\x00b\r\n",
		"dots":                "Subject: x\r\n\r\n.\r\n..\r\n...\r\n.x\r\n",
		"long line":           "Subject: x\r\n\r\n" + strings.Repeat("y", 60000) + "\r\n",
		"DKIM and Bcc":        "DKIM-Signature: v=1; a=rsa-sha256; d=fabrikam.com;\r\n\tb=abc=\r\nBcc: x@y.z\r\nResent-To: a@b.c\r\nARC-Seal: i=1\r\n\r\nbody\r\n",
		"blank line of space": "Subject: x\r\n \r\n\r\nbody\r\n",
		"unclosed multipart":  "Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\n--x\r\n\r\npart\r\n",
		"signed":              "Content-Type: multipart/signed; boundary=x; protocol=\"application/pkcs7-signature\"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\ntrailing space \r\n--x\r\nContent-Type: application/pkcs7-signature\r\n\r\nabc\r\n--x--\r\n",
		"empty":               "\r\n",
		"speaks of winmail":   "Subject: winmail.dat\r\n\r\nWhat is winmail.dat, and application/ms-tnef?\r\n",
		"bad base64 TNEF":     "MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=other.dat\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := gatewaytest.Start(t)
			g.Send(routing.Cloud, sender, []string{"adelev@contoso.com"}, msg)
			if got := below(t, g.WaitOnPrem(1)[0].Data); got != msg {
				t.Errorf("got  %.400q\nwant %.400q", got, msg)
			}
		})
	}
}

func TestHeaderFirewall(t *testing.T) {
	g := gatewaytest.Start(t)
	g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "X-MS-Exchange-Organization-SCL: -1\r\nSubject: x\r\nX-MS-Exchange-Organization-AuthAs:\r\n Internal\r\n"+
		"X-MS-Exchange-Inbox-Rules-Loop: a@b.c\r\nX-Coexist-TNEF: converted\r\n\r\nX-MS-Exchange-Organization-SCL: body\r\n")
	want := "Subject: x\r\nX-MS-Exchange-Inbox-Rules-Loop: a@b.c\r\n\r\nX-MS-Exchange-Organization-SCL: body\r\n"
	if got := below(t, g.WaitCloud(1)[0].Data); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefusalsArePassedBack(t *testing.T) {
	g := gatewaytest.Start(t)
	if err := g.OnPrem.SetRules(rule(t, "RCPT adelev@contoso.com reply 552 5.2.2 mailbox full")...); err != nil {
		t.Fatal(err)
	}
	g.Cloud.SetRules(rule(t, "EOD reply 554 5.7.1 looks like spam")...)
	for _, tt := range []struct {
		to   []string
		want string
	}{
		{[]string{"adelev@contoso.com"}, "552 5.2.2 mailbox full"},
		{[]string{"meganb@contoso.com"}, "554 5.7.1 looks like spam"},
		{[]string{"meganb@contoso.com", "adelev@contoso.com"}, "554 5.7.1 looks like spam"}, // the first of them
		{[]string{"adelev@contoso.com", "meganb@contoso.com"}, "552 5.2.2 mailbox full"},
	} {
		_, err := g.TrySend(routing.Internet, sender, tt.to, "Subject: x\r\n\r\nbody\r\n")
		if got := code(err); !strings.HasPrefix(got, tt.want) {
			t.Errorf("to %v: reply %q, want %q", tt.to, got, tt.want)
		}
	}
	if n := len(g.Internet.Messages()); n != 0 {
		t.Errorf("%d DSNs were sent for what was not accepted", n)
	}
	if n := queueLength(t, g); n != 0 {
		t.Errorf("%d messages in the spool", n)
	}
}

func queueLength(t *testing.T, g *gatewaytest.Gateway) int {
	t.Helper()
	rows, err := admin.NewClient(g.AdminAddr().String()).Queue(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

func waitEmptyQueue(t *testing.T, g *gatewaytest.Gateway) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); queueLength(t, g) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			rows, _ := admin.NewClient(g.AdminAddr().String()).Queue(context.Background())
			t.Fatalf("the queue does not drain: %+v", rows)
		}
	}
}

// One side takes it and the other refuses it for good: 250, and a DSN about the other.
func TestMixedOutcomeGivesADSN(t *testing.T) {
	g := gatewaytest.Start(t)
	g.OnPrem.SetRules(rule(t, "RCPT * reply 550 5.1.1 no such user")...)
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com"}, "Subject: x\r\nMessage-ID: <1@fabrikam.com>\r\n\r\nbody\r\n")
	g.WaitCloud(1)
	dsn := g.WaitInternet(1)[0]
	if dsn.Sender != "" || dsn.Recipients[0] != sender {
		t.Errorf("DSN from %q to %v", dsn.Sender, dsn.Recipients)
	}
	for _, want := range []string{"multipart/report", "Action: failed", "Final-Recipient: rfc822; adelev@contoso.com", "5.1.1", "no such user", "<1@fabrikam.com>"} {
		if !strings.Contains(string(dsn.Data), want) {
			t.Errorf("the DSN has no %q:\n%s", want, dsn.Data)
		}
	}
	if strings.Contains(string(dsn.Data), "meganb") {
		t.Error("the DSN speaks of a recipient that was delivered")
	}
	waitEmptyQueue(t, g)
}

// A next hop that defers: 250 because it is durable, and delivered later.
func TestDeferredIsSpooledAndRetried(t *testing.T) {
	for _, tt := range []string{
		"RCPT * times 1 reply 450 4.2.0 greylisted", "MAIL times 1 reply 421 4.3.2 busy", "EOD times 1 reply 451 4.3.0 try again", "CONNECT times 1 reply 554 5.3.2 not now",
		"CONNECT times 1 drop", "MAIL times 1 drop", "EOD times 1 reply-close 451 4.3.0 later",
	} {
		t.Run(tt, func(t *testing.T) {
			g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: fastRetry, OnPrem: fakemta.Options{Rules: rule(t, tt)}})
			reply := g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
			if !strings.HasPrefix(reply, "2.0.0 ") {
				t.Errorf("reply %q", reply)
			}
			if got := below(t, g.WaitOnPrem(1)[0].Data); got != "Subject: x\r\n\r\nbody\r\n" {
				t.Errorf("got %q", got)
			}
			waitEmptyQueue(t, g)
			if n := len(g.OnPrem.Messages()); n != 1 {
				t.Errorf("delivered %d times", n)
			}
		})
	}
}

// What is delivered in one go is never on disk; what hangs is acknowledged after ack_after, and delivered once.
func TestAckAfter(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Configure: func(c *config.Config) { c.Delivery.AckAfter = time.Second },
		OnPrem:    fakemta.Options{Rules: rule(t, "EOD delay 3s pass")},
	})
	started := time.Now()
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	if took := time.Since(started); took < 900*time.Millisecond || took > 2800*time.Millisecond {
		t.Errorf("acknowledged after %v, want about 1s", took)
	}
	if n := queueLength(t, g); n != 1 {
		t.Errorf("%d messages in the spool, want 1 while the attempt runs", n)
	}
	g.WaitOnPrem(1)
	waitEmptyQueue(t, g)
	if n := len(g.OnPrem.Messages()); n != 1 {
		t.Errorf("delivered %d times", n)
	}
}

func TestSpoolFirst(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) { c.Delivery.AckAfter = 0 }})
	for i := range 20 {
		g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com"}, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
	}
	g.WaitOnPrem(20)
	g.WaitCloud(20)
	waitEmptyQueue(t, g)
}

// What was acknowledged survives the gateway, and is delivered by the next one.
func TestSpoolSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	down := gatewaytest.StartWith(t, gatewaytest.Options{DataDir: dir, OnPrem: fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 not now")}})
	big := "Subject: big\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123\r\n", 3000)
	down.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: small\r\n\r\nbody\r\n")
	down.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, big)
	down.Stop()
	up := gatewaytest.StartWith(t, gatewaytest.Options{DataDir: dir})
	client := admin.NewClient(up.AdminAddr().String())
	rows, err := client.Queue(context.Background())
	if err != nil || len(rows) != 2 {
		t.Fatalf("queue after the restart: %+v, %v", rows, err)
	}
	for _, r := range rows {
		if err := client.QueueDo(context.Background(), "retry", r.ID); err != nil {
			t.Error(err)
		}
	}
	got := map[string]bool{}
	for _, m := range up.WaitOnPrem(2) {
		got[below(t, m.Data)] = true
	}
	if !got[big] || !got["Subject: small\r\n\r\nbody\r\n"] {
		t.Error("the messages did not arrive as they were accepted")
	}
}

// The router is asked again at each attempt: the mailbox moves while its mail waits.
func TestMoveWhileMailWaits(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: fastRetry, Cloud: fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 not now")}})
	g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	moved := strings.ReplaceAll(testdata.LDIF, "targetAddress: SMTP:MeganB@contoso.mail.onmicrosoft.com\nmsExchRemoteRecipientType: 1\nmsExchRecipientTypeDetails: 2147483648\n",
		"targetAddress: SMTP:MeganB@contoso.com\n")
	if moved == testdata.LDIF {
		t.Fatal("the sample directory changed: adapt the test")
	}
	if err := os.WriteFile(g.LDIF, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	if m := g.WaitOnPrem(1)[0]; m.Recipients[0] != "MeganB@contoso.com" {
		t.Errorf("recipient %v", m.Recipients)
	}
	waitEmptyQueue(t, g)
}

func TestExpiryGivesADSN(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Configure: func(c *config.Config) { fastRetry(c); c.Delivery.ExpireAfter = time.Second },
		OnPrem:    fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 never")},
	})
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	dsn := string(g.WaitInternet(1)[0].Data)
	for _, want := range []string{"Action: failed", "Status: 4.4.7", "450 4.2.0 never"} {
		if !strings.Contains(dsn, want) {
			t.Errorf("the DSN has no %q:\n%s", want, dsn)
		}
	}
	waitEmptyQueue(t, g)
}

func TestDelayNotice(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Configure: func(c *config.Config) { fastRetry(c); c.Delivery.DelayNotice = time.Second },
		OnPrem:    fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 not yet")},
	})
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	dsn := string(g.WaitInternet(1)[0].Data)
	if !strings.Contains(dsn, "Action: delayed") || !strings.Contains(dsn, "Will-Retry-Until:") {
		t.Errorf("not a delay DSN:\n%s", dsn)
	}
	time.Sleep(time.Second)
	if n := len(g.Internet.Messages()); n != 1 {
		t.Errorf("%d delay notices, want 1", n)
	}
	g.OnPrem.SetRules()
	g.WaitOnPrem(1)
	waitEmptyQueue(t, g)
}

// A null reverse-path never gets a DSN, nor does NOTIFY=NEVER.
func TestNoDSNWhereNoneIsWanted(t *testing.T) {
	g := gatewaytest.Start(t)
	g.OnPrem.SetRules(rule(t, "RCPT * reply 550 5.1.1 no such user")...)
	g.Send(routing.Internet, "", []string{"adelev@contoso.com", "meganb@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	g.WaitCloud(1)
	waitEmptyQueue(t, g)
	time.Sleep(200 * time.Millisecond)
	if n := len(g.Internet.Messages()); n != 0 {
		t.Errorf("%d DSNs to the null reverse-path", n)
	}
}

func TestLoop(t *testing.T) {
	g := gatewaytest.Start(t)
	hops := func(n int) string {
		return strings.Repeat("Received: from a by b; date\r\n", n) + "Subject: x\r\n\r\nbody\r\n"
	}
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, hops(25))
	_, err := g.TrySend(routing.Internet, sender, []string{"adelev@contoso.com"}, hops(26))
	if got := code(err); !strings.HasPrefix(got, "554 5.4.6") {
		t.Errorf("reply %q", got)
	}
}

func TestWinmail(t *testing.T) {
	stream := tneftest.Stream{Class: "IPM.Note", Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "the text\r\n")},
		Attachments: []tneftest.Attachment{{Data: []byte("data"), Title: "a.txt"}}}
	msg := string(tneftest.Wrap("Subject: x\r\n", "", stream.Bytes()))
	g := gatewaytest.Start(t)
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com"}, msg)
	onprem, cloud := string(g.WaitOnPrem(1)[0].Data), below(t, g.WaitCloud(1)[0].Data)
	if cloud != msg {
		t.Error("the cloud did not get the message as it was")
	}
	if !strings.HasPrefix(onprem, "X-Coexist-TNEF: converted") || strings.Contains(onprem, "ms-tnef") || !strings.Contains(onprem, "the text") || !strings.Contains(onprem, "a.txt") {
		t.Errorf("on-prem got\n%s", onprem)
	}
}

func TestBrokenWinmailPasses(t *testing.T) {
	msg := string(tneftest.Wrap("Subject: x\r\n", "text\r\n", []byte("this is no TNEF stream at all")))
	g := gatewaytest.Start(t)
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, msg)
	got := string(g.WaitOnPrem(1)[0].Data)
	rest, ok := strings.CutPrefix(got, "X-Coexist-TNEF: failed")
	if !ok {
		t.Fatalf("got\n%s", got)
	}
	_, rest, _ = strings.Cut(rest, "\r\n")
	if below(t, []byte(rest)) != msg {
		t.Errorf("changed:\n%s", got)
	}
}

func TestWithoutAView(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{LDIF: "# nothing\n"})
	for _, to := range []string{"adelev@contoso.com", "nobody@contoso.com", "x@contoso.mail.onmicrosoft.com"} {
		_, err := g.TrySend(routing.Internet, sender, []string{to}, "x\r\n")
		if got := code(err); !strings.HasPrefix(got, "451 4.3.0") {
			t.Errorf("%s: reply %q", to, got)
		}
	}
	if status, body := get(t, g, "/readyz"); status != 503 || !strings.Contains(body, "view") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	g.Send(routing.OnPrem, "adelev@contoso.com", []string{sender}, "x\r\n") // foreign mail needs no view
	g.WaitInternet(1)
	os.WriteFile(g.LDIF, []byte(testdata.LDIF), 0o600)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _ := get(t, g, "/readyz"); status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the view does not come")
		}
	}
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "x\r\n")
}

func get(t *testing.T, g *gatewaytest.Gateway, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(g.AdminURL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	g := gatewaytest.Start(t)
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	g.TrySend(routing.Internet, sender, []string{"nobody@contoso.com"}, "x\r\n")
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready",
		"/metrics":       `coexist_refused_recipients_total{reason="unknown",side="internet"} 1`,
		"/api/directory": `"source":"ldif"`,
		"/api/route?from=internet&address=meganb@contoso.com": `"side":"cloud"`,
	} {
		if status, body := get(t, g, path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in\n%.2000s", path, status, want, body)
		}
	}
	_, body := get(t, g, "/metrics")
	for _, name := range []string{"coexist_received_messages_total", "coexist_recipients_total", "coexist_spool_messages", "coexist_spool_oldest_seconds",
		"coexist_view_objects", "coexist_view_age_seconds", "coexist_tnef_total", "coexist_acknowledge_seconds_bucket"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
	// Without the header a web page could do this.
	resp, err := http.Post(g.AdminURL("/api/queue/x/drop"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a bare POST gives %d", resp.StatusCode)
	}
}

func TestQueueVerbs(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{OnPrem: fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 not now")}})
	for i := range 3 {
		g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
	}
	c := admin.NewClient(g.AdminAddr().String())
	ctx := context.Background()
	rows, err := c.Queue(ctx)
	if err != nil || len(rows) != 3 || rows[0].LastReply != "450 4.2.0 not now" || rows[0].Sender != sender || rows[0].Recipients[0] != "adelev@contoso.com" {
		t.Fatalf("queue: %+v, %v", rows, err)
	}
	do := func(verb, id string) {
		t.Helper()
		if err := c.QueueDo(ctx, verb, id); err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
	do("hold", rows[0].ID)
	if it, err := c.QueueItem(ctx, rows[0].ID); err != nil || it.State != "held" {
		t.Errorf("after hold: %+v, %v", it, err)
	}
	g.OnPrem.SetRules()
	do("retry", rows[1].ID)
	g.WaitOnPrem(1)
	do("drop", rows[2].ID)
	if dsn := string(g.WaitInternet(1)[0].Data); !strings.Contains(dsn, "Removed from the queue") {
		t.Errorf("DSN of a dropped message:\n%s", dsn)
	}
	do("release", rows[0].ID)
	g.WaitOnPrem(2)
	waitEmptyQueue(t, g)
	if err := c.QueueDo(ctx, "retry", rows[0].ID); err == nil {
		t.Error("retry of a message that is gone gives no error")
	}
}

func TestRouteJSON(t *testing.T) {
	g := gatewaytest.Start(t)
	b, err := json.Marshal(g.Route(routing.Internet, "", "nobody@contoso.com"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"action":"reject"`, `"side":""`, `"reason":"unknown"`, `"reply":"550 5.1.1 `, `"next_hop":[]`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

// A reload changes routes and limits, and drops no connection.
func TestReload(t *testing.T) {
	g := gatewaytest.Start(t)
	c, err := g.Client(routing.Internet)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := fakemta.Start(fakemta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	changed := *g.Config
	changed.OnPrem.NextHop = []string{other.Addr()}
	if restart, err := g.Reload(&changed); err != nil || len(restart) > 0 {
		t.Fatalf("Reload: %v, %v", restart, err)
	}
	if _, err := gatewaytest.Transact(c, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Wait(1, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// What needs a restart is what differs from the gateway that runs, however often the configuration was read since.
func TestReloadNamesWhatNeedsRestart(t *testing.T) {
	g := gatewaytest.Start(t)
	all := func(c *config.Config) {
		c.Hostname, c.DataDir, c.Admin.Address = "gw2.contoso.com", t.TempDir(), "127.0.0.1:1"
		c.Directory.LDIF, c.Log.Level, c.Trace.Keep, c.OnPrem.UsersFile = "other.ldif", "debug", c.Trace.Keep+time.Hour, "users"
		c.Listeners = append(slices.Clone(c.Listeners), config.Listener{Address: "127.0.0.1:2"})
	}
	everything := []string{"hostname", "data_dir", "listener", "directory", "onprem.users_file", "trace", "admin", "log"}
	for _, step := range []struct {
		name   string
		change func(*config.Config)
		want   []string
	}{
		{"nothing", func(*config.Config) {}, nil},
		{"hostname", func(c *config.Config) { c.Hostname = "gw2.contoso.com" }, []string{"hostname"}},
		{"hostname, again", func(c *config.Config) { c.Hostname = "gw2.contoso.com" }, []string{"hostname"}},
		{"all of it", all, everything},
		{"another name", func(c *config.Config) { c.Hostname = "gw3.contoso.com" }, []string{"hostname"}},
		{"as it runs", func(*config.Config) {}, nil},
		{"max_age counts at once", func(c *config.Config) { c.Directory.MaxAge += time.Hour }, nil},
	} {
		changed := *g.Config
		step.change(&changed)
		if restart, err := g.Reload(&changed); err != nil || !slices.Equal(restart, step.want) {
			t.Errorf("%s: %q, %v, want %q", step.name, restart, err, step.want)
		}
	}
}

// A new host name waits for the restart everywhere: in what clients, next hops, recipients and senders are told.
func TestReloadKeepsOneHostname(t *testing.T) {
	greylist := func(c *config.Config) { c.Hygiene.Greylist, c.Hygiene.GreylistDelay = true, time.Minute }
	g := gatewaytest.StartWith(t, gatewaytest.Options{OnPrem: fakemta.Options{Rules: rule(t, "RCPT adelev@contoso.com reply 550 5.2.1 no")}, Configure: greylist})
	renamed := *g.Config
	renamed.Hostname, renamed.DataDir = "gw2.contoso.com", filepath.Join(t.TempDir(), "other")
	renamed.Hygiene.GreylistDelay = 2 * time.Minute // so that the filters are made anew
	for range 2 {                                   // the second one saves what the filters of the first remember
		if _, err := g.Reload(&renamed); err != nil {
			t.Fatal(err)
		}
		renamed.Hygiene.GreylistDelay = 3 * time.Minute
	}
	g.Send(routing.Cloud, "meganb@contoso.com", []string{"adelev@contoso.com", "postmaster@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	message, dsn := g.WaitOnPrem(1)[0], g.WaitCloud(1)[0]
	for name, text := range map[string]string{
		"EHLO to a next hop": message.Helo, "EHLO with a DSN": dsn.Helo, "message": string(message.Data), "DSN": string(dsn.Data),
	} {
		if !strings.Contains(text, "gw1.contoso.com") || strings.Contains(text, "gw2.contoso.com") {
			t.Errorf("%s does not name gw1.contoso.com alone:\n%s", name, text)
		}
	}
	if _, err := os.Stat(renamed.DataDir); err == nil {
		t.Error("the new data_dir was used")
	}
}

// A reply that means that Exchange Online does not know us any more holds the side, instead of returning every message.
func TestConfigurationFaultHoldsTheSide(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Cloud: fakemta.Options{Rules: rule(t, "MAIL reply 550 5.7.64 TenantAttribution; Relay Access Denied")},
	})
	for i := range 3 {
		g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
	}
	if n := g.Cloud.Stats().Commands[fakemta.Mail]; n != 1 {
		t.Errorf("the side was asked %d times, want once", n)
	}
	if n := queueLength(t, g); n != 3 {
		t.Errorf("%d messages in the spool, want 3", n)
	}
	if _, body := get(t, g, "/metrics"); !strings.Contains(body, "coexist_cloud_held 1") {
		t.Error("no metric says that the side is held")
	}
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n") // the other side is not touched
	g.WaitOnPrem(1)
	if n := len(g.Internet.Messages()); n != 0 {
		t.Errorf("%d DSNs", n)
	}
}

// A next hop without 8BITMIME gets 8-bit content in 7-bit form.
func TestDowngradeTo7Bit(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{OnPrem: fakemta.Options{Extensions: []string{"PIPELINING", "SIZE"}}})
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n")
	got := string(g.WaitOnPrem(1)[0].Data)
	if !strings.Contains(got, "quoted-printable") || !strings.Contains(got, "Gr=C3=BC=C3=9Fe") {
		t.Errorf("got\n%s", got)
	}
}

// Mail for a person in transit waits, whichever address is asked for, and flows to wherever the directory says when it is released.
func TestHoldForAMove(t *testing.T) {
	dir := t.TempDir()
	g := gatewaytest.StartWith(t, gatewaytest.Options{DataDir: dir, Configure: fastRetry})
	ctx := context.Background()
	c := admin.NewClient(g.AdminAddr().String())
	if err := c.AddHold(ctx, spool.Hold{Address: "LynneR@contoso.com", Why: "wave 7"}); err != nil {
		t.Fatal(err)
	}
	if d := g.Route(routing.Internet, "", "lynne.robbins@contoso.com"); d.Reason != routing.Held || d.Action != routing.Relay || !strings.Contains(d.Why, "wave 7") {
		t.Errorf("route: %+v", d)
	}
	if d := g.Route(routing.Cloud, "", "lynner@contoso.com"); d.Reason != routing.Held {
		t.Errorf("from the cloud: %+v", d)
	}
	g.Send(routing.Internet, sender, []string{"lynne.robbins@contoso.com", "meganb@contoso.com"}, "Subject: held\r\n\r\nbody\r\n")
	g.Send(routing.Internet, sender, []string{"salesteam@contoso.com"}, "Subject: group\r\n\r\nbody\r\n")
	g.WaitOnPrem(1)
	if ms := g.WaitCloud(2); len(ms) != 2 {
		t.Errorf("%d messages in the cloud", len(ms))
	}
	g.Stop()

	g = gatewaytest.StartWith(t, gatewaytest.Options{DataDir: dir, Configure: fastRetry, LDIF: strings.ReplaceAll(testdata.LDIF,
		"targetAddress: SMTP:LynneR@contoso.mail.onmicrosoft.com\nmsExchRemoteRecipientType: 4\nmsExchRecipientTypeDetails: 2147483648\n", "targetAddress: SMTP:LynneR@contoso.com\n")})
	time.Sleep(500 * time.Millisecond)
	if n := queueLength(t, g); n != 2 {
		t.Errorf("%d messages wait after the restart, want 2", n)
	}
	c = admin.NewClient(g.AdminAddr().String())
	if holds, err := c.Holds(ctx); err != nil || len(holds) != 1 || holds[0].Address != "lynner@contoso.com" {
		t.Errorf("holds: %+v, %v", holds, err)
	}
	if err := c.ReleaseHold(ctx, "lynner@contoso.com"); err != nil {
		t.Fatal(err)
	}
	for _, m := range g.WaitOnPrem(2) { // she moved on-prem meanwhile
		if m.Recipients[0] != "LynneR@contoso.com" {
			t.Errorf("recipient %v", m.Recipients)
		}
	}
	waitEmptyQueue(t, g)
	if err := c.ReleaseHold(ctx, "lynner@contoso.com"); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("releasing twice: %v", err)
	}
}

// NOTIFY=SUCCESS: a next hop with DSN answers for itself, one without gives a "relayed" DSN, a group an "expanded" one.
func TestSuccessNotices(t *testing.T) {
	notify := func(g *gatewaytest.Gateway, to string) {
		t.Helper()
		nc, err := g.Dial(routing.Internet)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := textproto.NewConn(nc)
		for _, step := range []struct {
			say    string
			expect int
		}{{"", 220}, {"EHLO x", 250}, {"MAIL FROM:<" + sender + "> RET=HDRS ENVID=e1", 250}, {"RCPT TO:<" + to + "> NOTIFY=SUCCESS", 250}, {"DATA", 354}, {"Subject: x\r\n\r\nbody\r\n.", 250}} {
			if step.say != "" {
				c.PrintfLine("%s", step.say)
			}
			if _, _, err := c.ReadResponse(step.expect); err != nil {
				t.Fatalf("%s: %v", step.say, err)
			}
		}
	}
	g := gatewaytest.StartWith(t, gatewaytest.Options{Cloud: fakemta.Options{Extensions: []string{"PIPELINING"}}})
	notify(g, "adelev@contoso.com")
	if m := g.WaitOnPrem(1)[0]; !slices.Contains(m.RecipientParams[0], "NOTIFY=SUCCESS") || !slices.Contains(m.SenderParams, "ENVID=e1") {
		t.Errorf("the parameters were not passed on: %v %v", m.SenderParams, m.RecipientParams)
	}
	notify(g, "meganb@contoso.com")
	if dsn := string(g.WaitInternet(1)[0].Data); !strings.Contains(dsn, "Action: relayed") || !strings.Contains(dsn, "Original-Envelope-Id: e1") {
		t.Errorf("not a relayed DSN:\n%s", dsn)
	}
	notify(g, "salesteam@contoso.com")
	if dsn := string(g.WaitInternet(2)[1].Data); !strings.Contains(dsn, "Action: expanded") {
		t.Errorf("not an expanded DSN:\n%s", dsn)
	}
	if m := g.WaitOnPrem(2)[1]; !slices.Contains(m.RecipientParams[0], "NOTIFY=NEVER") {
		t.Errorf("the members inherited %v", m.RecipientParams)
	}
	waitEmptyQueue(t, g)
	if n := len(g.Internet.Messages()); n != 2 {
		t.Errorf("%d DSNs, want 2", n)
	}
}

// One side took the message and the other hangs: that is on record at once, or a crash would deliver it twice.
func TestFastSideIsOnRecordWhileTheOtherHangs(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Configure: func(c *config.Config) { c.Delivery.AckAfter = time.Second; fastRetry(c) },
		Cloud:     fakemta.Options{Rules: rule(t, "EOD times 1 delay 4s reply 451 4.3.0 later")},
		OnPrem:    fakemta.Options{Rules: rule(t, "RCPT alexw@contoso.com reply 550 5.1.1 no such user")},
	})
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "alexw@contoso.com", "meganb@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	c := admin.NewClient(g.AdminAddr().String())
	rows, err := c.Queue(context.Background())
	if err != nil || len(rows) != 1 {
		t.Fatalf("queue: %+v, %v", rows, err)
	}
	it, err := c.QueueItem(context.Background(), rows[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]spool.RecipientState{}
	for _, r := range it.Recipients {
		states[r.Asked] = r.State
	}
	// What failed waits on record until its DSN is durable.
	if states["adelev@contoso.com"] != spool.RecipientDelivered || states["alexw@contoso.com"] != spool.RecipientWaiting || states["meganb@contoso.com"] != spool.RecipientWaiting {
		t.Errorf("on record: %v", states)
	}
	g.WaitCloud(1)
	waitEmptyQueue(t, g)
	if n := len(g.OnPrem.Messages()); n != 1 {
		t.Errorf("on-prem got it %d times", n)
	}
	if dsns := g.WaitInternet(1); len(dsns) != 1 || !strings.Contains(string(dsns[0].Data), "alexw@contoso.com") {
		t.Errorf("%d DSNs", len(dsns))
	}
}
