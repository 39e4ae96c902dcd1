package directory

import "fmt"

// ending is how an LDIF file ends.
type ending struct {
	dn       string // of the last entry
	line     int    // where that entry begins
	ended    bool   // the last line has a line end
	complete bool   // the file says itself that it is whole: ldapsearch's result, or the comment endMark
}

// endMark is the comment by which an administrator says that a file is meant as it is.
const endMark = "# end"

// shrinkFrom is how many objects a view must have had for a loss of some of them to look like an accident.
const shrinkFrom = 20

// cutOff tells why a file that can be read seems to have been cut off, when its view is compared with the one that was made of the file before. The file alone does not
// tell: whatever begins an LDIF file and ends behind a line is an LDIF file, and what is missing would be refused as unknown.
func cutOff(view, old *View, end ending, oldEnded bool) error {
	total, before := view.Stats().Total(), old.Stats().Total()
	if end.complete || total > before {
		return nil
	}
	const meant = "was the export cut off? If it is meant, end the file with a line " + endMark
	switch {
	case oldEnded && !end.ended:
		return fmt.Errorf("the file ends within a line, which the one before did not, and has %d objects, before %d: %s", total, before, meant)
	case before >= shrinkFrom && total < before && lostAttributes(view, old, end.dn):
		return fmt.Errorf("the last entry %q has lost some of its attributes, and the %d objects behind it are gone: %s", clip(end.dn), before-total, meant)
	}
	return nil
}

// lostAttributes tells whether what a view has of an object is what an older one had, without some of it.
func lostAttributes(view, old *View, dn string) bool {
	was, ok := old.ByDN(dn)
	if !ok {
		return false
	}
	is, ok := view.ByDN(dn)
	if !ok {
		return true // not even what makes it a recipient is left
	}
	a, b := view.Object(is), old.Object(was)
	lost, other := false, false
	note := func(same, gone bool) {
		lost = lost || gone && !same
		other = other || !gone && !same
	}
	texts, oldTexts := a.texts(), b.texts()
	for i, s := range texts {
		note(s == oldTexts[i], s == "")
	}
	ints, oldInts := a.ints(), b.ints()
	for i, n := range ints {
		note(*n == *oldInts[i], !n.Set)
	}
	proxies := make(map[string]bool, len(b.ProxyAddresses))
	for _, p := range b.ProxyAddresses {
		proxies[p] = true
	}
	for _, p := range a.ProxyAddresses {
		note(proxies[p], false)
	}
	note(len(a.ProxyAddresses) == len(b.ProxyAddresses), len(a.ProxyAddresses) < len(b.ProxyAddresses))
	members, oldMembers := len(view.memberLocs(is)), len(old.memberLocs(was))
	note(members == oldMembers, members < oldMembers)
	return lost && !other
}

// texts are the attributes with one text as value, but for the DN.
func (o *Object) texts() [5]string {
	return [...]string{o.DisplayName, o.Mail, o.UserPrincipalName, o.TargetAddress, o.LegacyExchangeDN}
}
