package audit

import "strings"

// Commands for the Active Directory module of PowerShell. They work without Exchange, on objects of every class.

// quote is a literal string of PowerShell: only quotes are special, and doubled. PowerShell takes typographic quotes for quotes too.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch r {
		case '\'', '\u2018', '\u2019', '\u201a', '\u201b':
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

func set(o *object, change string) string {
	return "Set-ADObject -Identity " + quote(o.DN) + " " + change
}

func replace(o *object, attribute, value string) string {
	return set(o, "-Replace @{"+attribute+"="+quote(value)+"}")
}

func clear(o *object, attribute string) string { return set(o, "-Clear "+attribute) }

func addProxy(o *object, value string) string {
	return set(o, "-Add @{proxyAddresses="+quote(value)+"}")
}

func setUPN(o *object, upn string) string {
	return "Set-ADUser -Identity " + quote(o.DN) + " -UserPrincipalName " + quote(upn)
}

// swapProxy replaces one value by another. They may differ in case only, which one command with both refuses.
func swapProxy(o *object, from, to string) string {
	return set(o, "-Remove @{proxyAddresses="+quote(from)+"}") + "; " + addProxy(o, to)
}

// removeProxies removes an address in the way in which the object has it.
func removeProxies(o *object, address string) string {
	for _, p := range o.ProxyAddresses {
		if prefix, a, ok := strings.Cut(p, ":"); ok && strings.EqualFold(prefix, "smtp") && strings.EqualFold(a, address) {
			return set(o, "-Remove @{proxyAddresses="+quote(p)+"}")
		}
	}
	return set(o, "-Remove @{proxyAddresses="+quote("smtp:"+address)+"}")
}
