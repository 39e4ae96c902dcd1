package outbound

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExpiry(t *testing.T) {
	ca := newAuthority(t)
	base := time.Now().Truncate(time.Second)
	now := base.Add(-60 * 24 * time.Hour)
	soon := ca.issue(t, "mx.contoso.com", base.Add(-2*time.Hour)) // ends at base
	chain := *ca.issue(t, "gw1.contoso.com", base)                // ends at base + 2 h, its authority earlier
	var log logs
	e := NewExpiry(func() time.Time { return now }, log.logger())
	check := func(at time.Duration, want ...string) {
		t.Helper()
		now = base.Add(at)
		if diff := cmp.Diff(want, e.Check()); diff != "" {
			t.Errorf("at %v: %s", at, diff)
		}
	}
	check(0)
	e.Watch(map[string]func() *tls.Certificate{
		"a.pem": func() *tls.Certificate { return soon }, "b.pem": func() *tls.Certificate { return &chain },
		"none.pem": func() *tls.Certificate { return nil }, "broken.pem": func() *tls.Certificate { return &tls.Certificate{Certificate: [][]byte{{1}}} },
	})
	want := map[string]time.Time{"a.pem": base.UTC(), "b.pem": ca.cert.NotAfter}
	if diff := cmp.Diff(want, e.NotAfter()); diff != "" {
		t.Error(diff)
	}
	const day = 24 * time.Hour
	check(-31 * day)
	check(-30*day, "a.pem")
	check(-30*day+time.Hour, "b.pem") // its authority ends first
	check(-29*day - time.Hour)
	check(-29*day, "a.pem")
	check(time.Minute, "a.pem", "b.pem")
	if text := log.String(); !strings.Contains(text, "days=29") || strings.Count(text, "ALARM: a certificate has expired") != 1 {
		t.Errorf("log:\n%s", text)
	}
	renewed := ca.issue(t, "mx.contoso.com", base.Add(90*day))
	renewed.Certificate = renewed.Certificate[:1]
	e.Watch(map[string]func() *tls.Certificate{"a.pem": func() *tls.Certificate { return renewed }})
	check(50 * day)
	check(61*day, "a.pem")
}
