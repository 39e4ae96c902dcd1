package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad"
	"github.com/coexist-mail/coexist/directory/audit"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// syncPatience is how long a request to sync waits for the end of it, which is less than its client waits for the answer.
const syncPatience = 45 * time.Second

// SyncDirectory asks the source for changes now. It goes on without the client.
func (g adminView) SyncDirectory(ctx context.Context) (done bool, err error) {
	ended := make(chan error, 1)
	go func() { ended <- g.directory.Refresh(g.watch) }()
	patience := time.NewTimer(syncPatience)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err == nil, err
	case <-patience.C:
	case <-ctx.Done():
	}
	return false, nil
}

// ExportDirectory writes the view as LDIF.
func (g adminView) ExportDirectory(w io.Writer) error { return exportView(w, g.directory.View()) }

// LookupDirectory finds objects by address, DN or objectGUID.
func (g adminView) LookupDirectory(name string) ([]admin.LookedUp, error) { return g.lookup(name) }

// AuditDirectory gives the findings about the objects of the view.
func (g adminView) AuditDirectory() ([]audit.Finding, error) {
	return auditView(g.directory.View(), g.state.Load().cfg)
}

func auditView(v *directory.View, cfg *config.Config) ([]audit.Finding, error) {
	if v == nil {
		return nil, errNoView
	}
	return audit.View(v, audit.Policy{Domains: cfg.Domains, RoutingDomain: cfg.Cloud.RoutingDomain, TenantDomain: cfg.Cloud.TenantDomain}), nil
}

// lookup finds the objects that a name may mean, and tells of each what the gateway sees.
func (g *Gateway) lookup(name string) ([]admin.LookedUp, error) {
	view := g.directory.View()
	if view == nil {
		return nil, errNoView
	}
	found := []admin.LookedUp{}
	for _, r := range refsOf(view, name) {
		o := view.Object(r)
		l := admin.LookedUp{DN: o.DN, GUID: o.GUID.String(), Kind: o.Kind.String(), Values: o.Explain(), MissingMembers: view.MissingMembers(r)}
		for _, m := range view.Members(r, nil) {
			l.Members = append(l.Members, view.Object(m).DN)
		}
		slices.Sort(l.Members)
		if a := knownBy(&o); a != "" {
			d := g.Route(routing.Internet, "", a)
			l.Route = &d
		}
		found = append(found, l)
	}
	return found, nil
}

// refsOf gives the objects that a name means: an address (in every form that the router looks up), a DN, or an objectGUID.
func refsOf(view *directory.View, name string) (refs []directory.Ref) {
	if guid, ok := parseGUID(name); ok {
		if r, ok := view.ByGUID(guid); ok {
			return []directory.Ref{r}
		}
	}
	if r, ok := view.ByDN(name); ok {
		return []directory.Ref{r}
	}
	for _, t := range routing.Keys(name) {
		refs = view.Find(t.Key, t.Value, refs)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// parseGUID reads the form that Active Directory's tools show.
func parseGUID(s string) (g directory.GUID, ok bool) {
	s = strings.Trim(s, "{}")
	if len(s) != 36 {
		return g, false
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) {
		return g, false
	}
	// The first three fields are numbers, little-endian on the wire ([MS-DTYP] 2.3.4.2).
	slices.Reverse(b[:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return directory.GUID(b), true
}

// knownBy is the primary address of an object, else another one.
func knownBy(o *directory.Object) string {
	best := o.Mail
	for _, p := range o.ProxyAddresses {
		prefix, address, _ := strings.Cut(p, ":")
		if prefix == "SMTP" {
			return address
		}
		if best == "" && strings.EqualFold(prefix, "smtp") {
			best = address
		}
	}
	return best
}

// errNotServed is why something can only be asked of a running gateway.
var errNotServed = errors.New("no gateway is running: it reads the directory when it starts")

// DirectorySync makes the running gateway ask its source for changes now.
func DirectorySync(ctx context.Context, cfg *config.Config) (done bool, err error) {
	done, err = admin.NewClient(cfg.Admin.Address).SyncDirectory(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		return false, errNotServed
	}
	return done, err
}

// DirectoryExport writes the view of the running gateway as LDIF, or else the one that it would start with; for Active Directory without a snapshot, what is loaded now.
func DirectoryExport(ctx context.Context, cfg *config.Config, w io.Writer) (note string, err error) {
	err = admin.NewClient(cfg.Admin.Address).ExportDirectory(ctx, w)
	if !errors.Is(err, admin.ErrNotRunning) {
		return "", err
	}
	source, err := openWhole(ctx, cfg)
	if err != nil {
		return "", err
	}
	return offlineNote(source), exportView(w, source.View())
}

// openWhole is openOffline, but reads Active Directory when there is no snapshot.
func openWhole(ctx context.Context, cfg *config.Config) (offline, error) {
	source, err := openOffline(ctx, cfg)
	if err != nil || source.View() != nil || cfg.Directory.Source != "ad" {
		return source, err
	}
	fresh := ad.New(adConfig(cfg, nil))
	if err := fresh.Refresh(ctx); err != nil {
		return source, err
	}
	return offline{Source: fresh}, nil
}

// DirectoryLookup answers `coexist directory lookup`.
func DirectoryLookup(ctx context.Context, cfg *config.Config, name string) (found []admin.LookedUp, note string, err error) {
	found, err = admin.NewClient(cfg.Admin.Address).LookupDirectory(ctx, name)
	if !errors.Is(err, admin.ErrNotRunning) {
		return found, "", err
	}
	source, err := openOffline(ctx, cfg, name)
	if err != nil {
		return nil, "", err
	}
	g := &Gateway{now: time.Now, directory: source}
	g.state.Store(newState(cfg, nil, nil))
	found, err = g.lookup(name)
	return found, offlineNote(source), err
}

// DirectoryAudit answers `coexist directory audit`: of the view, and of the domain controllers unless they are left out.
func DirectoryAudit(ctx context.Context, cfg *config.Config, controllers bool) (findings []audit.Finding, note string, err error) {
	findings, err = admin.NewClient(cfg.Admin.Address).AuditDirectory(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		var source offline
		if source, err = openWhole(ctx, cfg); err != nil {
			return nil, "", err
		}
		note = offlineNote(source)
		findings, err = auditView(source.View(), cfg)
	}
	if err != nil {
		return nil, note, fmt.Errorf("auditing the directory: %w", err)
	}
	if controllers && cfg.Directory.Source == "ad" {
		findings = append(auditControllers(ctx, cfg), findings...)
	}
	return findings, note, nil
}

func auditControllers(ctx context.Context, cfg *config.Config) (findings []audit.Finding) {
	for _, url := range cfg.Directory.URL {
		c, cancel := context.WithTimeout(ctx, lookupTimeout)
		f, err := ad.Probe(c, adConfig(cfg, nil), url)
		cancel()
		account := cfg.Directory.BindDN
		if account == "" {
			account = cfg.Directory.Principal
		}
		findings = append(findings, audit.DomainController(audit.Facts{URL: url, Err: err, Account: account, Contexts: f.Contexts,
			SchemaVersion: f.SchemaVersion, Expected: ad.Exchange2013, SeesDeletions: f.SeesDeletions})...)
	}
	return findings
}
