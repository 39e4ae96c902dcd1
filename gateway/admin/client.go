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
	"strings"
	"syscall"
	"time"

	"github.com/coexist-mail/coexist/directory"
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

// Route asks for the decisions about addresses, in their order.
func (c *Client) Route(ctx context.Context, from routing.Side, sender string, addresses []string) (ds []routing.Decision, err error) {
	q := url.Values{"from": {string(from)}, "sender": {sender}, "address": addresses}
	err = c.get(ctx, "/api/route?"+q.Encode(), &ds)
	if err == nil && len(ds) != len(addresses) {
		err = fmt.Errorf("%s answered %d decisions for %d addresses: is it coexist?", c.base, len(ds), len(addresses))
	}
	return ds, err
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
	if resp.StatusCode == http.StatusNotFound && strings.Contains(message, spool.ErrNotFound.Error()) {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(path, "/api/queue/"), spool.ErrNotFound)
	}
	return fmt.Errorf("%s: %s", c.base, message)
}
