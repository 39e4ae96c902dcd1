package directory

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	gocmp "github.com/google/go-cmp/cmp"
)

const adele = "dn: CN=Adele Vance,OU=Users,DC=contoso,DC=com\nobjectClass: user\nmail: adelev@contoso.com\n"

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func utf16Text(s string, bigEndian bool) string {
	var b bytes.Buffer
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		if bigEndian {
			b.Write([]byte{byte(u >> 8), byte(u)})
		} else {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	return b.String()
}

// ldapsearchOutput is how OpenLDAP's ldapsearch writes a result.
func ldapsearchOutput(entries, result string) string {
	return "# extended LDIF\n#\n# LDAPv3\n# base <dc=contoso,dc=com> with scope subtree\n# filter: (objectClass=*)\n# requesting: ALL\n#\n\n" +
		entries + "\n# search reference\nref: ldap://ForestDnsZones.contoso.com/DC=ForestDnsZones,DC=contoso,DC=com\n\n" + result
}

func TestLDIFAccepted(t *testing.T) {
	wide := strings.Replace(adele, "objectClass", "displayName:: "+b64("Adele Våñce")+"\nobjectClass", 1)
	cases := []struct{ name, text string }{
		{"plain", adele},
		{"version", "version: 1\n" + adele},
		{"version and an empty line", "version: 1\n\n" + adele},
		{"no line end in the end", strings.TrimSuffix(adele, "\n")},
		{"CRLF", strings.ReplaceAll(adele, "\n", "\r\n")},
		{"many empty lines", "\n\n\n" + adele + "\n\n\n"},
		{"comments, one of them folded", "# hello\n  more\n" + strings.Replace(adele, "mail", "# within\n an entry\nmail", 1) + "# end"},
		{"folded lines", strings.NewReplacer("Adele Vance", "Adele\n  Vance", "adelev", "ad\n e\n lev").Replace(adele)},
		{"folded with CRLF", strings.ReplaceAll(strings.Replace(adele, "adelev", "ad\n elev", 1), "\n", "\r\n")},
		{"folded to an empty rest", strings.Replace(adele, "adelev", "\n adelev", 1)},
		{"base64 of everything", "dn:: " + b64("CN=Adele Vance,OU=Users,DC=contoso,DC=com") + "\nobjectClass:: " + b64("user") + "\nmail:: " + b64("adelev@contoso.com") + "\n"},
		{"base64 folded", "dn:: " + b64("CN=Adele Vance,OU=Users,DC=contoso,DC=com")[:9] + "\n " + b64("CN=Adele Vance,OU=Users,DC=contoso,DC=com")[9:] + "\nobjectClass: user\nmail: adelev@contoso.com\n"},
		{"no spaces behind colons", strings.ReplaceAll(adele, ": ", ":")},
		{"several spaces", strings.ReplaceAll(adele, ": ", ":   ")},
		{"attribute names in another case", strings.NewReplacer("dn", "DN", "mail", "MAIL", "objectClass", "OBJECTCLASS").Replace(adele)},
		{"options", strings.Replace(adele, "mail", "mail;lang-en", 1)},
		{"ldifde", strings.Replace(adele, "\nobjectClass", "\nchangetype: add\nobjectClass", 1)},
		{"UTF-8 with a byte order mark", "\ufeff" + adele},
		{"UTF-16 little-endian (ldifde -u)", utf16Text(strings.ReplaceAll(adele, "\n", "\r\n"), false)},
		{"UTF-16 big-endian", utf16Text(adele, true)},
		{"ldapsearch", ldapsearchOutput(adele, "# search result\nsearch: 2\nresult: 0 Success\n\n# numResponses: 2\n# numEntries: 1\n")},
		{"ldapsearch with paging", ldapsearchOutput(adele, "# search result\nsearch: 2\nresult: 0 Success\ncontrol: 1.2.840.113556.1.4.319 false MAUCAQAEAA==\npagedresults: cookie=\n")},
		{"the root DSE", "dn:\nobjectClass: top\n\n" + adele},
		{"a computer, a deleted object, a unit", "dn: CN=PC1,DC=contoso,DC=com\nobjectClass: user\nobjectClass: computer\n\ndn:: " + b64("CN=X\nDEL:1,CN=Deleted Objects,DC=contoso,DC=com") +
			"\nobjectClass: user\n\ndn: CN=Y,DC=contoso,DC=com\nobjectClass: user\nisDeleted: TRUE\n\ndn: OU=Users,DC=contoso,DC=com\nobjectClass: organizationalUnit\n\n" + adele},
		{"attributes that mean nothing here", strings.Replace(adele, "mail", "thumbnailPhoto:: /9j/4A==\nmsDS-x.1;binary: y\nempty:\nmail", 1)},
		{"empty values", adele + "displayName:\nproxyAddresses:\ntargetAddress:: \nmember:\n"},
	}
	want := show(t, mustLDIF(t, adele))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := ReadLDIF(strings.NewReader(c.text), "test.ldif")
			if err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(want, show(t, v)); d != "" {
				t.Error(d)
			}
			if w := v.Warnings(); len(w) > 0 {
				t.Errorf("warnings %v", w)
			}
		})
	}
	v := mustLDIF(t, wide)
	if o := v.Object(mustFind(t, v, KeyMail, "adelev@contoso.com")); o.DisplayName != "Adele Våñce" {
		t.Errorf("displayName %q", o.DisplayName)
	}
}

