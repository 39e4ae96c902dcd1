package gateway_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// logBuffer keeps what a gateway logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines are those that have all of parts.
func (b *logBuffer) lines(parts ...string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
next:
	for line := range strings.Lines(b.buf.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// logged starts a gateway whose log is kept.
func logged(t *testing.T, o gatewaytest.Options) (*gatewaytest.Gateway, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	o.Gateway = gateway.Options{Logger: slog.New(slog.NewTextHandler(log, nil))}
	return gatewaytest.StartWith(t, o), log
}

// story is the trace of a message as words: event and recipient.
func story(t *testing.T, g *gatewaytest.Gateway, id string) string {
	t.Helper()
	var words []string
	for _, e := range traced(t, g, id) {
		words = append(words, strings.TrimSpace(string(e.Event)+" "+e.Recipient))
	}
	return strings.Join(words, ", ")
}

// retryHeld has a message tried whose recipients are in transit, and waits until it was looked at: it is then put off anew.
func retryHeld(t *testing.T, client *admin.Client, id string) {
	t.Helper()
	before, err := client.QueueItem(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for err = client.QueueDo(t.Context(), "retry", id); err != nil; err = client.QueueDo(t.Context(), "retry", id) {
		if time.Now().After(deadline) { // until then it may be just being looked at
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for ; ; time.Sleep(20 * time.Millisecond) {
		it, err := client.QueueItem(t.Context(), id)
		if err == nil && it.Recipients[0].State == spool.RecipientHeld && it.Owner == "" && it.NextAttempt.After(before.NextAttempt) &&
			it.NextAttempt.Sub(it.Received) > 30*time.Minute {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not looked at: %+v, %v", it, err)
		}
	}
}

// Mail that waits for a person in transit says so in log and trace when it comes, and when it goes; a retry in between releases nothing.
func TestTransitIsObserved(t *testing.T) {
	g, log := logged(t, gatewaytest.Options{Configure: fastRetry})
	client := admin.NewClient(g.AdminAddr().String())
	if err := client.AddHold(t.Context(), spool.Hold{Address: "meganb@contoso.com", Why: "wave 7"}); err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "Message-ID: <m1@fabrikam.com>\r\n\r\nbody\r\n"))[1]
	if got := story(t, g, id); got != "received meganb@contoso.com, held meganb@contoso.com" {
		t.Errorf("trace of what waits: %s", got)
	}
	for _, e := range traced(t, g, id) {
		if e.Event == trace.Held && (!strings.Contains(e.Reason, "wave 7") || e.MessageID != "<m1@fabrikam.com>" || e.Sender != sender || e.Side != "cloud") {
			t.Errorf("held: %+v", e)
		}
	}
	if n := len(log.lines("msg=held ", "id="+id, "to=meganb@contoso.com", "wave 7", "message_id=<m1@fabrikam.com>")); n != 1 {
		t.Errorf("%d lines of the log say that it is held:\n%s", n, log.lines())
	}

	retryHeld(t, client, id)
	if got := story(t, g, id); got != "received meganb@contoso.com, held meganb@contoso.com, retried" {
		t.Errorf("trace after a retry: %s", got)
	}

	if err := client.ReleaseHold(t.Context(), "meganb@contoso.com"); err != nil {
		t.Fatal(err)
	}
	g.WaitCloud(1)
	waitEmptyQueue(t, g)
	want := "received meganb@contoso.com, held meganb@contoso.com, retried, released meganb@contoso.com, delivered meganb@contoso.com"
	if got := story(t, g, id); got != want {
		t.Errorf("trace at the end: %s, want %s", got, want)
	}
	if n := len(log.lines("msg=released ", "id="+id, "to=meganb@contoso.com")); n != 1 {
		t.Errorf("%d lines of the log say that it is released:\n%s", n, log.lines())
	}
}

// A person whose move begins while mail waits for a next hop: that it is held now is told once, however often it is looked at.
func TestTransitOfWaitingMailIsObserved(t *testing.T) {
	g, log := logged(t, gatewaytest.Options{Cloud: fakemta.Options{Rules: rule(t, "RCPT * reply 450 4.2.0 not now")}})
	client := admin.NewClient(g.AdminAddr().String())
	id := strings.Fields(g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "x\r\n"))[1]
	if err := client.AddHold(t.Context(), spool.Hold{Address: "meganb@contoso.com"}); err != nil {
		t.Fatal(err)
	}
	retryHeld(t, client, id)
	retryHeld(t, client, id)
	if n := len(log.lines("msg=held ", "id="+id, "to=meganb@contoso.com")); n != 1 {
		t.Errorf("%d lines of the log say that it is held:\n%s", n, log.lines())
	}
}

// Releasing one person of a wave leaves alone the mail that waits for the others: a wave of hundreds would have all of it tried hundreds of times.
func TestReleaseLeavesOthersAlone(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: fastRetry})
	client := admin.NewClient(g.AdminAddr().String())
	for _, address := range []string{"meganb@contoso.com", "adelev@contoso.com"} {
		if err := client.AddHold(t.Context(), spool.Hold{Address: address}); err != nil {
			t.Fatal(err)
		}
	}
	g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "x\r\n")
	id := strings.Fields(g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "x\r\n"))[1]
	before, err := client.QueueItem(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.ReleaseHold(t.Context(), "meganb@contoso.com"); err != nil {
		t.Fatal(err)
	}
	g.WaitCloud(1)
	if it, err := client.QueueItem(t.Context(), id); err != nil || !it.NextAttempt.Equal(before.NextAttempt) {
		t.Errorf("tried at %v instead of %v, %v", it.NextAttempt, before.NextAttempt, err)
	}
	if err := client.ReleaseHold(t.Context(), "adelev@contoso.com"); err != nil {
		t.Fatal(err)
	}
	g.WaitOnPrem(1)
	waitEmptyQueue(t, g)
}

