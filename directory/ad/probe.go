package ad

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Exchange2013 is the version of the Exchange schema from which on it has all that is read: rangeUpper of ms-Exch-Schema-Version-Pt for Exchange 2013 RTM.
const Exchange2013 = 15137

// Facts are what can be said of a domain controller and of the rights of the account.
type Facts struct {
	URL           string   `json:"url"`
	DC            string   `json:"dc"`             // its DNS name
	Method        Method   `json:"method"`         // how changes would be seen
	SeesDeletions bool     `json:"sees_deletions"` // without waiting for a comparison of all objects
	Contexts      []string `json:"contexts"`       // the naming contexts of the bases
	SchemaVersion int      `json:"schema_version"` // rangeUpper of ms-Exch-Schema-Version-Pt; 0 without the Exchange schema
}

// Probe connects to one of the domain controllers, looks for the base, and finds out what the account may do. It changes nothing.
func Probe(ctx context.Context, c Config, url string) (Facts, error) {
	c.defaults()
	l, err := dial(ctx, &c, url)
	if err != nil {
		return Facts{URL: url}, err
	}
	defer l.close()
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	f := Facts{URL: url, DC: l.dc.Host}
	parts, err := l.partitions(c.BaseDNs)
	if err != nil {
		return f, fmt.Errorf("%s: %w", url, err)
	}
	for _, base := range c.BaseDNs {
		if _, err := l.object(base, "objectClass"); err != nil {
			return f, fmt.Errorf("%s: reading base_dn %q: %w", url, base, explainBase(err))
		}
	}
	if err := l.rights(parts, &f); err != nil {
		return f, fmt.Errorf("%s: %w", url, err)
	}
	for _, p := range parts {
		f.Contexts = append(f.Contexts, p.NC)
	}
	f.SchemaVersion = l.schemaVersion()
	return f, nil
}

// rights finds out how changes would be seen.
func (l *link) rights(parts []partition, f *Facts) error {
	for _, m := range []Method{DirSync, DirSyncObjectSecurity} {
		may, err := l.mayDirSync(parts, m)
		if err != nil {
			return err
		}
		if may {
			f.Method = m
			break
		}
	}
	seen, err := l.deletions(parts)
	if err != nil {
		return err
	}
	f.SeesDeletions = seen != hidden || f.Method == DirSync
	switch {
	case f.Method != "":
	case seen != hidden:
		f.Method = USN
	default:
		f.Method = USNReconcile
	}
	return nil
}

// mayDirSync begins DirSync, for the first entry only, and tells whether that is let.
func (l *link) mayDirSync(parts []partition, m Method) (bool, error) {
	flags := ldap.DirSyncIncrementalValues
	if m == DirSyncObjectSecurity {
		flags |= ldap.DirSyncObjectSecurity
	}
	for _, p := range parts {
		req := request(p.NC, ldap.ScopeWholeSubtree, "(objectClass=*)", "name")
		req.SizeLimit = 1
		req.Controls = []ldap.Control{ldap.NewRequestControlDirSync(flags, 1, nil)}
		_, err := l.conn.Search(req)
		switch {
		case err == nil, ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		case refused(err):
			return false, nil
		default:
			return false, failed(err)
		}
	}
	return true, nil
}

// probeDirSync is mayDirSync with a short time limit, and tells whether that was over without an answer.
func (l *link) probeDirSync(parts []partition, m Method) (may, silent bool, err error) {
	limit := min(l.timeout, shortTimeout)
	l.conn.SetTimeout(limit)
	defer l.conn.SetTimeout(l.timeout)
	begin := time.Now()
	may, err = l.mayDirSync(parts, m)
	return may, err != nil && time.Since(begin) >= limit, err
}

// schemaVersion is 0 when the schema has no Exchange, or the account may not see it.
func (l *link) schemaVersion() int {
	e, err := l.object("CN=ms-Exch-Schema-Version-Pt,"+l.dc.Schema, "rangeUpper")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(e.GetEqualFoldAttributeValue("rangeUpper"))
	if err != nil {
		return 0
	}
	return n
}
