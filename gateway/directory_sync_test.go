package gateway

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad/adtest"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// serveAD runs a gateway that reads a directory so rarely that it sees no change by itself.
func serveAD(t *testing.T, server *adtest.Server) (*Gateway, *config.Config) {
	t.Helper()
	cfg := adTestConfig(t, server)
	cfg.DataDir = filepath.Join(cfg.DataDir, "data")
	cfg.Hostname, cfg.Postmaster = "gw1.contoso.com", "postmaster@contoso.com"
	cfg.Listeners = []config.Listener{{Address: "127.0.0.1:0", TLS: config.ListenerTLSOff}}
	cfg.Admin.Address = "127.0.0.1:0"
	cfg.Directory.Refresh, cfg.Directory.Reconcile = time.Hour, time.Hour
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(g.Shutdown(ctx), <-ended); err != nil {
			t.Error(err)
		}
	})
	client := *cfg
	client.Admin.Address = g.AdminAddr().String()
	for until := time.Now().Add(time.Minute); g.directory.View() == nil || g.directory.Status().Method == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("no view: %+v", g.directory.Status())
		}
	}
	if err := g.directory.Refresh(t.Context()); err != nil { // and the first poll is over
		t.Fatal(err)
	}
	return g, &client
}

func reasonOf(t *testing.T, cfg *config.Config, address string) routing.Reason {
	t.Helper()
	ds, note, err := RouteQuery(t.Context(), cfg, routing.Internet, "", []string{address})
	if err != nil || note != "" {
		t.Fatalf("%q, %v", note, err)
	}
	return ds[0].Reason
}

// `coexist directory sync` brings in what changed at once, and says when it could not.
func TestDirectorySync(t *testing.T) {
	const megan = "CN=Megan Bowen,DC=contoso,DC=test"
	store := adStore()
	server := adtest.NewServer(t, store, nil)
	g, cfg := serveAD(t, server)
	sync := func(done bool, text string) {
		t.Helper()
		got, err := DirectorySync(t.Context(), cfg)
		if got != done || (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Fatalf("done %v, %v; expected %v, %q", got, err, done, text)
		}
	}
	sync(true, "")
	if r := reasonOf(t, cfg, "meganb@contoso.com"); r != routing.Unknown {
		t.Fatalf("reason %s before", r)
	}
	store.Add(megan, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:meganb@contoso.com"}, "targetAddress": {"smtp:meganb@fabrikam.com"}})
	sync(true, "")
	if r := reasonOf(t, cfg, "meganb@contoso.com"); r != routing.TargetExternal {
		t.Errorf("reason %s after it was added", r)
	}
	store.Set(megan, "targetAddress", "smtp:meganb@contoso.com")
	sync(true, "")
	if r := reasonOf(t, cfg, "meganb@contoso.com"); r != routing.TargetOnPrem {
		t.Errorf("reason %s after it was changed", r)
	}

	server.Stop()
	sync(false, "connection refused")
	if st, _, err := DirectoryStatus(t.Context(), cfg); err != nil || st.State != directory.StateDegraded || !strings.Contains(st.LastError, "refused") || st.Objects["contact"] != 1 {
		t.Errorf("status %+v, %v with the domain controller gone", st, err)
	}
	if r := reasonOf(t, cfg, "meganb@contoso.com"); r != routing.TargetOnPrem {
		t.Errorf("reason %s with the domain controller gone", r)
	}
	server.Start()
	store.Delete(megan)
	sync(true, "")
	if r := reasonOf(t, cfg, "meganb@contoso.com"); r != routing.Unknown {
		t.Errorf("reason %s after it was deleted", r)
	}
	if st := g.directory.Status(); st.State != directory.StateOK {
		t.Errorf("status %+v", st)
	}
}

// A client that does not wait for the end does not end it.
func TestDirectorySyncGoesOn(t *testing.T) {
	store := adStore()
	server := adtest.NewServer(t, store, nil)
	g, cfg := serveAD(t, server)
	store.Add("CN=Megan Bowen,DC=contoso,DC=test", adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:meganb@contoso.com"}})
	server.Fail(func(f *adtest.Faults) { f.Delay = 100 * time.Millisecond })
	changed := g.directory.Changed()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if done, err := DirectorySync(ctx, cfg); done || err == nil {
		t.Fatalf("done %v, %v for a client that has left", done, err)
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the change was not read")
	}
}

// The endpoint takes no GET, nor what a page in somebody's browser could send.
func TestDirectorySyncEndpoint(t *testing.T) {
	server := adtest.NewServer(t, adStore(), nil)
	_, cfg := serveAD(t, server)
	base := "http://" + cfg.Admin.Address + "/api/directory/sync"
	for _, c := range []struct {
		name, method string
		header       http.Header
		ok           bool
	}{
		{"GET", http.MethodGet, nil, false},
		{"another site's page", http.MethodPost, http.Header{"Origin": {"http://www.fabrikam.com"}, "Content-Type": {"text/plain"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := server.Counts()
			req, err := http.NewRequestWithContext(t.Context(), c.method, base, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = c.header
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if ok := resp.StatusCode == http.StatusOK; ok != c.ok {
				t.Errorf("status %s", resp.Status)
			}
			if after, _ := server.Counts(); after != before {
				t.Errorf("%d searches", after-before)
			}
		})
	}
}
