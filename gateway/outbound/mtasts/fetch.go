package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// Limits of a fetch: RFC 8461 3.3 suggests 64 KB and a minute. A message waits for the first fetch, so it is given less.
const (
	maxPolicySize = 64 << 10
	fetchTimeout  = 20 * time.Second
)

// newClient is an HTTP client as RFC 8461 3.3 wants it: no redirects, no cache, and a certificate that verifies.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout,
		MaxResponseHeaderBytes: maxPolicySize, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}}
}

// withoutRedirects is a copy of the client that follows none.
func withoutRedirects(c *http.Client) *http.Client {
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	return &own
}

// fetch gets the text of a domain's policy.
func fetch(ctx context.Context, client *http.Client, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK { // redirects included
		return "", fmt.Errorf("%s answered %s", url, resp.Status)
	}
	if resp.TLS == nil {
		return "", fmt.Errorf("%s was not fetched by TLS", url)
	}
	// So that nobody who may upload files to a web server speaks for the domain.
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return "", fmt.Errorf("%s is of type %q, not text/plain", url, short(resp.Header.Get("Content-Type")))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicySize+1))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", url, err)
	}
	if len(text) > maxPolicySize {
		return "", errors.New("the policy is longer than 64 KiB")
	}
	return string(text), nil
}
