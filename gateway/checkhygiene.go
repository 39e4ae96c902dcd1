package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
)

// checkHygiene makes the filters, and reaches for what they ask: DNS, blocklists and milters.
func checkHygiene(ctx context.Context, cfg *config.Config, timeout time.Duration) (lines []CheckLine) {
	h := &cfg.Hygiene
	if _, err := newFilter(cfg); err != nil {
		lines = append(lines, line("hygiene", err, ""))
	}
	if h.Resolver != "" || len(h.Blocklists) > 0 || h.Authenticate != "off" && h.Authenticate != "" {
		lines = append(lines, checkResolver(ctx, cfg, timeout))
	}
	lines = append(lines, checkBlocklists(ctx, h, timeout)...)
	for _, address := range h.Milters {
		lines = append(lines, checkMilter(ctx, milterFilter(address, h), timeout))
	}
	return lines
}

// checkResolver asks what the DNS server of the filters has to know in any case: something of our own domain or, since a server that is
// there for blocklists only may refuse that, of the first list. Any answer shows that there is somebody to ask.
func checkResolver(ctx context.Context, cfg *config.Config, timeout time.Duration) CheckLine {
	h := &cfg.Hygiene
	what, name := "DNS, for hygiene", cfg.Domains[0]
	if h.Resolver != "" {
		what += ", at " + h.Resolver
	}
	if len(h.Blocklists) > 0 && (h.Authenticate == "off" || h.Authenticate == "") {
		name = h.Blocklists[0]
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := lookup.Bound(lookup.Server(h.Resolver), timeout).LookupMX(ctx, name)
	var d *net.DNSError
	if errors.As(err, &d) && d.IsNotFound {
		err = nil
	}
	return line(what, err, "answers")
}

// checkBlocklists asks all lists at once for their test entries.
func checkBlocklists(ctx context.Context, h *config.Hygiene, timeout time.Duration) []CheckLine {
	lines := make([]CheckLine, len(h.Blocklists))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, zone := range h.Blocklists {
		wg.Go(func() {
			err := dnsbl.Probe(ctx, lookup.Server(h.Resolver), dnsbl.Zone{Name: zone}, timeout)
			lines[i] = line("blocklist "+zone, err, "answers, with its test entry")
			if errors.Is(err, dnsbl.ErrNoTestEntry) {
				lines[i].Result = CheckWarning
			}
		})
	}
	wg.Wait()
	return lines
}

// checkMilter negotiates with a content filter.
func checkMilter(ctx context.Context, f milter.Filter, timeout time.Duration) CheckLine {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	version, err := milter.Probe(ctx, f)
	if err != nil && f.Fallback == milter.TempFail {
		err = fmt.Errorf("%w: until it answers, mail from the internet is put off (milter_down)", err)
	}
	return line("milter "+strings.TrimPrefix(f.Address, "unix:"), err, fmt.Sprintf("answers, version %d of the protocol", version))
}
