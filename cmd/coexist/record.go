package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/recordings"
)

type recordCmd struct {
	Start  recordStartCmd  `cmd:"" help:"Make the running gateway write down what clients say, and what it answers."`
	Stop   recordStopCmd   `cmd:"" help:"End recordings."`
	List   recordListCmd   `cmd:"" help:"List the recordings, the newest first."`
	Show   recordShowCmd   `cmd:"" help:"Print a recording."`
	Remove recordRemoveCmd `cmd:"" help:"Delete recordings."`
}

type recordStartCmd struct {
	configFlag
	jsonFlag
	For     time.Duration `help:"When it ends by itself: after this time, up to 24h." default:"15m"`
	Size    int64         `help:"When it ends by itself: after this much, in MiB, up to 100." default:"10" placeholder:"MIB"`
	Bodies  bool          `help:"Write down the messages too."`
	Clients []string      `arg:"" help:"Addresses or networks of clients, as 192.0.2.7 or 192.0.2.0/24." name:"network"`
}

// Run starts a recording.
func (c *recordStartCmd) Run(s *streams) error {
	r := recordings.Request{Seconds: int64(c.For / time.Second), Bytes: c.Size << 20, Bodies: c.Bodies}
	for _, text := range c.Clients {
		network, err := parseNetwork(text)
		if err != nil {
			return usageError{err}
		}
		r.Clients = append(r.Clients, network)
	}
	switch {
	case c.For < time.Second || c.For > recordings.MaxFor:
		return usageError{fmt.Errorf("--for: %v, expected 1s to %v", c.For, recordings.MaxFor)}
	case c.Size < 1 || c.Size > recordings.MaxSize>>20:
		return usageError{fmt.Errorf("--size: %d MiB, expected 1 to %d", c.Size, recordings.MaxSize>>20)}
	}
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	info, err := client.StartRecording(context.Background(), r)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(info)
	}
	fmt.Fprintf(s.out, "%s: recording connections of %s that begin from now on, until %s\n", info.ID, networksText(info.Clients), timeText(info.Until))
	return nil
}

// parseNetwork reads a network, or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network, expected 192.0.2.7 or 192.0.2.0/24", text)
	}
	return p, nil
}

func (f configFlag) adminClient() (*admin.Client, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg.Admin.Address), nil
}

type recordStopCmd struct {
	configFlag
	ID []string `arg:"" help:"IDs of recordings."`
}

// Run ends recordings.
func (c *recordStopCmd) Run(s *streams) error {
	return eachRecording(c.configFlag, c.ID, s, "stopped", func(ctx context.Context, client *admin.Client, _ *recordings.Store, id string) error {
		_, err := client.StopRecording(ctx, id)
		return err
	})
}

type recordRemoveCmd struct {
	configFlag
	ID []string `arg:"" help:"IDs of recordings."`
}

// Run deletes recordings, of a gateway that runs or not.
func (c *recordRemoveCmd) Run(s *streams) error {
	return eachRecording(c.configFlag, c.ID, s, "removed", func(ctx context.Context, client *admin.Client, kept *recordings.Store, id string) error {
		err := client.RemoveRecording(ctx, id)
		if errors.Is(err, admin.ErrNotRunning) {
			err = kept.Remove(id)
		}
		return err
	})
}

// eachRecording does something to each recording, and goes on after one that fails.
func eachRecording(f configFlag, ids []string, s *streams, done string, do func(context.Context, *admin.Client, *recordings.Store, string) error) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	failed := false
	for _, id := range ids {
		if err := do(context.Background(), admin.NewClient(cfg.Admin.Address), gateway.RecordingsIn(cfg), id); err != nil {
			failed = true
			fmt.Fprintf(s.err, "coexist: %s: %v\n", id, err)
			continue
		}
		fmt.Fprintf(s.out, "%s: %s\n", id, done)
	}
	if failed {
		return errFinding
	}
	return nil
}

type recordListCmd struct {
	configFlag
	jsonFlag
}

// Run prints a line for each recording.
func (c *recordListCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	list, err := admin.NewClient(cfg.Admin.Address).Recordings(context.Background())
	if errors.Is(err, admin.ErrNotRunning) {
		list, err = gateway.RecordingsIn(cfg).List(), nil
	}
	switch {
	case err != nil:
		return err
	case c.JSON:
		return s.json(list)
	case len(list) == 0:
		fmt.Fprintln(s.out, "There are no recordings.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tSTARTED\tUNTIL\tSIZE\tMESSAGES\tCLIENTS")
	for _, i := range list {
		messages := "no"
		if i.Bodies {
			messages = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", i.ID, i.State, timeText(i.Started), timeText(i.Until), i.Size, messages, networksText(i.Clients))
	}
	return w.Flush()
}

func networksText(networks []netip.Prefix) string {
	words := make([]string, len(networks))
	for i, n := range networks {
		if words[i] = n.String(); n.IsSingleIP() {
			words[i] = n.Addr().String()
		}
	}
	return strings.Join(words, ",")
}

type recordShowCmd struct {
	configFlag
	Dialog bool   `help:"As a dialog, which smtpdialog plays against any server."`
	ID     string `arg:"" help:"ID of a recording."`
}

// Run prints a recording.
func (c *recordShowCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	to := s.out
	if c.Dialog {
		to = &text
	}
	err = admin.NewClient(cfg.Admin.Address).Recording(context.Background(), c.ID, to)
	if errors.Is(err, admin.ErrNotRunning) {
		err = copyRecording(to, gateway.RecordingsIn(cfg), c.ID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.ID, err)
	}
	if c.Dialog {
		return recordings.Convert(s.out, &text)
	}
	return nil
}

func copyRecording(w io.Writer, kept *recordings.Store, id string) error {
	f, err := kept.Open(id)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
