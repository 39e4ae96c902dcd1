package ad

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coexist-mail/coexist/directory"
)

// Method is how changes are seen, in the words of directory status.
type Method string

// The methods.
const (
	DirSync               Method = "dirsync"                 // the account has DS-Replication-Get-Changes
	DirSyncObjectSecurity Method = "dirsync-object-security" // it has not: DirSync shows what it may read
	USN                   Method = "usn"                     // uSNChanged, with deleted objects
	USNReconcile          Method = "usn-reconcile"           // uSNChanged, and a comparison of all objects for the deletions
)

func (m Method) dirsync() bool { return m == DirSync || m == DirSyncObjectSecurity }

// state is where the view stands: what a restart needs to go on from it. It is kept with the view, as opaque bytes.
type state struct {
	URL        string `json:"url"`
	Service    string `json:"service"` // dsServiceName of the domain controller; numbers and cookies are its own
	Invocation []byte `json:"invocation,omitempty"`
	Method     Method `json:"method"`           // empty while changes are not followed yet
	USN        int64  `json:"usn"`              // highestCommittedUSN before changes were last asked for
	Deletions  bool   `json:"deletions"`        // deleted objects are asked for, and the account may read their container
	Proved     bool   `json:"proved,omitempty"` // and one was seen

	Partitions []partition `json:"partitions"`

	Containers containers `json:"containers"`
}

// partition is a naming context that bases lie in, and where DirSync stands in it: its base must be the root of one ([MS-ADTS] 3.1.1.3.4.1.3).
type partition struct {
	NC     string `json:"nc"`
	Cookie []byte `json:"cookie,omitempty"`
}

// partitions are the naming contexts of the bases.
func (l *link) partitions(bases []string) (all []partition, err error) {
	for _, base := range bases {
		nc, err := contextOf(base, l.dc.Contexts)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, func(p partition) bool { return p.NC == nc }) {
			all = append(all, partition{NC: nc})
		}
	}
	return all, nil
}

// containers are the DNs of containers in the view's part of the directory, by GUID: a notice of a renamed one tells the new DN only.
type containers map[directory.GUID]string

// MarshalJSON writes each as its GUID in hexadecimal.
func (c containers) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(c))
	for g, dn := range c {
		m[fmt.Sprintf("%x", g[:])] = dn
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *containers) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*c = make(containers, len(m))
	for text, dn := range m {
		var raw []byte
		if _, err := fmt.Sscanf(text, "%x", &raw); err != nil || len(raw) != len(directory.GUID{}) {
			return fmt.Errorf("%q is no objectGUID", text)
		}
		(*c)[directory.GUID(raw)] = dn
	}
	return nil
}

func (s *state) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return b
}

func decodeState(b []byte) (s state) {
	if json.Unmarshal(b, &s) != nil {
		return state{}
	}
	return s
}

// mismatch says why the state is not about a domain controller as it is now; empty when it is.
func (s *state) mismatch(l *link) string {
	switch {
	case s.Method == "", len(s.Partitions) == 0:
		return "no complete view with a known state"
	case s.URL != l.url, s.Service != l.dc.Service:
		return "another domain controller"
	case !bytes.Equal(s.Invocation, l.dc.Invocation):
		return "the domain controller was restored: it has another invocationId"
	case l.dc.USN < s.USN:
		return fmt.Sprintf("the domain controller was set back: its highestCommittedUSN is %d, and was %d", l.dc.USN, s.USN)
	}
	return ""
}
