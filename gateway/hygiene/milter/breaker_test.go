package milter_test

import (
	"context"
	"errors"
	"net"
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

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A dead filter is asked three times, and then once in a while; when it is there again, all mail goes to it.
func TestDeadFilterIsNotWaitedFor(t *testing.T) {
	for _, fallback := range []milter.Fallback{milter.TempFail, milter.Accept} {
		t.Run(string(fallback), func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "m.sock")
			now := &clock{t: time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)}
			c := chain(t, milter.Filter{Address: socket, Fallback: fallback, Clock: now.now})
			ask := func() (notAsked, failed bool) {
				v := c.Examine(context.Background(), session, []byte(mail))
				if (v.Reply != nil) != (len(v.Failed) > 0 && fallback == milter.TempFail) {
					t.Errorf("%+v", v)
				}
				if len(v.Failed) == 0 {
					return false, false
				}
				return errors.Is(v.Failed[0], milter.ErrNotAsked), true
			}
			expect := func(step string, wantNotAsked, wantFailed bool) {
				t.Helper()
				if notAsked, failed := ask(); notAsked != wantNotAsked || failed != wantFailed {
					t.Errorf("%s: not asked %v, failed %v", step, notAsked, failed)
				}
			}
			for range 3 {
				expect("at first", false, true)
			}
			for range 5 {
				expect("dead", true, true)
			}
			if s := c.Stats()[0]; s.Up || s.Asked != 3 || s.Count[milter.Broken] != 3 || s.Count[milter.NotAsked] != 5 {
				t.Errorf("%+v", s)
			}
			now.add(10 * time.Second)
			expect("tried again in vain", false, true)
			expect("dead again", true, true)
			f := &filter{macros: map[string]string{}}
			ln, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			go (&gomilter.Server{NewMilter: func() gomilter.Milter { return f }}).Serve(ln)
			expect("there, and not tried yet", true, true)
			now.add(10 * time.Second)
			for range 3 {
				expect("there", false, false)
			}
			if s := c.Stats()[0]; !s.Up || s.Count[milter.Accepted] != 3 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// While a dead filter is tried again, others do not wait for the outcome.
func TestOneTriesAtATime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	now := &clock{t: time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)}
	c := chain(t, milter.Filter{Address: silent.Addr().String(), Failures: 1, Answer: 200 * time.Millisecond, Clock: now.now})
	c.Examine(context.Background(), session, []byte(mail))
	now.add(time.Minute)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { c.Examine(context.Background(), session, []byte(mail)) })
	}
	wg.Wait()
	if s := c.Stats()[0]; s.Count[milter.Broken] != 2 || s.Count[milter.NotAsked] != 9 {
		t.Errorf("%+v", s)
	}
}

