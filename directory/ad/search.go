package ad

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// pageSize is how many entries are asked for at once: MaxPageSize of [MS-ADTS] 3.1.1.3.4.6 by default.
const pageSize = 1000

// attributes are what a view is made of. member comes apart, since it can be large.
var attributes = []string{
	"objectGUID", "objectClass", "displayName", "mail", "userPrincipalName", "proxyAddresses", "targetAddress", "legacyExchangeDN", "whenChanged",
	"msExchRemoteRecipientType", "msExchRecipientTypeDetails", "msExchRecipientDisplayType", "groupType", "userAccountControl",
}

// Filters. Classes that the schema does not have make their part Undefined (RFC 4511 4.5.1.7), which finds nothing.
const (
	recipientFilter = "(objectClass=user)(objectClass=contact)(objectClass=group)(objectClass=publicFolder)(objectClass=msExchDynamicDistributionList)(proxyAddresses=*)(mail=*)"
	noComputers     = "(!(objectClass=computer))"
	recipients      = "(&(|" + recipientFilter + ")" + noComputers + ")"
	loaded          = "(&(|" + recipientFilter + "(objectClass=organizationalUnit)(objectClass=container)(objectClass=builtinDomain)(objectClass=organization)(objectClass=country)(objectClass=locality)(objectClass=lostAndFound))" + noComputers + ")"
)

// containerClasses are those that recipients mostly lie below, in lower case.
var containerClasses = []string{"organizationalunit", "container", "builtindomain", "organization", "country", "locality", "lostandfound"}

// isContainer tells whether an entry is a container whose renaming moves what lies below it.
func isContainer(e *ldap.Entry) bool {
	return slices.ContainsFunc(e.GetEqualFoldAttributeValues("objectClass"), func(c string) bool {
		return slices.Contains(containerClasses, strings.ToLower(c))
	})
}

// guidOf is the objectGUID of an entry.
func guidOf(e *ldap.Entry) (directory.GUID, bool) {
	b := e.GetEqualFoldRawAttributeValue("objectGUID")
	if len(b) != len(directory.GUID{}) {
		return directory.GUID{}, false
	}
	return directory.GUID(b), true
}

// decode makes an entry of the view.
func decode(e *ldap.Entry, warn func(directory.Warning)) directory.Entry {
	all := make([]directory.Attribute, len(e.Attributes))
	for i, a := range e.Attributes {
		all[i] = directory.Attribute{Name: a.Name, Values: a.ByteValues}
	}
	return directory.DecodeEntry(e.DN, all, warn)
}

// request makes a search that follows neither aliases nor referrals.
func request(base string, scope int, filter string, attrs ...string) *ldap.SearchRequest {
	return ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 0, 0, false, filter, attrs, nil)
}

// failed marks an error after which the connection is of no use.
func failed(err error) error {
	var e *ldap.Error
	if errors.As(err, &e) && e.ResultCode < ldap.ErrorNetwork {
		return err
	}
	return fmt.Errorf("%w: %w", errGone, err)
}

// object reads one object by its DN.
func (l *link) object(dn string, attrs ...string) (*ldap.Entry, error) {
	res, err := l.conn.Search(request(dn, ldap.ScopeBaseObject, "(objectClass=*)", attrs...))
	if err != nil {
		return nil, failed(err)
	}
	if len(res.Entries) != 1 {
		return nil, ldap.NewError(ldap.LDAPResultNoSuchObject, fmt.Errorf("%q is not visible to this account", dn))
	}
	return res.Entries[0], nil
}

// pages searches a subtree page by page (RFC 2696) and gives each page to use. Only when it returns nil was the search answered to its end.
func (l *link) pages(base, filter string, attrs []string, controls []ldap.Control, use func([]*ldap.Entry) error) error {
	var cookie []byte
	for {
		paging := &ldap.ControlPaging{PagingSize: pageSize, Cookie: cookie}
		req := request(base, ldap.ScopeWholeSubtree, filter, attrs...)
		req.Controls = append(slices.Clone(controls), paging)
		res, err := l.conn.Search(req)
		if err != nil {
			return failed(err)
		}
		// Without the control in the final result there is no telling whether that was all.
		answer, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok {
			return fmt.Errorf("%w: the search was answered without the paging control", errGone)
		}
		if err := use(res.Entries); err != nil {
			return err
		}
		if len(answer.Cookie) == 0 {
			return nil
		}
		if bytes.Equal(answer.Cookie, cookie) && len(res.Entries) == 0 {
			return fmt.Errorf("%w: the search does not go on", errGone)
		}
		cookie = answer.Cookie
	}
}

// ranged is how far the values of an attribute in pieces reach ([MS-ADTS] 3.1.1.3.1.3.3): the number of the next value, or -1 when these are all.
func ranged(a *ldap.EntryAttribute) (next int, ok bool) {
	name, option, found := strings.Cut(strings.ToLower(a.Name), ";range=")
	if !found || name != "member" {
		return 0, false
	}
	_, end, _ := strings.Cut(option, "-")
	if end == "*" {
		return -1, true
	}
	n, err := strconv.Atoi(end)
	return n + 1, err == nil
}

// memberValues gives the members of an entry that has them whole or as a first piece, and the number of the next value, or -1.
func memberValues(e *ldap.Entry) (dns []string, next int) {
	next = -1
	for _, a := range e.Attributes {
		if n, ok := ranged(a); ok {
			dns, next = append(dns, a.Values...), n
		} else if strings.EqualFold(a.Name, "member") {
			dns = append(dns, a.Values...)
		}
	}
	return dns, next
}

// restOfMembers reads what is left of the members of a group, from a number on.
func (l *link) restOfMembers(dn string, dns []string, next int) ([]string, error) {
	for next >= 0 {
		e, err := l.object(dn, fmt.Sprintf("member;range=%d-*", next))
		if err != nil {
			return nil, fmt.Errorf("reading the members of %q from %d on: %w", dn, next, err)
		}
		more, after := memberValues(e)
		if after >= 0 && (after <= next || len(more) == 0) {
			return nil, fmt.Errorf("%w: the members of %q do not go on after %d", errGone, dn, next)
		}
		dns, next = append(dns, more...), after
	}
	return dns, nil
}

// members reads all members of a group. The list is empty, not nil, for a group without any.
func (l *link) members(dn string) ([]string, error) {
	e, err := l.object(dn, "member")
	if err != nil {
		return nil, fmt.Errorf("reading the members of %q: %w", dn, err)
	}
	dns, next := memberValues(e)
	dns, err = l.restOfMembers(dn, dns, next)
	if dns == nil {
		dns = []string{}
	}
	return dns, err
}

// guidFilter finds objects by their GUIDs.
func guidFilter(guids []directory.GUID) string {
	var b strings.Builder
	b.WriteString("(|")
	for _, g := range guids {
		b.WriteString("(objectGUID=")
		for _, c := range g {
			fmt.Fprintf(&b, `\%02x`, c)
		}
		b.WriteString(")")
	}
	b.WriteString(")")
	return b.String()
}
