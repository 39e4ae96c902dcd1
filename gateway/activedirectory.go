package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// adConfig is how Active Directory is read by a configuration; without a snapshot.
func adConfig(cfg *config.Config, log *slog.Logger) ad.Config {
	d := &cfg.Directory
	return ad.Config{
		URLs: d.URL, BaseDNs: d.BaseDN, BindDN: d.BindDN, PasswordFile: d.PasswordFile, Principal: d.Principal, KeytabFile: d.KeytabFile, Krb5Conf: d.Krb5Conf,
		CAFile: d.CAFile, StartTLS: d.StartTLS, Plaintext: d.AllowPlaintext, Refresh: d.Refresh, Reconcile: d.Reconcile, Log: log,
	}
}

func openActiveDirectory(cfg *config.Config, log *slog.Logger) *ad.Source {
	c := adConfig(cfg, log)
	c.Snapshot = snapshotPath(cfg)
	return ad.New(c)
}

// lookupTimeout is for looking a few addresses up without a view.
const lookupTimeout = 30 * time.Second

// offlineActiveDirectory is the snapshot, else a view of just what these addresses lead to.
func offlineActiveDirectory(ctx context.Context, cfg *config.Config, addresses []string) (offline, error) {
	source := openActiveDirectory(cfg, nil)
	if source.View() != nil || len(addresses) == 0 {
		return offline{Source: source}, nil
	}
	terms := routing.Keys(cfg.Postmaster)
	for _, a := range addresses {
		terms = append(terms, routing.Keys(a)...)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	view, err := ad.Lookup(ctx, adConfig(cfg, nil), terms)
	if err != nil {
		return offline{source, err}, nil
	}
	return offline{Source: lookedUp{source, view}}, nil
}

// lookedUp is a source of a view that was made for one question.
type lookedUp struct {
	directory.Source
	view *directory.View
}

// View is what was looked up.
func (l lookedUp) View() *directory.View { return l.view }

// Age is zero: it was looked up just now.
func (l lookedUp) Age(time.Time) time.Duration { return 0 }

// Status tells of what was looked up.
func (l lookedUp) Status() directory.Status {
	stats := l.view.Stats()
	st := l.Source.Status()
	st.State, st.LastError, st.Objects, st.Addresses = directory.StateOK, "", stats.ByKind(), stats.Addresses
	return st
}

// checkActiveDirectory binds to each domain controller, looks for the base, and tells of the schema and of the rights of the account.
func checkActiveDirectory(ctx context.Context, cfg *config.Config, timeout time.Duration) (lines []CheckLine) {
	for _, url := range cfg.Directory.URL {
		c, cancel := context.WithTimeout(ctx, timeout)
		f, err := ad.Probe(c, adConfig(cfg, nil), url)
		cancel()
		what := "directory " + url
		if err != nil {
			lines = append(lines, line(what, err, ""))
			continue
		}
		lines = append(lines, CheckLine{CheckFine, what, f.DC + " answers, the account is accepted, and base_dn is there"}, checkRights(what, cfg, &f), checkSchema(what, &f))
	}
	return lines
}

func checkRights(what string, cfg *config.Config, f *ad.Facts) CheckLine {
	detail := "changes are followed by " + string(f.Method)
	if !f.SeesDeletions {
		return CheckLine{CheckWarning, what + ", rights", fmt.Sprintf("%s; deletions are seen by comparing all objects, at least every %s: grant the account DS-Replication-Get-Changes", detail, cfg.Directory.Reconcile)}
	}
	return CheckLine{CheckFine, what + ", rights", detail}
}

func checkSchema(what string, f *ad.Facts) CheckLine {
	what += ", schema"
	switch {
	case f.SchemaVersion == 0:
		return CheckLine{CheckWarning, what, "there is no Exchange schema, or the account may not read it: no object can have a targetAddress"}
	case f.SchemaVersion < ad.Exchange2013:
		return CheckLine{CheckWarning, what, fmt.Sprintf("the Exchange schema has version %d; expected at least %d (Exchange 2013)", f.SchemaVersion, ad.Exchange2013)}
	}
	return CheckLine{CheckFine, what, fmt.Sprintf("Exchange schema version %d", f.SchemaVersion)}
}

// exportView writes a view as LDIF.
func exportView(w io.Writer, v *directory.View) error {
	if v == nil {
		return errNoView
	}
	return directory.WriteLDIF(w, v)
}

var errNoView = fmt.Errorf("no view of the directory is loaded")
