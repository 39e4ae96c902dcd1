package audit

import (
	"fmt"
	"strings"
)

// Facts are what is known of a domain controller.
type Facts struct {
	URL           string
	Err           error    // why it cannot be used; the rest is not known then
	Account       string   // that binds: a DN, a user principal name, or DOMAIN\name
	Contexts      []string // the roots of the naming contexts that are read
	SchemaVersion int      // rangeUpper of ms-Exch-Schema-Version-Pt; 0 without the Exchange schema
	Expected      int      // the least version that will do
	SeesDeletions bool
}

// DomainController gives the findings about a domain controller.
func DomainController(f Facts) []Finding {
	finding := func(rule, what, fix string) []Finding {
		return []Finding{{Rule: rule, Level: levelOf(rule), Object: f.URL, What: what, Fix: fix}}
	}
	if f.Err != nil {
		return finding("domain-controller", f.Err.Error(), "coexist check   # tries again what was set right")
	}
	var all []Finding
	const prepare = "Setup.exe /PrepareSchema /IAcceptExchangeServerLicenseTerms_DiagnosticDataOFF   # of Exchange 2019 or later; before: /IAcceptExchangeServerLicenseTerms"
	switch {
	case f.SchemaVersion == 0:
		all = append(all, finding("exchange-schema", "there is no Exchange schema, or the account may not read it", prepare)...)
	case f.SchemaVersion < f.Expected:
		all = append(all, finding("exchange-schema", fmt.Sprintf("the Exchange schema has version %d; expected at least %d", f.SchemaVersion, f.Expected), prepare)...)
	}
	if !f.SeesDeletions {
		all = append(all, finding("account-rights", "the account may neither replicate directory changes nor see deleted objects", grant(f.Account, f.Contexts))...)
	}
	return all
}

// grant gives an account the right DS-Replication-Get-Changes, which counts on the root of a naming context only ([MS-ADTS] 5.1.3.2.1).
func grant(account string, contexts []string) string {
	trustee := quote(account + ":CA;Replicating Directory Changes")
	if strings.Contains(account, "=") { // dsacls takes no DN
		trustee = `"$((Get-ADDomain).NetBIOSName)\$((Get-ADUser -Identity ` + quote(account) + `).SamAccountName):CA;Replicating Directory Changes"`
	}
	commands := make([]string, len(contexts))
	for i, nc := range contexts {
		commands[i] = "dsacls " + quote(nc) + " /G " + trustee
	}
	return strings.Join(commands, "; ")
}
