package dnsbl_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

func TestProbe(t *testing.T) {
	server := dnstest.Start(t, `
		2.0.0.127.good.example. 60 A 127.0.0.2
		2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.six.example. 60 A 127.0.0.2
		2.0.0.127.all.example. 60 A 127.0.0.2
		1.0.0.127.all.example. 60 A 127.0.0.2
		2.0.0.127.closed.example. 60 A 127.255.255.254
		2.0.0.127.sold.example. 60 A 203.0.113.80`)
	server.Break("broken.example")
	for zone, want := range map[string]string{
		"good.example":   "",
		"good.example.":  "",
		"six.example":    "",
		"none.example":   "answers, but does not list 127.0.0.2",
		"all.example":    "lists 127.0.0.1",
		"closed.example": "does not answer whoever asks through this DNS server (127.255.255.254)",
		"sold.example":   "answers 203.0.113.80",
		"broken.example": "server misbehaving",
	} {
		t.Run(zone, func(t *testing.T) {
			err := dnsbl.Probe(t.Context(), server.Resolver(time.Minute), dnsbl.Zone{Name: zone}, 10*time.Second)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if errors.Is(err, dnsbl.ErrNoTestEntry) != (zone == "none.example") {
				t.Errorf("error %v is or is not ErrNoTestEntry", err)
			}
		})
	}
}
