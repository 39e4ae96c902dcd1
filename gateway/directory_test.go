package gateway

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad/adtest"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// adStore has a user whose mailbox is in the cloud, and a group with him.
func adStore() *adtest.Store {
	const base = "DC=contoso,DC=test"
	s := adtest.NewStore(base)
	s.Add("CN=Adele Vance,"+base, adtest.Attributes{"objectClass": {"top", "user"}, "proxyAddresses": {"SMTP:adelev@contoso.com"},
		"targetAddress": {"SMTP:adelev@contoso.mail.onmicrosoft.com"}, "msExchRemoteRecipientType": {"4"}})
	s.Add("CN=Sales,"+base, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"sales@contoso.com"}, "member": {"CN=Adele Vance," + base}})
	return s
}

func adTestConfig(t *testing.T, server *adtest.Server) *config.Config {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.DataDir, cfg.Domains, cfg.Admin.Address = dir, []string{"contoso.com"}, "127.0.0.1:1" // nobody serves there
	cfg.Directory = config.Directory{Source: "ad", URL: []string{server.URL()}, BaseDN: []string{"DC=contoso,DC=test"}, BindDN: "svc", PasswordFile: secret,
		Refresh: time.Second, Reconcile: time.Minute, MaxAge: time.Hour}
	cfg.Cloud.RoutingDomain, cfg.Cloud.NextHop, cfg.OnPrem.NextHop = "contoso.mail.onmicrosoft.com", []string{"127.0.0.1:2"}, []string{"127.0.0.1:3"}
	return cfg
}

// Without a gateway and without a snapshot the commands look just what they need up, and write nothing.
func TestActiveDirectoryOffline(t *testing.T) {
	server := adtest.NewServer(t, adStore(), nil)
	server.Fail(func(f *adtest.Faults) { f.Schema = 15334 })
	cfg, ctx := adTestConfig(t, server), t.Context()

	ds, _, err := RouteQuery(ctx, cfg, routing.Internet, "", []string{"adelev+x@contoso.com", "sales@contoso.com", "nobody@contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	if ds[0].Reason != routing.RemoteMailbox || ds[0].Address != "adelev+x@contoso.mail.onmicrosoft.com" || len(ds[1].Members) != 1 || ds[2].Reason != routing.Unknown {
		t.Errorf("decisions %+v", ds)
	}
	found, _, err := DirectoryLookup(ctx, cfg, "ADELEV@contoso.com")
	if err != nil || len(found) != 1 || found[0].DN != "CN=Adele Vance,DC=contoso,DC=test" || found[0].Route == nil || found[0].Route.Side != routing.Cloud {
		t.Errorf("lookup %+v, %v", found, err)
	}
	var out bytes.Buffer
	if _, err := DirectoryExport(ctx, cfg, &out); err != nil {
		t.Fatal(err)
	}
	if v, err := directory.ReadLDIF(&out, "export"); err != nil || v.Stats().Total() != 2 {
		t.Errorf("export %v, %v", v, err)
	}
	findings, _, err := DirectoryAudit(ctx, cfg, true)
	if err != nil || len(findings) != 1 || findings[0].Rule != "target-prefix" {
		t.Errorf("audit %+v, %v", findings, err)
	}
	for _, l := range checkActiveDirectory(ctx, cfg, time.Minute) {
		if l.Result != CheckFine {
			t.Errorf("check %+v", l)
		}
	}
	if _, err := DirectorySync(ctx, cfg); err == nil {
		t.Error("sync without a gateway")
	}
	if _, err := os.Stat(snapshotPath(cfg)); err == nil {
		t.Error("a snapshot was written")
	}
}

// With the domain controller gone, nobody is rejected for not being found.
func TestActiveDirectoryGone(t *testing.T) {
	server := adtest.NewServer(t, adStore(), nil)
	cfg, ctx := adTestConfig(t, server), context.Background()
	source, err := OpenDirectory(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	ds, note, err := RouteQuery(ctx, cfg, routing.Internet, "", []string{"adelev@contoso.com"})
	if err != nil || ds[0].Reason != routing.NoView || !strings.Contains(note, "refused") {
		t.Errorf("without a snapshot: %+v, %q, %v", ds, note, err)
	}
	server.Start()
	if err := source.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	ds, _, err = RouteQuery(ctx, cfg, routing.Internet, "", []string{"adelev@contoso.com"})
	if err != nil || ds[0].Reason != routing.RemoteMailbox {
		t.Errorf("with a snapshot: %+v, %v", ds, err)
	}
	lines := checkActiveDirectory(ctx, cfg, time.Minute)
	if len(lines) != 1 || lines[0].Result != CheckFailed {
		t.Errorf("check %+v", lines)
	}
}
