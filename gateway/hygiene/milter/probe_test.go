package milter_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
)

func TestProbe(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	other := scripted(t, func(byte) []string { return []string{"HTTP/1.1 400 Bad Request"} })
	good := &filter{}
	for _, c := range []struct {
		name, address string
		version       int
		err           string
	}{
		{"version 2", serve(t, "tcp", good), 2, ""},
		{"version 2, a socket", serve(t, "unix", &filter{}), 2, ""},
		{"version 6", scripted(t, func(byte) []string { return []string{negotiation(0)} }), 6, ""},
		{"no socket", filepath.Join(t.TempDir(), "none.sock"), 0, "no such file"},
		{"is no milter", other, 0, "milter: "},
		{"closes at once", scripted(t, func(byte) []string { return nil }), 0, "EOF"},
		{"no address", "localhost", 0, "want host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			version, err := milter.Probe(t.Context(), milter.Filter{Address: c.address})
			if version != c.version || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("version %d, error %v, want %d, %q", version, err, c.version, c.err)
			}
		})
	}
	good.mu.Lock()
	defer good.mu.Unlock()
	if len(good.told) > 0 {
		t.Errorf("the filter was told %q", good.told)
	}

	t.Run("never answers", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := milter.Probe(ctx, milter.Filter{Address: silent.Addr().String()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}