// A DSN is found by its Message-ID, which is all that a user who asks about it has.
func TestDSNHasItsMessageID(t *testing.T) {
	g, log := logged(t, gatewaytest.Options{Configure: fastRetry, Cloud: fakemta.Options{Rules: rule(t, "RCPT * reply 550 5.2.1 disabled")}})
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	dsn := string(g.WaitInternet(1)[0].Data)
	_, rest, _ := strings.Cut(dsn, "\nMessage-ID: ")
	messageID, _, _ := strings.Cut(rest, "\r\n")
	waitEmptyQueue(t, g)
	if n := len(log.lines("msg=delivered ", "to="+sender, "message_id="+messageID)); n != 1 || messageID == "" {
		t.Errorf("%d lines of the log have message_id=%s:\n%s", n, messageID, log.lines("msg=delivered"))
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(messageID, "<"), "@")
	events := traced(t, g, id)
	if len(events) != 1 || events[0].MessageID != messageID {
		t.Errorf("trace of %s: %+v", id, events)
	}
}

// Conversions are counted by class and outcome, and only one that fails with an error has the key error.
func TestTNEFIsObserved(t *testing.T) {
	g, log := logged(t, gatewaytest.Options{})
	for _, class := range []string{"IPM.Note", "IPM.Schedule.Meeting.Request", "IPM.Contoso.Made.Up", ""} {
		stream := []byte("not TNEF")
		if class != "" {
			note := tneftest.Stream{Class: class, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "text")}}
			stream = note.Bytes()
		}
		g.Send(routing.Cloud, "meganb@contoso.com", []string{"adelev@contoso.com"},
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"+base64.StdEncoding.EncodeToString(stream)+"\r\n")
	}
	_, body := get(t, g, "/metrics")
	for _, want := range []string{
		`{class="ipm.note",outcome="found"} 1`, `{class="ipm.note",outcome="converted"} 1`,
		`{class="ipm.schedule.meeting.request",outcome="converted"} 1`, `{class="other",outcome="converted"} 1`,
		`{class="unknown",outcome="found"} 1`, `{class="unknown",outcome="failed"} 1`, `{class="ipm.task",outcome="converted"} 0`,
	} {
		if !strings.Contains(body, "\ncoexist_tnef_total"+want+"\n") {
			t.Errorf("no coexist_tnef_total%s", want)
		}
	}
	if strings.Contains(strings.ToLower(body), "made.up") {
		t.Error("a sender can make up classes")
	}
	if n := len(log.lines(`msg="tnef converted"`)); n != 3 {
		t.Errorf("%d lines of conversions", n)
	}
	if wrong := log.lines("error=<nil>"); len(wrong) > 0 {
		t.Errorf("an error that is none: %s", wrong)
	}
}
