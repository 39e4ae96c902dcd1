package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
)

// TestTraceLine: one line for each event, whatever strangers wrote into it.
func TestTraceLine(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 5e6, time.UTC)
	stamp := at.Local().Format("2006-01-02T15:04:05.000Z07:00")
	for _, c := range []struct {
		name  string
		event trace.Event
		want  string
	}{
		{"delivered", trace.Event{Time: at, ID: "06H0W1", Event: trace.Delivered, Sender: "a@fabrikam.com", Recipient: "adelev@contoso.com", Side: "onprem",
			NextHop: "mail.contoso.local", Reply: "250 2.0.0 ok", DelayMS: 1500},
			`06H0W1           delivered    from=<a@fabrikam.com> to=<adelev@contoso.com> side=onprem next_hop=mail.contoso.local reply="250 2.0.0 ok" delay=1.5s`},
		{"null reverse-path", trace.Event{Time: at, ID: "06H0W1", Event: trace.Bounced, Recipient: "adelev@contoso.com"},
			`06H0W1           bounced      from=<> to=<adelev@contoso.com>`},
		{"a verb", trace.Event{Time: at, ID: "06H0W1", Event: trace.Dropped, Reason: "queue drop"}, `06H0W1           dropped      reason="queue drop"`},
		{"a terminal's commands", trace.Event{Time: at, Event: trace.Received, MessageID: "<\x1b[31m\n@x>"}, `                 received     message_id="<\x1b[31m\n@x>"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := (&traceCmd{}).print(&streams{out: &out}, c.event); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stamp+" "+c.want+"\n", out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestQueueRows: next_attempt is there also when there is none.
func TestQueueRows(t *testing.T) {
	var out bytes.Buffer
	rows := []spool.Row{{ID: "06H0W1", State: spool.Held, Recipients: []string{}}, {ID: "06H0W2", NextAttempt: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}}
	if err := (&streams{out: &out}).json(queueRows(rows)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"next_attempt": null`, `"next_attempt": "2026-11-24T09:00:00Z"`} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%s is not there once:\n%s", want, out.String())
		}
	}
	if strings.Count(out.String(), "next_attempt") != 2 {
		t.Errorf("a key is there twice:\n%s", out.String())
	}
	out.Reset()
	if err := (&streams{out: &out}).json(queueRows(nil)); err != nil || out.String() != "[]\n" {
		t.Errorf("no rows: %q, %v", out.String(), err)
	}
}

// TestCommandFirst: flags in front of the command move behind it, and nothing else moves.
func TestCommandFirst(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"route a@contoso.com --json", "route a@contoso.com --json"},
		{"--config x route a@contoso.com", "route a@contoso.com --config x"},
		{"--json --config=x queue list", "queue list --json --config=x"},
		{"--config x route -- --json", "route --config x -- --json"},
		{"--config", "--config"},
		{"--config x", "--config x"},
		{"--help", "--help"},
		{"--bogus --config x serve", "--bogus --config x serve"},
		{"", ""},
	} {
		if got := strings.Join(commandFirst(strings.Fields(c.args)), " "); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.args, got, c.want)
		}
	}
}

// TestParseUntil: the forms of the end of a hold.
func TestParseUntil(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"": {}, "12h": now.Add(12 * time.Hour), "1d12h": now.Add(36 * time.Hour), "2199-01-02T03:04:05Z": time.Date(2199, 1, 2, 3, 4, 5, 0, time.UTC),
		"2199-01-02 18:00": time.Date(2199, 1, 2, 18, 0, 0, 0, time.Local), "2199-01-02": time.Date(2199, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseUntil(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"0s", "-1h", "2001-01-01", "tomorrow", "12", "2199-13-01"} {
		if got, err := parseUntil(text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}
