package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
)

type holdCmd struct {
	Add     holdAddCmd     `cmd:"" help:"Make mail for people in transit wait in the spool."`
	List    holdListCmd    `cmd:"" help:"List the holds."`
	Release holdReleaseCmd `cmd:"" help:"End holds: the mail flows to wherever the directory says."`
}

type holdAddCmd struct {
	configFlag
	Until   string   `help:"When the holds end by themselves: a time (2026-11-30T18:00:00Z, 2026-11-30 18:00) or a duration (12h, 2d). Never without it." placeholder:"TIME"`
	Why     string   `help:"The reason, shown by route and hold list." placeholder:"TEXT"`
	Address []string `arg:"" help:"Addresses, or .csv files whose first column, or column EmailAddress, has them." name:"address|file.csv"`
}

// Run adds a hold for each address.
func (c *holdAddCmd) Run(s *streams) error {
	until, err := parseUntil(c.Until, time.Now())
	if err != nil {
		return usageError{err}
	}
	addresses, err := readAddresses(c.Address)
	if err != nil {
		return usageError{err}
	}
	for _, a := range addresses {
		if at := strings.LastIndexByte(a, '@'); at <= 0 || at == len(a)-1 || strings.ContainsAny(a, " \t<>") {
			return usageError{fmt.Errorf("%q is no address", a)}
		}
	}
	err = eachHold(c.configFlag, addresses, s, "held", func(ctx context.Context, q gateway.Queue, address string) error {
		return q.AddHold(ctx, spool.Hold{Address: address, Until: until, Why: c.Why})
	})
	if err != nil && !errors.Is(err, errFinding) {
		return err
	}
	warnUnknown(c.configFlag, addresses, s)
	return err
}

// warnUnknown names the addresses that the directory does not have: a hold of one that is mistyped holds nobody's mail. They may also be
// in the directory later, so that it is no error.
func warnUnknown(f configFlag, addresses []string, s *streams) {
	cfg, err := f.load()
	if err != nil {
		return // was told before
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	decisions, _, err := gateway.RouteQuery(ctx, cfg, routing.Internet, "", addresses)
	if err != nil {
		fmt.Fprintf(s.err, "coexist: cannot tell whether the directory has the addresses: %v\n", err)
		return
	}
	for i, d := range decisions {
		if d.Reason == routing.Unknown || d.Reason == routing.RelayDenied { // of a domain of ours, or of another's
			fmt.Fprintf(s.err, "coexist: %s: the directory has no such address\n", addresses[i])
		}
	}
}

// readAddresses are the addresses that arguments name, themselves or in .csv files.
func readAddresses(args []string) (addresses []string, err error) {
	for _, a := range args {
		if !strings.HasSuffix(strings.ToLower(a), ".csv") || strings.Contains(a, "@") {
			addresses = append(addresses, unbracket(a))
			continue
		}
		more, err := readCSV(a)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, more...)
	}
	return addresses, nil
}

// parseUntil reads a time or a duration; empty is the zero time, for ever.
func parseUntil(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		if d <= 0 {
			return time.Time{}, fmt.Errorf("--until: %s is not in the future", text)
		}
		return now.Add(d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			if !t.After(now) {
				return time.Time{}, fmt.Errorf("--until: %s is not in the future", text)
			}
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--until: %q is neither a time (2026-11-30T18:00:00Z, 2026-11-30 18:00) nor a duration (12h, 2d)", text)
}

// readCSV reads the addresses of a migration batch: the column EmailAddress when there is a header, else the first.
func readCSV(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading addresses: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	var addresses []string
	column := 0
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading addresses: %s: %w", path, err)
		}
		if first {
			row[0] = strings.TrimPrefix(row[0], "\ufeff")
			if i, ok := headerColumn(row); ok {
				column = i
				continue
			}
		}
		if column < len(row) && strings.TrimSpace(row[column]) != "" {
			addresses = append(addresses, strings.TrimSpace(row[column]))
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("reading addresses: %s has none", path)
	}
	return addresses, nil
}

func headerColumn(row []string) (int, bool) {
	for i, cell := range row {
		switch strings.ToLower(strings.TrimSpace(cell)) {
		case "emailaddress", "address", "mail", "primarysmtpaddress":
			return i, true
		}
	}
	return 0, !strings.Contains(strings.Join(row, ""), "@") // a header all the same
}

type holdListCmd struct {
	configFlag
	jsonFlag
}

// Run prints a line for each hold.
func (c *holdListCmd) Run(s *streams) error {
	q, err := c.openQueue()
	if err != nil {
		return err
	}
	defer q.Close()
	holds, err := q.Holds(context.Background())
	if err != nil {
		return err
	}
	if c.JSON {
		if holds == nil {
			holds = []spool.Hold{}
		}
		return s.json(holds)
	}
	if len(holds) == 0 {
		fmt.Fprintln(s.out, "Nobody is held.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tSINCE\tUNTIL\tWHY")
	for _, h := range holds {
		until := timeText(h.Until)
		if h.Until.IsZero() {
			until = "released"
		} else if !h.Active(time.Now()) {
			until += " (over)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", h.Address, timeText(h.Since), until, h.Why)
	}
	return w.Flush()
}

type holdReleaseCmd struct {
	configFlag
	Address []string `arg:"" help:"Addresses, or .csv files as for hold add." name:"address|file.csv"`
}

// Run ends holds.
func (c *holdReleaseCmd) Run(s *streams) error {
	addresses, err := readAddresses(c.Address)
	if err != nil {
		return usageError{err}
	}
	return eachHold(c.configFlag, addresses, s, "released", func(ctx context.Context, q gateway.Queue, address string) error {
		err := q.ReleaseHold(ctx, address)
		if errors.Is(err, spool.ErrNotFound) {
			err = errors.New("not held")
		}
		return err
	})
}

func eachHold(f configFlag, addresses []string, s *streams, done string, do func(context.Context, gateway.Queue, string) error) error {
	return eachID(f, addresses, s, func(ctx context.Context, q gateway.Queue, address string) error {
		if err := do(ctx, q, address); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s: %s\n", address, done)
		return nil
	})
}
