package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/recordings"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
)

// ErrNotRunning means that nobody listens at the admin address.
var ErrNotRunning = errors.New("no gateway is running at the admin address")

// Client asks a running gateway.
type Client struct {
	base string
	http *http.Client
}

// NewClient is a client of the gateway whose admin address is host:port. An unspecified host means this machine.
func NewClient(address string) *Client {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return &Client{base: "http://" + address, http: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{Proxy: nil, DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext},
	}}
}

// Ready asks whether the gateway takes mail, and returns what /readyz says; the error has the reason why not.
func (c *Client) Ready(ctx context.Context) (text string, err error) {
	err = c.do(ctx, http.MethodGet, "/readyz", nil, func(r io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(r, 4096))
		text = strings.TrimSpace(string(b))
		return err
	})
	return text, err
}

// routeBatch is how many addresses are asked about at a time. The longest (RFC 5321 4.5.3.1) fit into the header of a request then.
const routeBatch = 50

// Route asks for the decisions about addresses, in their order.
func (c *Client) Route(ctx context.Context, from routing.Side, sender string, addresses []string) ([]routing.Decision, error) {
	all := make([]routing.Decision, 0, len(addresses))
	for batch := range slices.Chunk(addresses, routeBatch) {
		var ds []routing.Decision
		q := url.Values{"from": {string(from)}, "sender": {sender}, "address": batch}
		if err := c.get(ctx, "/api/route?"+q.Encode(), &ds); err != nil {
			return nil, err
		}
		if len(ds) != len(batch) {
			return nil, fmt.Errorf("%s answered %d decisions for %d addresses: is it coexist?", c.base, len(ds), len(batch))
		}
		all = append(all, ds...)
	}
	return all, nil
}

// Directory asks for the status of the directory.
func (c *Client) Directory(ctx context.Context) (s directory.Status, err error) {
	err = c.get(ctx, "/api/directory", &s)
	return s, err
}

// Queue asks for the queue.
func (c *Client) Queue(ctx context.Context) (rows []spool.Row, err error) {
	err = c.get(ctx, "/api/queue", &rows)
	return rows, err
}

// QueueItem asks for one message without its octets; spool.ErrNotFound when there is none.
func (c *Client) QueueItem(ctx context.Context, id string) (it *spool.Item, err error) {
	it = new(spool.Item)
	err = c.get(ctx, "/api/queue/"+url.PathEscape(id), it)
	return it, err
}

// QueueRaw writes the octets of a queued message.
func (c *Client) QueueRaw(ctx context.Context, id string, w io.Writer) error {
	return c.do(ctx, http.MethodGet, "/api/queue/"+url.PathEscape(id)+"/raw", nil, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// QueueDo does a verb to one message.
func (c *Client) QueueDo(ctx context.Context, verb, id string) error {
	return c.do(ctx, http.MethodPost, "/api/queue/"+url.PathEscape(id)+"/"+url.PathEscape(verb), nil, func(io.Reader) error { return nil })
}

// FlushTrace makes a running gateway write the events of its trace that are still in memory.
func (c *Client) FlushTrace(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/api/trace/flush", nil, func(io.Reader) error { return nil })
}

// Holds asks for the addresses whose mail waits.
func (c *Client) Holds(ctx context.Context) (holds []spool.Hold, err error) {
	err = c.get(ctx, "/api/holds", &holds)
	return holds, err
}

// AddHold makes mail for an address wait.
func (c *Client) AddHold(ctx context.Context, h spool.Hold) error {
	body, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding the hold: %w", err)
	}
	return c.do(ctx, http.MethodPost, "/api/holds", bytes.NewReader(body), func(io.Reader) error { return nil })
}

// ReleaseHold ends a hold; spool.ErrNotFound when there is none.
func (c *Client) ReleaseHold(ctx context.Context, address string) error {
	return c.do(ctx, http.MethodDelete, "/api/holds/"+url.PathEscape(address), nil, func(io.Reader) error { return nil })
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, nil, func(r io.Reader) error {
		if err := json.NewDecoder(r).Decode(v); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", c.base, err)
		}
		return nil
	})
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader, use func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.base, err)
	}
	req.Header.Set(controlHeader, "1")
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrNotRunning
	case err != nil:
		return fmt.Errorf("asking %s: %w", c.base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return use(resp.Body)
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	message := strings.TrimSpace(string(text))
	if resp.StatusCode == http.StatusNotFound && (strings.HasPrefix(path, "/api/queue/") || strings.HasPrefix(path, "/api/holds/")) {
		return fmt.Errorf("%s: %w", path, spool.ErrNotFound) // also for what is no ID at all, as ".."
	}
	if resp.StatusCode == http.StatusNotFound && strings.HasPrefix(path, recordingsPath) {
		return recordings.ErrNotFound
	}
	if resp.StatusCode == http.StatusConflict {
		for _, known := range []error{spool.ErrHeld, spool.ErrClaimed, recordings.ErrNotRunning, recordings.ErrTooMany} {
			if strings.Contains(message, known.Error()) {
				return known
			}
		}
	}
	return fmt.Errorf("%s: %s", c.base, message)
}
