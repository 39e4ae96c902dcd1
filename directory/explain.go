package directory

import (
	"fmt"
	"strconv"
	"strings"
)

// Meaning is a value of an object, and what the gateway takes it to mean.
type Meaning struct {
	Attribute string `json:"attribute"`
	Value     string `json:"value"`
	Meaning   string `json:"meaning"`
}

// Explain tells what each value of an object is taken to mean. What an address means depends on whose its domain is, which only a router knows.
func (o *Object) Explain() []Meaning {
	var m []Meaning
	add := func(attribute, value, meaning string) {
		if value != "" {
			m = append(m, Meaning{attribute, value, meaning})
		}
	}
	add("objectClass", o.Kind.String(), kindMeanings[o.Kind])
	add("displayName", o.DisplayName, "")
	add("mail", o.Mail, mailMeaning(o))
	add("userPrincipalName", o.UserPrincipalName, "the sign-in name; mail is not delivered by it")
	for _, p := range o.ProxyAddresses {
		add("proxyAddresses", p, proxyMeaning(p))
	}
	add("targetAddress", o.TargetAddress, targetMeaning(o.TargetAddress))
	add("legacyExchangeDN", o.LegacyExchangeDN, "what IMCEAEX addresses in old messages and nickname caches are found by")
	for i, explain := range [len(intNames)]func(int64) string{RemoteRecipientType, RecipientType, displayType, groupType, accountControl} {
		if n := o.ints()[i]; n.Set {
			add(intNames[i], strconv.FormatInt(n.Value, 10), explain(n.Value))
		}
	}
	return m
}

var kindMeanings = [kinds]string{
	Other:        "an object with an address that is no user, contact or group",
	User:         "a user",
	Contact:      "a contact: somebody elsewhere",
	Group:        "a group: mail goes to its members",
	DynamicGroup: "a dynamic group: its members are known to Exchange only",
	PublicFolder: "a mail-enabled public folder",
}

func mailMeaning(o *Object) string {
	for _, p := range o.ProxyAddresses {
		if prefix, address := cutPrefix(p); strings.EqualFold(prefix, "smtp:") && strings.EqualFold(address, o.Mail) {
			return "an address, which is among proxyAddresses too"
		}
	}
	return "an address; the proxyAddresses of another object have precedence"
}

// proxyMeanings are the prefixes of proxyAddresses that are looked up, in lower case.
var proxyMeanings = map[string]string{
	"smtp:":  "a further address",
	"x500:":  "a former legacyExchangeDN: IMCEAEX addresses are found by it",
	"notes:": "a Notes address: IMCEANOTES addresses are found by it",
}

func proxyMeaning(p string) string {
	prefix, _ := cutPrefix(p)
	if prefix == "SMTP:" {
		return "the primary address"
	}
	if m, ok := proxyMeanings[strings.ToLower(prefix)]; ok {
		return m
	}
	return "not used: no address of SMTP"
}

func targetMeaning(t string) string {
	prefix, _ := cutPrefix(t)
	switch {
	case prefix == "":
		return "mail is sent to this address (taken as SMTP: the prefix is missing)"
	case strings.EqualFold(prefix, "smtp:"):
		return "mail is sent to this address"
	}
	return "not used: no address of SMTP"
}

// flag is a bit, or a field of bits, with its name.
type flag struct {
	mask, value int64
	name        string
}

func flags(v int64, table []flag) string {
	var names []string
	for _, f := range table {
		if v&f.mask == f.value {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		return "no flag that is known"
	}
	return strings.Join(names, ", ")
}

// remoteFlags are those of msExchRemoteRecipientType. The kind of mailbox is a field of two bits.
var remoteFlags = []flag{
	{1, 1, "ProvisionMailbox"}, {2, 2, "ProvisionArchive"}, {4, 4, "Migrated"}, {8, 8, "DeprovisionMailbox"}, {16, 16, "DeprovisionArchive"},
	{0x60, 0x20, "RoomMailbox"}, {0x60, 0x40, "EquipmentMailbox"}, {0x60, 0x60, "SharedMailbox"},
}

// RemoteRecipientType tells what a value of msExchRemoteRecipientType means.
func RemoteRecipientType(v int64) string {
	where := "no mailbox in Exchange Online"
	if v&5 != 0 && v&8 == 0 {
		where = "the mailbox is in Exchange Online"
	}
	return where + " (" + flags(v, remoteFlags) + ")"
}

// recipientTypes are the values of msExchRecipientTypeDetails.
var recipientTypes = map[int64]string{
	1: "UserMailbox", 2: "LinkedMailbox", 4: "SharedMailbox", 8: "LegacyMailbox", 16: "RoomMailbox", 32: "EquipmentMailbox", 64: "MailContact", 128: "MailUser",
	256: "MailUniversalDistributionGroup", 512: "MailNonUniversalGroup", 1024: "MailUniversalSecurityGroup", 2048: "DynamicDistributionGroup", 4096: "PublicFolder",
	8192: "SystemAttendantMailbox", 16384: "SystemMailbox", 32768: "MailForestContact", 65536: "User", 131072: "Contact", 262144: "UniversalDistributionGroup",
	524288: "UniversalSecurityGroup", 1048576: "NonUniversalGroup", 2097152: "DisabledUser", 4194304: "MicrosoftExchange", 8388608: "ArbitrationMailbox",
	16777216: "MailboxPlan", 33554432: "LinkedUser", 268435456: "RoomList", 536870912: "DiscoveryMailbox", 1073741824: "RoleGroup",
	2147483648: "RemoteUserMailbox", 8589934592: "RemoteRoomMailbox", 17179869184: "RemoteEquipmentMailbox", 34359738368: "RemoteSharedMailbox",
	68719476736: "PublicFolderMailbox", 137438953472: "TeamMailbox", 274877906944: "RemoteTeamMailbox", 549755813888: "MonitoringMailbox",
	1099511627776: "GroupMailbox", 2199023255552: "LinkedRoomMailbox", 4398046511104: "AuditLogMailbox", 8796093022208: "RemoteGroupMailbox",
	17592186044416: "SchedulingMailbox", 35184372088832: "GuestMailUser", 70368744177664: "AuxAuditLogMailbox", 140737488355328: "SupervisoryReviewPolicyMailbox",
}

// RecipientType is the name of a value of msExchRecipientTypeDetails.
func RecipientType(v int64) string {
	if name, ok := recipientTypes[v]; ok {
		return name
	}
	return "no value that is known"
}

func displayType(int64) string { return "for address books only" }

func groupType(v int64) string {
	kind := "distribution group"
	if v&0x80000000 != 0 {
		kind = "security group"
	}
	return fmt.Sprintf("%s (%s)", kind, flags(v, []flag{{2, 2, "global"}, {4, 4, "domain local"}, {8, 8, "universal"}}))
}

func accountControl(v int64) string {
	if v&2 != 0 { // ACCOUNTDISABLE ([MS-ADTS] 2.2.16)
		return "the account is disabled; mail is delivered all the same, as to shared mailboxes and rooms"
	}
	return "the account is enabled"
}