func TestLDIFRefused(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"empty", "", "test.ldif: no entries"},
		{"only comments", "# nothing\n", "test.ldif: no entries"},
		{"only a version", "version: 1\n", "test.ldif: no entries"},
		{"an empty search", ldapsearchOutput("", "# search result\nsearch: 2\nresult: 0 Success\n"), "test.ldif: no entries"},
		{"nobody who can get mail", "dn: CN=PC1,DC=contoso,DC=com\nobjectClass: computer\n", "test.ldif: 1 entries, none of which"},
		{"version 2", "version: 2\n" + adele, `test.ldif:1: LDIF version "2"; expected version: 1`},
		{"URL value", strings.Replace(adele, "mail: ", "mail:< file:///etc/passwd", 1), "test.ldif:3: mail:< file:///etc/passwd"},
		{"changetype modify", "dn: CN=A,DC=com\nchangetype: modify\nreplace: mail\nmail: x@contoso.com\n-\n", "test.ldif:2: changetype: modify: a change record; expected content: export"},
		{"changetype delete", adele + "\ndn: CN=A,DC=com\nchangetype: delete\n", "test.ldif:6: changetype: delete: a change record"},
		{"changetype modrdn", "dn: CN=A,DC=com\nChangeType:MODRDN\nnewrdn: CN=B\n", "test.ldif:2: changetype: modrdn: a change record"},
		{"control", "dn: CN=A,DC=com\ncontrol: 1.2.3 true\n", `test.ldif:2: "control": a change record`},
		{"no dn", "objectClass: user\n\n" + adele, `test.ldif:1: an entry begins with "objectclass"; expected 'dn: '`},
		{"two dn", adele + adele, "test.ldif:4: a second 'dn:' within the entry of line 1"},
		{"no colon", strings.Replace(adele, "mail: ", "mail ", 1), `test.ldif:3: "mail adelev@contoso.com" has no colon`},
		{"cut in a name", strings.TrimSuffix(adele, ": adelev@contoso.com\n"), `test.ldif:3: "mail" has no colon; expected 'attribute: value': the file seems to be cut off here`},
		{"cut in base64", adele + "displayName:: QWRlbGU", "test.ldif:4: the file ends within base64, without the end of the line"},
		{"cut at four characters of base64", adele + "displayName:: QWRl", "test.ldif:4: the file ends within base64, without the end of the line"},
		{"cut behind the dn", adele + "\ndn: CN=Alex Wilber,DC=contoso,DC=com\n", "test.ldif:5: the entry \"CN=Alex Wilber,DC=contoso,DC=com\" has no attributes; expected at least objectClass: was the file cut off?"},
		{"cut in a dn", adele + "\ndn: CN=Alex Wil", "test.ldif:5: the entry"},
		{"not base64", adele + "displayName:: a*b=\nx: y\n", "test.ldif:4: not base64"},
		{"a name that is none", "dn: CN=A,DC=com\nma il: x\n", `test.ldif:2: "ma il" is no attribute name`},
		{"a continuation of nothing", " x\n" + adele, "test.ldif:1:"},
		{"the same entry twice", adele + "\n" + adele, `test.ldif:5: the DN "CN=Adele Vance,OU=Users,DC=contoso,DC=com" appears twice`},
		{"a dn that is none", "dn: Adele\nobjectClass: user\n", "test.ldif:1: \"Adele\": not a distinguished name"},
		{"the search hit a limit", ldapsearchOutput(adele, "# search result\nsearch: 2\nresult: 4 Size limit exceeded\n"), `test.ldif:18: the search that wrote this file did not complete: result "4 Size limit exceeded"`},
		{"ldapsearch was cut", strings.TrimSuffix(ldapsearchOutput(adele, ""), "\n\n"), "test.ldif:14: the file was cut off: ldapsearch began it"},
		{"UTF-16 was cut", utf16Text(adele, false)[:2*len(adele)-11], "the file ends within a UTF-16 character"},
		{"UTF-16 without a mark", utf16Text(adele, false)[2:], "test.ldif:1: binary data"},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\x00", "test.ldif:1: binary data"},
		{"HTML", "<!DOCTYPE html>\n<html>", `test.ldif:1: "<!DOCTYPE html>" has no colon`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := ReadLDIF(strings.NewReader(c.text), "test.ldif")
			if err == nil {
				t.Fatalf("accepted: %+v", show(t, v))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			var le *LDIFError
			if !errors.As(err, &le) {
				t.Errorf("a %T", err)
			}
		})
	}
	if _, err := ReadLDIF(strings.NewReader(""), "x"); !errors.Is(err, ErrEmpty) {
		t.Errorf("%v is no ErrEmpty", err)
	}
}

