package directory

import "strings"

// classKinds gives the kind of objects of a class. The first row that an object has wins: in Active Directory's schema a computer is also a
// user, and inetOrgPerson a subclass of user.
var classKinds = []struct {
	class string
	kind  Kind
	keep  bool // as a recipient, or because groups may have it as a member
}{
	{"computer", Other, false},
	{"foreignSecurityPrincipal", Other, false},
	{"msExchDynamicDistributionList", DynamicGroup, true},
	{"publicFolder", PublicFolder, true},
	{"group", Group, true},
	{"contact", Contact, true},
	{"inetOrgPerson", User, true},
	{"user", User, true},
}

// userAccountControl bits of accounts that no person has ([MS-ADTS] 2.2.16): INTERDOMAIN_TRUST, WORKSTATION_TRUST, SERVER_TRUST.
const trustAccount = 0x0800 | 0x1000 | 0x2000

// KindOf tells what an entry is, from its object classes, and whether a view keeps it. Deleted objects, computers, foreign security principals and
// whatever else has no mail address are not kept. Users, contacts, groups and public folders are kept without an address too, since groups have them as members.
// An export without object classes is judged by the attributes that only one class has.
func KindOf(e *Entry) (kind Kind, keep bool) {
	if e.Deleted || inDeletedObjects(e.DN) {
		return Other, false
	}
	for _, c := range classKinds {
		for _, have := range e.ObjectClass {
			if strings.EqualFold(have, c.class) {
				return c.kind, c.keep
			}
		}
	}
	if len(e.ObjectClass) == 0 {
		switch {
		case e.AccountControl.Value&trustAccount != 0:
			return Other, false
		case e.GroupType.Set || len(e.Members) > 0:
			return Group, true
		case e.AccountControl.Set || e.UserPrincipalName != "":
			return User, true
		}
	}
	return Other, e.hasAddress()
}

func (e *Entry) hasAddress() bool {
	for _, p := range e.ProxyAddresses {
		if prefix, address := cutPrefix(p); strings.EqualFold(prefix, "smtp:") && address != "" {
			return true
		}
	}
	return e.Mail != ""
}
