package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/trace"
)

type traceCmd struct {
	configFlag
	jsonFlag
	Recipient string `help:"Only events of this recipient." placeholder:"ADDR"`
	Sender    string `help:"Only events of messages from this sender." placeholder:"ADDR"`
	ID        string `help:"Only events of this message, as in the 250 reply." name:"id"`
	MessageID string `help:"Only events of messages with this Message-ID." name:"message-id"`
	Since     span   `help:"Only events of this last time, as 1h or 2d." placeholder:"TIME"`
	Limit     int    `help:"The newest so many events." default:"1000"`
	Follow    bool   `help:"Go on, and print events as they happen."`
}

// Run searches the trace in data_dir; the gateway may be running or not.
func (c *traceCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Since < 0 {
		return usageError{fmt.Errorf("--since: %v is in the future", time.Duration(c.Since))}
	}
	if c.Sender == "<>" { // an empty field selects all
		return usageError{errors.New("--sender: the null reverse-path cannot be searched for; a DSN is found by --recipient, --id or --message-id")}
	}
	q := trace.Query{Recipient: unbracket(c.Recipient), Sender: unbracket(c.Sender), ID: c.ID, MessageID: bracketed(c.MessageID), Limit: c.Limit}
	if c.Since > 0 {
		q.Since = time.Now().Add(-time.Duration(c.Since))
	}
	r := trace.NewReader(filepath.Join(cfg.DataDir, "trace"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// A running gateway has the latest events in memory; whether there is one does not matter otherwise.
	_ = admin.NewClient(cfg.Admin.Address).FlushTrace(ctx)
	if c.Follow {
		err := r.Follow(ctx, q, func(e trace.Event) error { return c.print(s, e) })
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	events, err := r.Search(ctx, q)
	if q.MessageID != c.MessageID && err == nil && len(events) == 0 { // some Message-IDs have no brackets
		q.MessageID = c.MessageID
		events, err = r.Search(ctx, q)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		if events == nil {
			events = []trace.Event{}
		}
		return s.json(events)
	}
	for _, e := range events {
		if err := c.print(s, e); err != nil {
			return err
		}
	}
	return nil
}

// span is a duration that may be in days, as in the configuration.
type span time.Duration

// UnmarshalText implements encoding.TextUnmarshaler, for flags.
func (s *span) UnmarshalText(text []byte) error {
	d, err := config.ParseDuration(string(text))
	*s = span(d)
	return err
}

// unbracket takes the angle brackets off an address that was copied from a log, a trace or a header.
func unbracket(address string) string {
	if inner, ok := strings.CutPrefix(address, "<"); ok && strings.HasSuffix(inner, ">") {
		return strings.TrimSuffix(inner, ">")
	}
	return address
}

// bracketed is a Message-ID as header fields have it (RFC 5322 3.6.4).
func bracketed(messageID string) string {
	if messageID == "" || strings.HasPrefix(messageID, "<") {
		return messageID
	}
	return "<" + messageID + ">"
}

// print writes one event as a line: what a grep for an id or address finds, or an object of JSON.
func (c *traceCmd) print(s *streams, e trace.Event) error {
	if c.JSON {
		line := json.NewEncoder(s.out)
		line.SetEscapeHTML(false)
		return line.Encode(e)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-16s %-12s", e.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"), e.ID, e.Event)
	for _, f := range []struct{ name, value string }{
		{"from", bracket(e.Sender, e.Recipient != "" || e.Sender != "")}, {"to", bracket(e.Recipient, e.Recipient != "")}, {"side", e.Side},
		{"next_hop", e.NextHop}, {"reply", e.Reply}, {"reason", e.Reason}, {"message_id", e.MessageID},
	} {
		if f.value != "" {
			if strings.ContainsFunc(f.value, needsQuotes) {
				f.value = strconv.Quote(f.value)
			}
			fmt.Fprintf(&b, " %s=%s", f.name, f.value)
		}
	}
	if e.DelayMS > 0 {
		fmt.Fprintf(&b, " delay=%v", time.Duration(e.DelayMS)*time.Millisecond)
	}
	_, err := fmt.Fprintln(s.out, b.String())
	return err
}

// needsQuotes tells what would tear a line apart, or command a terminal.
func needsQuotes(r rune) bool { return r == ' ' || r == '"' || !unicode.IsPrint(r) }

func bracket(address string, shown bool) string {
	if !shown {
		return ""
	}
	return "<" + address + ">"
}