func TestLDIFAttributes(t *testing.T) {
	raw := string([]byte{0x3d, 0xa3, 0x7c, 0x4e, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0xff})
	v := mustLDIF(t, `dn: CN=Adele Vance,DC=contoso,DC=com
objectClass: user
objectGUID:: `+b64(raw)+`
displayName: Adele Vance
mail: AdeleV@contoso.com
userPrincipalName: AdeleV@contoso.com
proxyAddresses: SMTP:AdeleV@contoso.com
PROXYADDRESSES: smtp:adele@contoso.mail.onmicrosoft.com
proxyAddresses: X500:/o=Contoso/cn=Recipients/cn=adele
targetAddress: SMTP:adele@contoso.mail.onmicrosoft.com
legacyExchangeDN: /o=Contoso/cn=adelev
msExchRemoteRecipientType: 4
msExchRecipientTypeDetails: 2147483648
msExchRecipientDisplayType: -2147483642
userAccountControl: 514
groupType: -2147483646
whenChanged: 20260131093000.0Z
`)
	got := v.Object(mustFind(t, v, KeyMail, "adelev@contoso.com"))
	got.Ref = 0
	changed, err := parseTime("20260131093000.0Z")
	if err != nil {
		t.Fatal(err)
	}
	want := Object{DN: "CN=Adele Vance,DC=contoso,DC=com", GUID: GUID([]byte(raw)), Kind: User, DisplayName: "Adele Vance", Mail: "AdeleV@contoso.com", UserPrincipalName: "AdeleV@contoso.com",
		ProxyAddresses: []string{"SMTP:AdeleV@contoso.com", "smtp:adele@contoso.mail.onmicrosoft.com", "X500:/o=Contoso/cn=Recipients/cn=adele"},
		TargetAddress:  "SMTP:adele@contoso.mail.onmicrosoft.com", LegacyExchangeDN: "/o=Contoso/cn=adelev", RemoteRecipientType: Int{4, true}, RecipientTypeDetails: Int{2147483648, true},
		RecipientDisplayType: Int{-2147483642, true}, AccountControl: Int{514, true}, GroupType: Int{-2147483646, true}, Changed: changed}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := got.GUID.String(); s != "4e7ca33d-0201-0403-0506-0708090a0bff" {
		t.Errorf("GUID shown as %s", s)
	}
	text := mustLDIF(t, adele+"objectGUID: {"+got.GUID.String()+"}\n")
	if r, ok := text.ByGUID(got.GUID); !ok {
		t.Errorf("a GUID as text is not understood: %v", r)
	}
}

