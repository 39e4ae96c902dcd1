package directory

import (
	"encoding/hex"
	"time"
)

// GUID is an objectGUID in the byte order of the wire ([MS-DTYP] 2.3.4.2: the first three fields little-endian).
type GUID [16]byte

// String is the curly-brace-free text form that Active Directory's tools show.
func (g GUID) String() string {
	b := [16]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]}
	copy(b[8:], g[8:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Kind is what an object is.
type Kind uint8

// The kinds.
const (
	Other Kind = iota
	User
	Contact
	Group
	DynamicGroup // msExchDynamicDistributionList
	PublicFolder

	kinds          // how many there are
	phantom = 0xff // not an object: only the DN of a member that the view does not hold
)

// The names are those that status reports show.
var kindNames = [kinds]string{"other", "user", "contact", "group", "dynamic_group", "public_folder"}

// String is the kind's name in status reports: user, contact, group, dynamic_group, public_folder or other.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return "unknown"
}

// Int is an integer attribute that may be absent.
type Int struct {
	Value int64
	Set   bool
}

// Ref numbers an object within one View. It means nothing in another view.
type Ref uint32

// Key is an index of the view.
type Key uint8

// The keys. All are matched without regard to case.
const (
	KeyProxy    Key = iota // smtp: values of proxyAddresses, without the prefix
	KeyMail                // mail
	KeyLegacyDN            // legacyExchangeDN
	KeyX500                // X500: values of proxyAddresses, without the prefix
	KeyNotes               // NOTES: values of proxyAddresses, without the prefix
)

// Term is a value to look an object up by.
type Term struct {
	Key   Key
	Value string
}

// Object is one object, decoded from a view. Its strings stay valid after the view is gone.
type Object struct {
	Ref                  Ref
	DN                   string
	GUID                 GUID
	Kind                 Kind
	DisplayName          string
	Mail                 string
	UserPrincipalName    string
	ProxyAddresses       []string // as in the directory, with their prefixes
	TargetAddress        string   // as in the directory
	LegacyExchangeDN     string
	RemoteRecipientType  Int       // msExchRemoteRecipientType
	RecipientTypeDetails Int       // msExchRecipientTypeDetails
	RecipientDisplayType Int       // msExchRecipientDisplayType
	GroupType            Int       // groupType
	AccountControl       Int       // userAccountControl
	Changed              time.Time // whenChanged, to the second, UTC; zero when unknown
}

// Entry is an object as a source delivers it.
type Entry struct {
	DN                   string   // RFC 4514; required
	GUID                 GUID     // objectGUID; when zero, one is derived from the DN
	ObjectClass          []string // decides the kind, see [KindOf]
	Deleted              bool     // isDeleted
	DisplayName          string
	Mail                 string
	UserPrincipalName    string
	ProxyAddresses       []string
	TargetAddress        string
	LegacyExchangeDN     string
	RemoteRecipientType  Int
	RecipientTypeDetails Int
	RecipientDisplayType Int
	GroupType            Int
	AccountControl       Int
	Changed              time.Time
	Members              []string // DNs; in a [Delta], nil keeps the members that the view has, an empty list clears them
}

// Stats counts what a view holds.
type Stats struct {
	Objects   [kinds]int // by Kind
	Addresses int        // smtp: values of proxyAddresses, and mail where it is not one of the object's own
	Skipped   int        // entries that cannot be recipients (computers, deleted objects, ...), left out
	Warnings  int        // attributes that could not be understood; see [View.Warnings]
	Bytes     int        // memory of the view, without what the runtime adds
}

// Total is the number of objects of all kinds.
func (s Stats) Total() int {
	n := 0
	for _, c := range s.Objects {
		n += c
	}
	return n
}

// ByKind is the number of objects by the name of their kind. User, contact and group are always there, others when there are any.
func (s Stats) ByKind() map[string]int {
	m := make(map[string]int, len(s.Objects))
	for k, n := range s.Objects {
		if k := Kind(k); n > 0 || k == User || k == Contact || k == Group {
			m[k.String()] = n
		}
	}
	return m
}

// Warning is an attribute that could not be understood and is treated as absent.
type Warning struct {
	Line      int    `json:"line,omitempty"` // in the LDIF; 0 when there is none
	DN        string `json:"dn"`
	Attribute string `json:"attribute"`
	Text      string `json:"text"` // what is wrong, what was expected
}
