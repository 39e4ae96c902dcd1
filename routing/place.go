package routing

import (
	"strconv"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// msExchRemoteRecipientType is a set of flags: 1 ProvisionMailbox, 2 ProvisionArchive, 4 Migrated, 8 DeprovisionMailbox,
// 16 DeprovisionArchive, and a field of two bits for room, equipment and shared mailboxes.
const (
	remoteMailbox            = 1 | 4
	remoteDeprovisionMailbox = 8
)

// remoteTypes are the msExchRecipientTypeDetails of mailboxes in Exchange Online.
var remoteTypes = map[int64]string{
	2147483648:    "RemoteUserMailbox",
	8589934592:    "RemoteRoomMailbox",
	17179869184:   "RemoteEquipmentMailbox",
	34359738368:   "RemoteSharedMailbox",
	274877906944:  "RemoteTeamMailbox",
	8796093022208: "RemoteGroupMailbox",
}

// target is a usable targetAddress.
type target struct {
	mailbox
	zone zone
	ok   bool
	flaw string // why a targetAddress that is there counts as absent
}

// target reads targetAddress. What no mail can be sent to counts as absent.
func (r *Router) target(o *directory.Object) target {
	if o.TargetAddress == "" {
		return target{}
	}
	prefix, value := splitPrefix(o.TargetAddress)
	if prefix != "" && !strings.EqualFold(prefix, "smtp") {
		return target{flaw: "; targetAddress " + o.TargetAddress + " is not of type smtp and counts as absent"}
	}
	m, err := parseMailbox(value)
	if err != nil {
		return target{flaw: "; targetAddress " + strconv.Quote(o.TargetAddress) + " counts as absent: " + err.Error()}
	}
	return target{mailbox: m, zone: r.zone(m), ok: true}
}

// why explains a decision by targetAddress.
func (t *target) why(o *directory.Object, where string) string {
	return "targetAddress " + o.TargetAddress + " is in " + where
}

// place decides where an object lives that is no group, and the address that it has there: rules 3 to 6 of where a
// recipient lives. The decision is always to relay, but for contacts that lead nowhere.
func (r *Router) place(o *directory.Object, f *found, d *Decision) {
	t := r.target(o)
	if r.located(o, &t, f, d) {
		return
	}
	if o.Kind != directory.Contact {
		// Dynamic groups and public folders too: on-prem Exchange has them, and it alone can evaluate a dynamic group's filter.
		d.relay(OnPrem, f.onPremAddress(o), Mailbox, "no attribute says that it is elsewhere"+t.flaw)
		return
	}
	m, err := parseMailbox(o.Mail)
	if err == nil && r.zone(m) == foreignZone {
		d.relay(Internet, m.wire, TargetExternal, "a contact without targetAddress, and its mail "+o.Mail+" is foreign"+t.flaw)
		return
	}
	d.refuseFor(NoTarget, "a contact without targetAddress and without a foreign mail address"+t.flaw)
}

// located decides where an object lives if an attribute tells: rules 3 to 5.
func (r *Router) located(o *directory.Object, t *target, f *found, d *Decision) bool {
	why, remote := remoteMailboxWhy(o)
	switch {
	case remote:
		d.relay(Cloud, r.cloudAddress(o, t, f), RemoteMailbox, why)
	case !t.ok:
		return false
	case t.zone == routingZone:
		d.relay(Cloud, r.cloudAddress(o, t, f), TargetCloud, t.why(o, "the routing domain"))
	case t.zone == tenantZone:
		d.relay(Cloud, r.cloudAddress(o, t, f), TargetCloud, t.why(o, "the tenant domain"))
	case t.zone == sharedZone:
		d.relay(OnPrem, t.wire, TargetOnPrem, t.why(o, "the shared namespace"))
	default:
		d.relay(Internet, t.wire, TargetExternal, t.why(o, "a foreign domain"))
	}
	return true
}

// remoteMailboxWhy tells whether Exchange's own attributes say that the mailbox is in Exchange Online, and which. The recipient type
// is only believed where msExchRemoteRecipientType is absent: a mailbox that was taken out of the cloud may keep it.
func remoteMailboxWhy(o *directory.Object) (why string, ok bool) {
	if v := o.RemoteRecipientType; v.Set {
		if v.Value&remoteMailbox == 0 || v.Value&remoteDeprovisionMailbox != 0 {
			return "", false
		}
		return "msExchRemoteRecipientType " + strconv.FormatInt(v.Value, 10) + " is a mailbox in Exchange Online", true
	}
	name, ok := remoteTypes[o.RecipientTypeDetails.Value]
	if !ok || !o.RecipientTypeDetails.Set {
		return "", false
	}
	return "msExchRecipientTypeDetails is " + name + ", and msExchRemoteRecipientType is absent", true
}

// cloudAddress is the address of a cloud mailbox: one that Exchange Online alone owns where there is one, so that it cannot send the
// message back. The +tag is kept, since Exchange Online knows what to do with it.
func (r *Router) cloudAddress(o *directory.Object, t *target, f *found) string {
	if t.ok && t.zone == routingZone {
		return f.tagged(t.mailbox)
	}
	inRouting := func(m mailbox) bool { return r.zone(m) == routingZone }
	if m, ok := routingProxy(o, inRouting); ok {
		return f.tagged(m)
	}
	if t.ok && t.zone == tenantZone {
		return f.tagged(t.mailbox)
	}
	if f.capsule != nil {
		return f.decapsulated(o)
	}
	return f.asked.wire
}

// routingProxy is the smtp: proxy that the filter accepts, the primary one first.
func routingProxy(o *directory.Object, accept func(mailbox) bool) (m mailbox, ok bool) {
	for _, p := range o.ProxyAddresses {
		prefix, value := splitPrefix(p)
		if !strings.EqualFold(prefix, "smtp") || ok && prefix != "SMTP" {
			continue
		}
		if c, err := parseMailbox(value); err == nil && accept(c) {
			m, ok = c, true
		}
	}
	return m, ok
}

// tagged puts the tag of the address that was asked for into another one.
func (f *found) tagged(m mailbox) string {
	if f.tag == "" {
		return m.wire
	}
	return m.withLocal(m.local + "+" + f.tag).wire
}

// onPremAddress is the address asked for, without its +tag, which Notes and GroupWise take for a part of the name.
func (f *found) onPremAddress(o *directory.Object) string {
	if f.capsule != nil {
		return f.decapsulated(o)
	}
	return f.base.wire
}

// decapsulated is the primary address of who an encapsulated address stands for: the encapsulated one means nothing to a system
// that is not Exchange, or that does not have this legacyExchangeDN.
func (f *found) decapsulated(o *directory.Object) string {
	if m, ok := primary(o, func(mailbox) bool { return true }); ok {
		return m.wire
	}
	return f.asked.wire
}
