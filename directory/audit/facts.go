package audit

import "fmt"

// Facts are what is known of a domain controller.
type Facts struct {
	URL           string
	Err           error // why it cannot be used; the rest is not known then
	BindDN        string
	BaseDN        string
	SchemaVersion int // rangeUpper of ms-Exch-Schema-Version-Pt; 0 without the Exchange schema
	Expected      int // the least version that will do
	SeesDeletions bool
}

// DomainController gives the findings about a domain controller.
func DomainController(f Facts) []Finding {
	finding := func(rule, what, fix string) []Finding {
		return []Finding{{Rule: rule, Object: f.URL, What: what, Fix: fix}}
	}
	if f.Err != nil {
		return finding("domain-controller", f.Err.Error(), "run coexist check after setting it right")
	}
	var all []Finding
	const prepare = "Setup.exe /PrepareSchema /IAcceptExchangeServerLicenseTerms"
	switch {
	case f.SchemaVersion == 0:
		all = append(all, finding("exchange-schema", "there is no Exchange schema, or the account may not read it", prepare)...)
	case f.SchemaVersion < f.Expected:
		all = append(all, finding("exchange-schema", fmt.Sprintf("the Exchange schema has version %d; expected at least %d", f.SchemaVersion, f.Expected), prepare)...)
	}
	if !f.SeesDeletions {
		all = append(all, finding("account-rights", "the account may neither replicate directory changes nor see deleted objects",
			fmt.Sprintf("dsacls %q /G %q", f.BaseDN, f.BindDN+`:CA;Replicating Directory Changes`))...)
	}
	return all
}