func TestLDIFWarnings(t *testing.T) {
	cases := []struct{ name, lines, attr, want string }{
		{"no number", "msExchRemoteRecipientType: four", "msexchremoterecipienttype", `"four"; expected a whole number`},
		{"too large a number", "msExchRecipientTypeDetails: 99999999999999999999", "msexchrecipienttypedetails", "expected a whole number"},
		{"two values", "targetAddress: smtp:a@contoso.com\ntargetAddress: smtp:b@contoso.com", "targetaddress", "a second value"},
		{"no UTF-8", "displayName:: " + b64("\xff\xfe"), "displayname", "is not UTF-8"},
		{"a line end in an address", "proxyAddresses:: " + b64("smtp:a@contoso.com\r\nRCPT TO:<b@contoso.com>"), "proxyAddresses", "has a control character"},
		{"no GUID", "objectGUID:: " + b64("short"), "objectguid", "expected the 16 bytes"},
		{"no time", "whenChanged: yesterday", "whenchanged", "expected a time"},
		{"neither true nor false", "isDeleted: maybe", "isdeleted", "expected TRUE or FALSE"},
		{"a member that is no DN", "member: Alex", "member", "not a distinguished name"},
		{"a range without its end", "member;range=0-1: CN=A,DC=com\nmember;range=0-1: CN=B,DC=com", "member", "not complete"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := mustLDIF(t, adele+c.lines+"\n")
			w := v.Warnings()
			if len(w) != 1 || v.Stats().Warnings != 1 {
				t.Fatalf("warnings %+v, want one", w)
			}
			if w[0].Line < 4 || w[0].Attribute != c.attr || !strings.Contains(w[0].Text, c.want) || w[0].DN == "" {
				t.Errorf("%+v, want %s: %s", w[0], c.attr, c.want)
			}
			mustFind(t, v, KeyMail, "adelev@contoso.com")
		})
	}
	many := adele + strings.Repeat("displayName: x\n", 1500)
	if v := mustLDIF(t, many); len(v.Warnings()) != 1000 || v.Stats().Warnings != 1499 {
		t.Errorf("%d of %d warnings are kept", len(v.Warnings()), v.Stats().Warnings)
	}
	unfinished := strings.TrimSuffix(ldapsearchOutput(adele, ""), "\n")
	if v := mustLDIF(t, unfinished); v.Stats().Warnings != 1 {
		t.Error("no warning that the end of ldapsearch's report is missing")
	}
}

func TestLDIFMemberRanges(t *testing.T) {
	var b strings.Builder
	b.WriteString("dn: CN=Sales,DC=contoso,DC=com\nobjectClass: group\nmail: sales@contoso.com\nmember:\n")
	for i := range 3000 {
		option := "member;range=0-1499"
		if i >= 1500 {
			option = "member;range=1500-*"
		}
		fmt.Fprintf(&b, "%s: CN=User %d,DC=contoso,DC=com\n", option, i)
	}
	v := mustLDIF(t, b.String())
	if got := len(v.MissingMembers(mustFind(t, v, KeyMail, "sales@contoso.com"))); got != 3000 {
		t.Errorf("%d members, want 3000", got)
	}
	if w := v.Warnings(); len(w) != 0 {
		t.Errorf("warnings %v", w)
	}
}

func TestLDIFLongLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	v := mustLDIF(t, adele+"displayName: "+long+"\n\ndn: CN=Alex,DC=contoso,DC=com\nobjectClass: user\nmail: alex@contoso.com\n")
	if o := v.Object(mustFind(t, v, KeyMail, "adelev@contoso.com")); o.DisplayName != long {
		t.Errorf("displayName has %d bytes", len(o.DisplayName))
	}
	mustFind(t, v, KeyMail, "alex@contoso.com")
	endless := "dn: CN=A,DC=com\nx: " + strings.Repeat("x", maxLine+200_000)
	if _, err := ReadLDIF(strings.NewReader(endless), "x"); err == nil || !strings.Contains(err.Error(), "x:2: a line of more than") {
		t.Errorf("an endless line: %v", err)
	}
}

// TestLDIFCutAnywhere cuts a file at every byte: what is read of it must be what is there, and nothing may be half.
func TestLDIFCutAnywhere(t *testing.T) {
	text := adele + "displayName:: " + b64("Adele Våñce") + "\n\n" + strings.ReplaceAll(adele, "dele", "lex") + "\n"
	whole := []string{"CN=Adele Vance,OU=Users,DC=contoso,DC=com", "CN=Alex Vance,OU=Users,DC=contoso,DC=com"}
	for i := range len(text) {
		v, err := ReadLDIF(strings.NewReader(text[:i]), "x")
		if err != nil {
			continue
		}
		for _, s := range show(t, v) {
			if !slices.Contains(whole, s.DN) {
				t.Errorf("cut at %d: an object %q", i, s.DN)
			}
			if s.DisplayName != "" && s.DisplayName != "Adele Våñce" {
				t.Errorf("cut at %d: half a value %q", i, s.DisplayName)
			}
		}
	}
}

func FuzzReadLDIF(f *testing.F) {
	f.Add([]byte(adele))
	f.Add([]byte(utf16Text(adele, false)))
	f.Add([]byte(ldapsearchOutput(adele, "# search result\nsearch: 2\nresult: 0 Success\n")))
	f.Add([]byte("dn: CN=G,DC=com\nobjectClass: group\nmember;range=0-1: CN=G, DC=com\nmember;range=2-*: CN=x\\,y,DC=com\nproxyAddresses: smtp:a@b\nproxyAddresses: x500:/o=a/cn=b\nlegacyExchangeDN: /o=a\n"))
	f.Add([]byte("dn:: Q049QSxEQz1jb20=\nobjectClass: user\nmail:: YUBi\ntargetAddress: smtp:a@b\nproxyAddresses: smtp:a@b\nwhenChanged: 20260131093000.0Z\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ReadLDIF(bytes.NewReader(b), "x")
		if err != nil {
			return
		}
		objects := show(t, v) // which also looks every key up
		var out bytes.Buffer
		if err := v.writeSnapshot(&out, Meta{}, "id"); err != nil {
			t.Fatal(err)
		}
		again, _, err := readSnapshot(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(objects, show(t, again)); d != "" {
			t.Fatal(d)
		}
	})
}

func BenchmarkReadLDIF(b *testing.B) {
	var text bytes.Buffer
	n := benchSize(b)
	for i := range n {
		e := sampleEntry(i)
		fmt.Fprintf(&text, "dn: %s\nobjectClass: top\nobjectClass: person\nobjectClass: organizationalPerson\nobjectClass: user\nobjectGUID:: %s\nmail: %s\nuserPrincipalName: %s\ntargetAddress: %s\nlegacyExchangeDN: %s\nuserAccountControl: 512\nmsExchRemoteRecipientType: 1\n",
			e.DN, b64(string(e.GUID[:])), e.Mail, e.UserPrincipalName, e.TargetAddress, e.LegacyExchangeDN)
		for _, p := range e.ProxyAddresses {
			fmt.Fprintf(&text, "proxyAddresses: %s\n", p)
		}
		text.WriteByte('\n')
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if _, err := ReadLDIF(bytes.NewReader(text.Bytes()), "x"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}
