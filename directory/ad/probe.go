package ad

import (
	"context"
	"fmt"
	"strconv"

	"github.com/go-ldap/ldap/v3"
)

// Exchange2013 is the version of the Exchange schema from which on it has all that is read: rangeUpper of ms-Exch-Schema-Version-Pt for Exchange 2013 RTM.
const Exchange2013 = 15137

// Facts are what can be said of a domain controller and of the rights of the account.
type Facts struct {
	URL           string `json:"url"`
	DC            string `json:"dc"`             // its DNS name
	Method        Method `json:"method"`         // how changes would be seen
	SeesDeletions bool   `json:"sees_deletions"` // without waiting for a comparison of all objects
	SchemaVersion int    `json:"schema_version"` // rangeUpper of ms-Exch-Schema-Version-Pt; 0 without the Exchange schema
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
	nc, err := contextOf(c.BaseDN, l.dc.Contexts)
	if err != nil {
		return f, fmt.Errorf("%s: %w", url, err)
	}
	if _, err := l.object(c.BaseDN, "objectClass"); err != nil {
		return f, fmt.Errorf("%s: reading base_dn %q: %w", url, c.BaseDN, explainBase(err))
	}
	if err := l.rights(nc, &f); err != nil {
		return f, fmt.Errorf("%s: %w", url, err)
	}
	f.SchemaVersion = l.schemaVersion()
	return f, nil
}

// rights finds out how changes would be seen, by beginning DirSync for objects that do not exist.
func (l *link) rights(nc string, f *Facts) error {
	for _, m := range []Method{DirSync, DirSyncObjectSecurity} {
		flags := ldap.DirSyncIncrementalValues
		if m == DirSyncObjectSecurity {
			flags |= ldap.DirSyncObjectSecurity
		}
		req := request(nc, ldap.ScopeWholeSubtree, "(cn=no such object)", "name")
		req.Controls = []ldap.Control{ldap.NewRequestControlDirSync(flags, dirSyncBytes, nil)}
		_, err := l.conn.Search(req)
		if err == nil {
			f.Method = m
			break
		}
		if err := failed(err); !refused(err) {
			return err
		}
	}
	seen, err := l.seesDeletions(nc)
	if err != nil {
		return err
	}
	f.SeesDeletions = seen || f.Method == DirSync
	switch {
	case f.Method != "":
	case seen:
		f.Method = USN
	default:
		f.Method = USNReconcile
	}
	return nil
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