// A filter that fails in the middle of messages is asked on: else a message that kills it would let those pass that follow. And a gateway
// that gives up first says nothing about the filter.
func TestWhatDoesNotCount(t *testing.T) {
	address := scripted(t, func(code byte) []string {
		switch code {
		case 'O':
			return []string{negotiation(0)}
		case 'E':
			return nil
		}
		return []string{"c"}
	})
	c := chain(t, milter.Filter{Address: address, Fallback: milter.Accept})
	for range 5 {
		v := c.Examine(context.Background(), session, []byte(mail))
		if len(v.Failed) != 1 || errors.Is(v.Failed[0], milter.ErrNotAsked) {
			t.Errorf("%v", v.Failed)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	c = chain(t, milter.Filter{Address: filepath.Join(t.TempDir(), "none.sock"), Fallback: milter.Accept})
	for range 5 {
		v := c.Examine(gone, session, []byte(mail))
		if len(v.Failed) != 1 || errors.Is(v.Failed[0], milter.ErrNotAsked) {
			t.Errorf("%v", v.Failed)
		}
	}
}

// At RCPT the filter hears of the envelope, and that nothing comes of it.
func TestRecipient(t *testing.T) {
	one := session
	one.ID = ""
	one.Envelope.Return, one.Envelope.EnvelopeID = "HDRS", "QQ314159"
	one.Envelope.Recipients = []message.Recipient{{Address: "bob@contoso.com", Notify: []string{"FAILURE", "DELAY"}, ORcptType: "rfc822", ORcpt: "bob@contoso.com"}}
	f := &filter{at: map[string]gomilter.Response{"rcpt": gomilter.NewResponseStr('y', "550 5.7.1 Not this one")}}
	c := chain(t, milter.Filter{Address: serve(t, "tcp", f)})
	v := c.Recipient(context.Background(), one)
	if v.Reply == nil || v.Reply.Code != 550 || v.Reply.Message != "Not this one" || v.Down || len(v.Failed) > 0 {
		t.Errorf("%+v", v)
	}
	if diff := cmp.Diff([]string{"connect [192.0.2.1] tcp4 4711 192.0.2.1", "helo mail.fabrikam.com", "mail john@fabrikam.com", "rcpt bob@contoso.com"}, f.told); diff != "" {
		t.Error(diff)
	}
	if _, there := f.macros["i"]; there {
		t.Error("an id is told, and there is none yet")
	}
	for name, c := range map[string]struct {
		answer gomilter.Response
		code   int
	}{
		"continue": {gomilter.RespContinue, 0}, "accept": {gomilter.RespAccept, 0}, "discard is for the message": {gomilter.RespDiscard, 0},
		"tempfail": {gomilter.RespTempFail, 451}, "reject": {gomilter.RespReject, 550},
	} {
		f := &filter{at: map[string]gomilter.Response{"rcpt": c.answer}}
		v := chain(t, milter.Filter{Address: serve(t, "tcp", f)}).Recipient(context.Background(), one)
		if v.Discard || (v.Reply == nil) != (c.code == 0) || v.Reply != nil && v.Reply.Code != c.code {
			t.Errorf("%s: %+v", name, v)
		}
	}
	v = chain(t, milter.Filter{Address: filepath.Join(t.TempDir(), "none.sock")}).Recipient(context.Background(), one)
	if v.Reply == nil || v.Reply.Code != 451 || !v.Down {
		t.Errorf("filter down: %+v", v)
	}
}

// A filter that leaves out the envelope is asked at RCPT once, and never again.
func TestRecipientOfAFilterThatLooksAtBodies(t *testing.T) {
	var mu sync.Mutex
	sessions := 0
	address := scripted(t, func(code byte) []string {
		if code == 'O' {
			mu.Lock()
			sessions++
			mu.Unlock()
			return []string{negotiation(1<<0 | 1<<1 | 1<<2 | 1<<3)}
		}
		return []string{"c"}
	})
	c := chain(t, milter.Filter{Address: address})
	for range 5 {
		if v := c.Recipient(context.Background(), session); v.Reply != nil || len(v.Failed) > 0 {
			t.Errorf("%+v", v)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if sessions != 1 {
		t.Errorf("%d sessions", sessions)
	}
}

// The steps and macros of a version 6 filter, in the order of Sendmail and Postfix.
func TestStepsInOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer []string // at DATA
		want   string   // "" goes on
	}{
		{"goes on", []string{"p", "c"}, ""},
		{"refuses at DATA", []string{"r"}, "550"},
		{"puts off at DATA", []string{"t"}, "451"},
		{"reply of its own at DATA", []string{"y554 5.7.1 No\x00"}, "554"},
		{"an answer that is none", []string{"Z"}, "down"},
		{"a reply that is none", []string{"yab\x00"}, "down"},
		{"an empty answer", []string{""}, "down"},
		{"closes", nil, "down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var steps strings.Builder
			address := scripted(t, func(code byte) []string {
				mu.Lock()
				defer mu.Unlock()
				steps.WriteByte(code)
				switch code {
				case 'O':
					return []string{negotiation(0)}
				case 'T':
					return tt.answer
				}
				return []string{"c"}
			})
			v := chain(t, milter.Filter{Address: address}).Examine(context.Background(), session, []byte(mail))
			got := ""
			switch {
			case v.Down:
				got = "down"
			case v.Reply != nil:
				got = v.Reply.Error()[:len("SMTP error 550")][len("SMTP error "):]
			}
			if got != tt.want {
				t.Errorf("%+v: %s, want %s", v, got, tt.want)
			}
			mu.Lock()
			defer mu.Unlock()
			if all := strings.TrimRight(steps.String(), "AQ"); tt.want == "" && all != "OCHMRRTLLLLLLNBE" {
				t.Errorf("steps %s", all)
			}
		})
	}
}
