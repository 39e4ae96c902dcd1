package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/spool"
)

// openQueue is the queue of the gateway that the configuration is for.
func (f configFlag) openQueue() (gateway.Queue, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, err
	}
	return gateway.OpenQueue(cfg)
}

type queueCmd struct {
	List    queueListCmd `cmd:"" help:"List the queue, next attempt first."`
	Show    queueShowCmd `cmd:"" help:"Show messages of the queue."`
	Retry   queueVerbCmd `cmd:"" help:"Try messages now."`
	Hold    queueVerbCmd `cmd:"" help:"Hold messages until they are released."`
	Release queueVerbCmd `cmd:"" help:"Release held messages."`
	Drop    queueDropCmd `cmd:"" help:"Remove messages, and tell their senders."`
}

type queueListCmd struct {
	configFlag
	jsonFlag
}

// Run prints a line for each message.
func (c *queueListCmd) Run(s *streams) error {
	q, err := c.openQueue()
	if err != nil {
		return err
	}
	defer q.Close()
	rows, err := q.List(context.Background())
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(queueRows(rows))
	}
	if len(rows) == 0 {
		fmt.Fprintln(s.out, "The queue is empty.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tSIZE\tRECEIVED\tATTEMPTS\tNEXT\tSENDER\tRECIPIENTS\tLAST REPLY")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t<%s>\t%s\t%s\n", r.ID, r.State, r.Size, timeText(r.Received), r.Attempts, timeText(r.NextAttempt),
			r.Sender, strings.Join(r.Recipients, ","), strings.ReplaceAll(r.LastReply, "\n", " "))
	}
	return w.Flush()
}

// queueRow is a row whose next_attempt is always there: null when no attempt is planned.
type queueRow struct {
	spool.Row
	NextAttempt *time.Time `json:"next_attempt"`
}

func queueRows(rows []spool.Row) []queueRow {
	out := make([]queueRow, len(rows))
	for i, r := range rows {
		out[i].Row = r
		if !r.NextAttempt.IsZero() {
			out[i].NextAttempt = &r.NextAttempt
		}
	}
	return out
}

type queueShowCmd struct {
	configFlag
	jsonFlag
	Raw bool     `help:"Write the message itself."`
	ID  []string `arg:"" help:"IDs of messages."`
}

// Run prints what is known of messages.
func (c *queueShowCmd) Run(s *streams) error {
	return eachID(c.configFlag, c.ID, s, func(ctx context.Context, q gateway.Queue, id string) error {
		if c.Raw {
			return q.Raw(ctx, id, s.out)
		}
		it, err := q.Show(ctx, id)
		if err != nil {
			return err
		}
		if c.JSON {
			return s.json(it)
		}
		printItem(s, it)
		return nil
	})
}

func printItem(s *streams, it *spool.Item) {
	fmt.Fprintf(s.out, "%s  %s  %s  %d octets\n", it.ID, it.Kind, it.State, it.Size)
	fmt.Fprintf(s.out, "  from       <%s>, %s, client %s (%s)\n", it.Envelope.ReversePath, it.Source, it.Client, it.HELO)
	fmt.Fprintf(s.out, "  received   %s, message-id %s\n", timeText(it.Received), it.MessageID)
	fmt.Fprintf(s.out, "  attempts   %d, next %s\n", it.Attempts, timeText(it.NextAttempt))
	if it.Why != "" {
		fmt.Fprintf(s.out, "  why        %s\n", it.Why)
	}
	for i := range it.Recipients {
		r := &it.Recipients[i]
		fmt.Fprintf(s.out, "  to         <%s>  %s\n", r.Asked, r.State)
		fmt.Fprintf(s.out, "             as <%s> to %s, next hop %s, last attempt %s\n", r.Address, r.Side, r.NextHop, timeText(r.LastAttempt))
		if r.LastReply != "" {
			fmt.Fprintf(s.out, "             %s\n", strings.ReplaceAll(r.LastReply, "\n", " "))
		}
	}
}

type queueVerbCmd struct {
	configFlag
	ID []string `arg:"" help:"IDs of messages."`
}

// Run does the verb that was typed, the command's name, to each message.
func (c *queueVerbCmd) Run(s *streams, verb verbName) error {
	return doVerb(c.configFlag, c.ID, s, string(verb))
}

type queueDropCmd struct {
	configFlag
	NoDSN bool     `help:"Do not tell the senders." name:"no-dsn"`
	ID    []string `arg:"" help:"IDs of messages."`
}

// Run removes messages.
func (c *queueDropCmd) Run(s *streams) error {
	verb := "drop"
	if c.NoDSN {
		verb = "drop-silently"
	}
	return doVerb(c.configFlag, c.ID, s, verb)
}

func doVerb(f configFlag, ids []string, s *streams, verb string) error {
	return eachID(f, ids, s, func(ctx context.Context, q gateway.Queue, id string) error {
		if err := q.Do(ctx, verb, id); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s: %s\n", id, verb)
		return nil
	})
}

// eachID does something to each message, and goes on after one that fails.
func eachID(f configFlag, ids []string, s *streams, do func(context.Context, gateway.Queue, string) error) error {
	q, err := f.openQueue()
	if err != nil {
		return err
	}
	defer q.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	failed := false
	for _, id := range ids {
		if err := do(ctx, q, id); err != nil {
			failed = true
			fmt.Fprintf(s.err, "coexist: %s: %v\n", id, inWords(err))
		}
	}
	if failed {
		return errFinding
	}
	return nil
}

// inWords says what is in the way of a verb.
func inWords(err error) error {
	switch {
	case errors.Is(err, spool.ErrNotFound):
		return errors.New("no such message in the queue")
	case errors.Is(err, spool.ErrHeld):
		return errors.New("the message is held; release it first")
	case errors.Is(err, spool.ErrClaimed):
		return errors.New("the message is being delivered now; try again when that has ended")
	}
	return err
}
