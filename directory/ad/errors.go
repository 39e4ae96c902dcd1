package ad

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Errors that change what happens next.
var (
	errCredentials = errors.New("the bind account was refused")
	errGone        = errors.New("the connection was lost")
)

// bindData explains the data field of the diagnostic message with result 49: a Win32 error in hexadecimal, such as "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext
// error, data 52e, v4563" ([MS-ERREF] 2.2).
var bindData = map[string]string{
	"57":  "the bind does not name its TLS channel (channel binding)",
	"525": "there is no such account: check bind_dn",
	"52e": "wrong password, or no such account: check bind_dn and password_file",
	"52f": "the account is restricted",
	"530": "the account may not log on at this time",
	"531": "the account may not log on at this computer",
	"532": "its password has expired",
	"533": "the account is disabled",
	"568": "the account is in too many groups",
	"701": "the account has expired",
	"773": "its password must be changed first",
	"775": "the account is locked",

	"80090346": "the channel binding is not that of its certificate: is there something that ends TLS between here and the domain controller?", // SEC_E_BAD_BINDINGS
}

var dataField = regexp.MustCompile(`data ([0-9a-fA-F]+)`)

// explainBind says what a failed bind means.
func explainBind(err error, dn string) error {
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		why := "wrong password, or no such account: check bind_dn and password_file"
		if m := dataField.FindStringSubmatch(err.Error()); m != nil {
			if known, ok := bindData[strings.ToLower(m[1])]; ok {
				why = known
			}
		}
		return fmt.Errorf("%w: %s: %s (%w)", errCredentials, dn, why, err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultStrongAuthRequired):
		return fmt.Errorf("the domain controller wants signing or TLS for a bind: use ldaps://, or start_tls with ldap:// (%w)", err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultConfidentialityRequired):
		return fmt.Errorf("the domain controller wants TLS: use ldaps://, or start_tls with ldap:// (%w)", err)
	}
	return fmt.Errorf("binding as %q: %w", dn, err)
}

// explainDial says what a failed connection means.
func explainDial(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown), strings.Contains(err.Error(), "x509: certificate signed by unknown authority"): // StartTLS of the library keeps the text only
		return fmt.Errorf("its certificate is not from an authority that is trusted: set ca_file to the authority of the domain controllers (%w)", err)
	case errors.As(err, &host), strings.Contains(err.Error(), "x509: certificate is valid for "):
		return fmt.Errorf("its certificate is for another name: use the name of the certificate in url (%w)", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate has expired or is not valid yet: renew it, or check the clock (%w)", err)
	case errors.As(err, &record):
		return fmt.Errorf("it does not speak TLS at this port: ldaps:// is for port 636, ldap:// with start_tls for 389 (%w)", err)
	}
	return err
}

// refused tells whether the server answered and said no, rather than that nothing was heard of it or that it has no time.
func refused(err error) bool {
	var e *ldap.Error
	if !errors.As(err, &e) || e.ResultCode >= ldap.ErrorNetwork {
		return false
	}
	switch e.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded:
		return false
	}
	return true
}
