package config

import (
	"os"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// bases checks base_dn. A base below another one adds nothing.
func (v *validator) bases() {
	const path = "directory.base_dn"
	if !v.require(path, `a DN such as "DC=contoso,DC=com", for source = "ad"`) || !v.ok(path) {
		return
	}
	bases := v.c.Directory.BaseDN
	if len(bases) == 0 {
		v.errorf(path, "is empty, expected at least one DN")
	}
	parsed := make([]*ldap.DN, len(bases))
	for i, base := range bases {
		dn, err := ldap.ParseDN(base)
		if err != nil || len(dn.RDNs) == 0 {
			v.errorf(element(path, i), "%q is not a DN, expected one such as \"DC=contoso,DC=com\"", base)
			continue
		}
		parsed[i] = dn
	}
	for i, dn := range parsed {
		for j, other := range parsed {
			if dn == nil || other == nil || i == j {
				continue
			}
			if other.AncestorOfFold(dn) || i > j && other.EqualFold(dn) {
				v.warnf(element(path, i), "%q lies within %q, and adds nothing", bases[i], bases[j])
				break
			}
		}
	}
}

// kerberos tells whether the account is one with a keytab.
func (v *validator) kerberos() bool {
	return v.given["directory.keytab_file"] || v.given["directory.principal"] || v.given["directory.krb5_conf"]
}

// keytab checks the keys of SASL GSSAPI, which stand in the place of bind_dn and password_file.
func (v *validator) keytab() {
	dir := &v.c.Directory
	for _, other := range []string{"directory.bind_dn", "directory.password_file"} {
		if v.given[other] {
			v.errorf(other, "is for a bind with a password, expected either bind_dn and password_file, or principal and keytab_file")
		}
	}
	if v.require("directory.principal", `the account that the keytab belongs to, such as "svc-coexist@CONTOSO.COM"`) && v.ok("directory.principal") {
		name, realm, ok := strings.Cut(dir.Principal, "@")
		switch {
		case !ok || name == "" || realm == "" || strings.ContainsAny(dir.Principal, " \t"):
			v.errorf("directory.principal", "%q is not a principal, expected name@REALM such as \"svc-coexist@CONTOSO.COM\"", dir.Principal)
		case realm != strings.ToUpper(realm):
			// The realm of an Active Directory domain is its DNS name in upper case ([MS-KILE]), and Kerberos compares with regard to case.
			v.warnf("directory.principal", "%q has a realm in lower case, expected that of an Active Directory domain: %q", dir.Principal, strings.ToUpper(realm))
		}
	}
	if v.require("directory.keytab_file", "the file with the keys of principal") && v.ok("directory.keytab_file") {
		v.keytabFile("directory.keytab_file", dir.KeytabFile)
	}
	if v.given["directory.krb5_conf"] && v.ok("directory.krb5_conf") {
		v.readable("directory.krb5_conf", dir.Krb5Conf, "a krb5.conf")
	}
}

// keytabFile checks that a file begins as a keytab does: the format number 5, and version 1 or 2.
func (v *validator) keytabFile(path, name string) {
	if !v.readable(path, name, "a keytab") {
		return
	}
	begin := make([]byte, 2)
	f, err := os.Open(name)
	if err == nil {
		_, err = f.Read(begin)
		f.Close()
	}
	if err != nil || begin[0] != 5 || begin[1] != 1 && begin[1] != 2 {
		v.errorf(path, "%q is no keytab, expected one as ktpass or samba-tool domain exportkeytab write it", name)
		return
	}
	v.private(path, name)
}
