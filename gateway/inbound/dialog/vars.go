package dialog

import "strings"

// DefaultVars are the variables that the project's own dialogs use, with values that fit its sample directory. {to}, in upper case
// {TO}, and {local}@{domain} are one person; {cloud} is another one in the same domain; {from} is a sender elsewhere; {foreign},
// {foreignlocal}@{foreigndomain}, is a recipient elsewhere, for whom nothing may be relayed. {login} and {password} are those of a
// user, in base64, and {plain} both in one (RFC 4616).
func DefaultVars() map[string]string {
	vars := map[string]string{
		"from": "someone@fabrikam.com", "cloud": "meganb@contoso.com",
		"login": "cHJpbnRlcg==", "password": "cHJpbnRlci1wYXNzd29yZA==", "plain": "AHByaW50ZXIAcHJpbnRlci1wYXNzd29yZA==",
	}
	SetTo(vars, "adelev@contoso.com")
	SetForeign(vars, "kim.akers@fabrikam.com")
	return vars
}

// SetTo sets the recipient, and the variables made of it.
func SetTo(vars map[string]string, address string) {
	vars["to"], vars["TO"] = address, strings.ToUpper(address)
	vars["local"], vars["domain"], _ = cutLast(address)
}

// SetForeign sets the recipient elsewhere, and the variables made of it.
func SetForeign(vars map[string]string, address string) {
	vars["foreign"] = address
	vars["foreignlocal"], vars["foreigndomain"], _ = cutLast(address)
}

// cutLast cuts at the last @ (RFC 5321 2.3.11).
func cutLast(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}
