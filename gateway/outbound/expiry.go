package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// ExpiryWarning is how long before its end a certificate is warned of.
	ExpiryWarning = 30 * 24 * time.Hour
	expiryCheck   = time.Hour
	expiryRepeat  = 24 * time.Hour // between two warnings about one file
)

// Expiry watches the ends of the certificates that the gateway presents, to clients and to next hops: Exchange Online stops
// knowing a gateway whose certificate is over. It is safe for concurrent use.
type Expiry struct {
	clock  func() time.Time
	logger *slog.Logger

	mu     sync.Mutex
	certs  map[string]func() *tls.Certificate
	warned map[string]time.Time
}

// NewExpiry returns an Expiry that watches nothing yet.
func NewExpiry(clock func() time.Time, logger *slog.Logger) *Expiry {
	return &Expiry{clock: clock, logger: logger, warned: map[string]time.Time{}}
}

// Watch replaces what is watched: by file, a function that returns the certificate in use, or nil.
func (e *Expiry) Watch(certs map[string]func() *tls.Certificate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.certs = certs
}

// NotAfter returns when the certificate in use of each file ends: the earliest end in its chain.
func (e *Expiry) NotAfter() map[string]time.Time {
	e.mu.Lock()
	certs := e.certs
	e.mu.Unlock()
	ends := map[string]time.Time{}
	for file, get := range certs {
		if end, ok := notAfter(get()); ok {
			ends[file] = end
		}
	}
	return ends
}

func notAfter(cert *tls.Certificate) (end time.Time, ok bool) {
	if cert == nil {
		return end, false
	}
	for _, der := range cert.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil && (!ok || c.NotAfter.Before(end)) {
			end, ok = c.NotAfter, true
		}
	}
	return end, ok
}

// Run warns until ctx ends, from ExpiryWarning before the end of a certificate, once a day.
func (e *Expiry) Run(ctx context.Context) {
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	for {
		e.Check()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Check logs what is due to be warned of, and returns those files in order.
func (e *Expiry) Check() (warned []string) {
	now := e.clock()
	for file, end := range e.NotAfter() {
		left := end.Sub(now)
		if left > ExpiryWarning || !e.due(file, now) {
			continue
		}
		warned = append(warned, file)
		if left <= 0 {
			e.logger.Error("ALARM: a certificate has expired", "file", file, "not_after", end, "fix", "renew it; the file is read again by itself")
		} else {
			e.logger.Warn("a certificate expires soon: renew it", "file", file, "not_after", end, "days", int(left.Hours()/24))
		}
	}
	slices.Sort(warned)
	return warned
}

// due reports whether a file was not warned of lately, and notes that it is now.
func (e *Expiry) due(file string, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if last, ok := e.warned[file]; ok && now.Sub(last) < expiryRepeat {
		return false
	}
	e.warned[file] = now
	return true
}
