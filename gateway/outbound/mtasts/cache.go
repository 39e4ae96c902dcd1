package mtasts

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// refreshAfter is the age from which a policy is looked for anew, so that it does not lapse (RFC 8461 10.2).
	refreshAfter = 24 * time.Hour
	// failurePause is how long after a failed fetch the next one waits, for the same id (RFC 8461 3.3).
	failurePause = 5 * time.Minute
	// defaultEntries bounds the cache.
	defaultEntries = 10_000
)

// Options are what a Cache works with.
type Options struct {
	// LookupTXT returns the TXT records of a name, the strings of each joined. An error, of whatever kind, means that nothing
	// is known. Required.
	LookupTXT func(ctx context.Context, name string) ([]string, error)
	// Client fetches the policies. It must verify certificates; redirects are not followed whatever it says. Default: one with
	// the system's authorities.
	Client *http.Client
	// Path of the file that keeps the policies. Empty: they are lost with the process.
	Path string
	// Entries bounds the number of domains remembered; 10,000.
	Entries int
	// Clock. Default: time.Now.
	Clock func() time.Time
	// Logger. Default: discards.
	Logger *slog.Logger
}

// Cache knows the policies. It is safe for concurrent use.
type Cache struct {
	o      Options
	client *http.Client
	ctx    context.Context // of the fetches, which serve whoever asks
	cancel context.CancelFunc
	flight singleflight.Group
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	entries  map[string]entry
	failures map[string]failure
	lines    int  // in the file
	unsaved  bool // the file could not be written; told once
}

// entry is a policy that was fetched.
type entry struct {
	policy  Policy
	id      string
	fetched time.Time
}

func (e entry) expires() time.Time { return e.fetched.Add(e.policy.MaxAge) }

// failure is a fetch that gave nothing.
type failure struct {
	id string
	at time.Time
}

// New returns a Cache with what the file holds. A file that cannot be read or written is logged, and the cache works without:
// mail must flow. Call Close to end fetches.
func New(o Options) *Cache {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Entries <= 0 {
		o.Entries = defaultEntries
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	c := &Cache{o: o, client: withoutRedirects(o.Client), entries: map[string]entry{}, failures: map[string]failure{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.load()
	return c
}

// Close ends the fetches in progress. What was fetched is in the file already.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// Policy returns the policy that applies to a domain (an A-label name without final dot) now; false when there is none, which
// includes one of mode None. It waits for the first fetch of a policy, and for a changed one; never longer than ctx.
func (c *Cache) Policy(ctx context.Context, domain string) (Policy, bool) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	records, err := c.o.LookupTXT(ctx, "_mta-sts."+domain)
	id, announced := "", false
	if err == nil {
		id, announced = recordID(records)
	}
	// RFC 8461 3.1, 5.1: a record that is missing or cannot be had takes nothing from a policy that is cached.
	old, known := c.get(domain)
	switch now := c.o.Clock(); {
	case !announced || c.failedLately(domain, id, now):
	case !known || old.id != id:
		c.refresh(ctx, domain, id)
		old, known = c.get(domain)
	case now.Sub(old.fetched) >= min(refreshAfter, old.policy.MaxAge/2):
		c.refreshLater(domain, id)
	}
	return old.policy, known && old.policy.Mode != None
}

// get returns the cached policy of a domain, unless its max_age is over.
func (c *Cache) get(domain string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[domain]
	return e, ok && c.o.Clock().Before(e.expires())
}

func (c *Cache) failedLately(domain, id string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.failures[domain]
	return ok && f.id == id && now.Sub(f.at) < failurePause
}

// refresh fetches, once for all who ask at the same time, and waits for it as long as ctx allows.
func (c *Cache) refresh(ctx context.Context, domain, id string) {
	done := c.flight.DoChan(domain, func() (any, error) {
		if c.begin() {
			defer c.wg.Done()
			c.fetch(domain, id)
		}
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// refreshLater fetches without waiting.
func (c *Cache) refreshLater(domain, id string) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	c.refresh(gone, domain, id)
}

// begin counts a fetch that Close has to wait for; false after Close.
func (c *Cache) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Add(1)
	return true
}

// fetch replaces the entry of a domain, or notes why it can't.
func (c *Cache) fetch(domain, id string) {
	text, err := fetch(c.ctx, c.client, domain)
	var policy Policy
	if err == nil {
		policy, err = ParsePolicy(text)
	}
	now := c.o.Clock()
	if err != nil {
		c.failed(domain, failure{id: id, at: now}, err)
		return
	}
	e := entry{policy: policy, id: id, fetched: now}
	c.o.Logger.Info("MTA-STS policy fetched", "domain", domain, "id", id, "mode", policy.Mode, "max_age", policy.MaxAge, "mx", policy.MX)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failures, domain)
	c.entries[domain] = e
	c.evict(now)
	c.save(domain, e)
}

// failed notes a fetch that gave nothing. That an old policy stays in force is what an attacker would like an administrator
// not to notice the end of (RFC 8461 5.1, 10.2).
func (c *Cache) failed(domain string, f failure, err error) {
	if c.ctx.Err() != nil {
		return
	}
	if old, known := c.get(domain); known {
		c.o.Logger.Warn("MTA-STS policy cannot be renewed, the old one stays", "domain", domain, "mode", old.policy.Mode,
			"until", old.expires().UTC().Format(time.RFC3339), "error", err)
	} else {
		c.o.Logger.Info("MTA-STS policy is announced but cannot be had, none is applied", "domain", domain, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) >= c.o.Entries {
		clear(c.failures) // they only save fetches
	}
	c.failures[domain] = f
}

// evict keeps the cache within its bound: what is out of date goes, then what was fetched longest ago. The caller holds mu.
func (c *Cache) evict(now time.Time) {
	if len(c.entries) <= c.o.Entries {
		return
	}
	var oldest string
	for domain, e := range c.entries {
		if !now.Before(e.expires()) {
			delete(c.entries, domain)
		} else if oldest == "" || e.fetched.Before(c.entries[oldest].fetched) {
			oldest = domain
		}
	}
	if len(c.entries) > c.o.Entries {
		delete(c.entries, oldest)
	}
}
