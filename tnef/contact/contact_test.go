package contact_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/contact"
	"github.com/coexist-mail/coexist/tnef/mapi"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func address(lid uint32, p mapi.Property) mapi.Property { return tt.Named(mapi.SetAddress, lid, p) }

func props(list ...mapi.Property) *mapi.Props {
	for i := range list {
		if !list[i].Name.IsZero() {
			list[i].ID = mapi.FirstNamed + mapi.ID(i)
		}
	}
	return &mapi.Props{List: list}
}

func texts(id mapi.ID, values ...any) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeUnicode, Multi: true, Value: values}
}

func named(lid uint32, s string) mapi.Property { return address(lid, tt.Text(0, s)) }

// kim has everything that a contact can have.
func kim() *contact.Contact {
	return &contact.Contact{
		Props: props(
			tt.Text(0x3A06, "Kim"), tt.Text(0x3A11, "Akers; von"), tt.Text(0x3A44, "M."), tt.Text(0x3A45, "Dr."), tt.Text(0x3A05, "Jr."),
			tt.Text(mapi.TagDisplayName, "Dr. Kim M. Akers Jr."), tt.Text(0x3A4F, "Kimmy"), named(0x8005, "Akers, Kim"), named(0x802C, "キム"), named(0x802D, "エイカーズ"),
			tt.Text(0x3A16, "Contoso, Ltd"), tt.Text(0x3A18, "Forschung & Größe"), tt.Text(0x3A17, "Manager"), tt.Text(0x3A46, "Engineer"), tt.Text(0x3A19, "B 7/1"),
			named(0x8080, "Kim Akers"), named(0x8082, "SMTP"), named(0x8083, "kim@contoso.com"), named(0x8084, "kim@contoso.com"),
			named(0x8090, "Kim"), named(0x8092, "EX"), named(0x8093, "/o=Contoso/cn=kim"), named(0x8094, "kim.akers@contoso.com"),
			named(0x80A2, "SMTP"), named(0x80A3, "kim@fabrikam.com"),
			tt.Text(0x3A08, "+1 425 555 0100"), texts(0x3A1B, "+1 425 555 0101", "+1 425 555 0102"), tt.Text(0x3A09, "+1 425 555 0103"), texts(0x3A2F, "+1 425 555 0104"),
			tt.Text(0x3A1C, "+1 425 555 0105"), tt.Text(0x3A1E, "+1 425 555 0106"), tt.Text(0x3A1A, "+1 425 555 0107"), tt.Text(0x3A1F, "+1 425 555 0108"),
			tt.Text(0x3A24, "+1 425 555 0109"), tt.Text(0x3A25, "+1 425 555 0110"), tt.Text(0x3A23, "+1 425 555 0111"), tt.Text(0x3A21, "+1 425 555 0112"),
			tt.Text(0x3A2D, "+1 425 555 0113"), tt.Text(0x3A57, "+1 425 555 0114"), tt.Text(0x3A2E, "+1 425 555 0115"), tt.Text(0x3A02, "+1 425 555 0116"),
			tt.Text(0x3A1D, "+1 425 555 0117"), tt.Text(0x3A4B, "+1 425 555 0118"), tt.Text(0x3A2C, "+1 425 555 0119"),
			named(0x8045, "One Microsoft Way"), named(0x8046, "Redmond"), named(0x8047, "WA"), named(0x8048, "98052"), named(0x8049, "USA"), named(0x804A, "PO 7"),
			named(0x801B, "One Microsoft Way\r\nRedmond, WA 98052"),
			tt.Text(0x3A5D, "Hauptstraße 1"), tt.Text(0x3A59, "München"), tt.Text(0x3A5C, "BY"), tt.Text(0x3A5B, "80331"), tt.Text(0x3A5A, "Germany"), tt.Text(0x3A5E, "PO 8"),
			tt.Text(0x3A63, "Calle 1"), tt.Text(0x3A5F, "Madrid"), tt.Text(0x3A61, "28001"), tt.Text(0x3A60, "Spain"),
			tt.Text(0x3A51, "https://www.contoso.com/kim"), tt.Text(0x3A50, "https://kim.example.com/"), named(0x802B, "https://www.contoso.com/kim"),
			named(0x80D8, "https://www.contoso.com/kim.vfb"), named(0x8062, "sip:kim@contoso.com"),
			tt.Time(0x3A42, time.Date(1980, 4, 30, 22, 0, 0, 0, time.UTC)), address(0x80DF, tt.Time(0, time.Date(2010, 6, 5, 0, 0, 0, 0, time.UTC))),
			tt.Text(0x3A48, "Pilar Ackerman"), tt.Text(0x3A4E, "David Alexander"), tt.Text(0x3A30, "Jossef Goldberg"), tt.Text(0x3A43, "Chess, maps"), texts(0x3A58, "Ann", "Ben"),
			mapi.Property{ID: 0x3A4D, Type: mapi.TypeI2, Value: int16(1)}, named(0x804F, "user 1"), named(0x8052, "user 4"), tt.Long(mapi.TagSensitivity, 2),
			tt.NamedString(mapi.SetPublicStrings, "Keywords", mapi.Property{Type: mapi.TypeUnicode, Multi: true, Value: []any{"Red", "Sales, EMEA"}}),
			tt.Binary(mapi.TagSearchKey, []byte("0123456789ABCDEF")), tt.Time(mapi.TagLastModificationTime, time.Date(2025, 5, 28, 7, 14, 0, 0, time.UTC)),
		),
		Text: "Met in Köln.\r\nSpeaks German; and French\r\n", Photo: []byte("\xFF\xD8\xFF\xE0 not really a picture"), PhotoType: "image/jpeg",
	}
}

// oneOff makes a one-off entry id.
func oneOff(wide bool, list ...string) []byte {
	b := append(make([]byte, 4), "\x81\x2b\x1f\xa4\xbe\xa3\x10\x19\x9d\x6e\x00\xdd\x01\x0f\x54\x02"...)
	b = append(b, 0, 0, 1, 0)
	if wide {
		b[23] = 0x90
	}
	for _, s := range list {
		if !wide {
			b = append(append(b, s...), 0)
			continue
		}
		for _, u := range append(utf16.Encode([]rune(s)), 0) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
	}
	return b
}

func list() *mapi.Props {
	return props(
		tt.Text(mapi.TagDisplayName, "Contoso team"), tt.Binary(mapi.TagSearchKey, []byte("FEDCBA9876543210")),
		address(0x8054, mapi.Property{Type: mapi.TypeBinary, Multi: true, Value: []any{
			oneOff(true, "Kim Akers", "SMTP", "kim@contoso.com"), oneOff(false, "David", "smtp", "david@fabrikam.com"), oneOff(true, "Kim Akers", "SMTP", "kim@contoso.com"),
			oneOff(true, "Zoë", "EX", "/o=Contoso/cn=zoe"), []byte("no entry id"), oneOff(true, "jossef@contoso.com", "SMTP", "jossef@contoso.com"), oneOff(true), oneOff(false, "cut", "SMTP"),
		}}),
	)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func cards() map[string][]byte {
	other := &contact.Contact{Props: props(tt.Text(0x3A16, "Fabrikam"), tt.Text(0x3A29, "1 Main St"), tt.Text(0x3A27, "Austin"), tt.Text(0x3A28, "TX"), tt.Text(0x3A2A, "78701"), tt.Text(0x3A26, "USA"))}
	return map[string][]byte{
		"contact.vcf": kim().VCard(), "company.vcf": other.VCard(), "nameless.vcf": (&contact.Contact{Props: props()}).VCard(),
		"list.vcf": contact.GroupVCard(list(), members(list()), "The team"),
	}
}

func TestGolden(t *testing.T) {
	for name, data := range cards() {
		calendartest.Parse(t, data)
		golden(t, name, data)
	}
}

func TestOtherParsers(t *testing.T) {
	names := map[string]string{"contact.vcf": "Dr. Kim M. Akers Jr.", "company.vcf": "Fabrikam", "nameless.vcf": "Unknown", "list.vcf": "Contoso team"}
	objects := cards()
	calendartest.RunCards(t, objects, func(t *testing.T, parser, name string, f calendartest.Found) {
		want := len(calendartest.Parse(t, objects[name])) - 2
		if f.Name != names[name] || parser == "ical.js" && f.Properties != want {
			t.Errorf("%s: %+v, want %q and %d properties", name, f, names[name], want)
		}
	})
}

func members(p *mapi.Props) []mapi.Mailbox {
	list, _ := contact.Members(p, nil)
	return list
}

func TestMembers(t *testing.T) {
	want := []mapi.Mailbox{
		{Name: "Kim Akers", Address: "kim@contoso.com"}, {Name: "David", Address: "david@fabrikam.com"}, {Name: "Zoë"},
		{Name: "jossef@contoso.com", Address: "jossef@contoso.com"}, {Name: "cut"},
	}
	got := members(list())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	text := contact.ListText(list(), append(got, mapi.Mailbox{Name: "two\r\nlines"}))
	if want := "Contoso team:\r\n- Kim Akers <kim@contoso.com>\r\n- David <david@fabrikam.com>\r\n- Zoë\r\n- jossef@contoso.com\r\n- cut\r\n- two lines\r\n"; text != want {
		t.Errorf("%q", text)
	}
	second := props(address(0x8055, mapi.Property{Type: mapi.TypeBinary, Multi: true, Value: []any{oneOff(true, "Kim", "SMTP", "kim@contoso.com")}}))
	if m := members(second); len(m) != 1 {
		t.Errorf("members in the second list only: %v", m)
	}
}

// TestMemberStream: a great list has its members in a stream, each with the id in the sender's folders in front of the one-off one.
func TestMemberStream(t *testing.T) {
	var b []byte
	u32 := func(v int) { b = binary.LittleEndian.AppendUint32(b, uint32(v)) }
	u32(1)
	u32(16)
	u32(0)
	u32(3)
	for _, e := range [][]byte{oneOff(true, "Kim Akers", "SMTP", "kim@contoso.com"), oneOff(false, "David", "SMTP", "david@fabrikam.com"), oneOff(true, "Zoë", "EX", "/o=x")} {
		for _, part := range [][]byte{[]byte("id in a folder"), e, nil} {
			u32(len(part))
			b = append(b, part...)
		}
	}
	u32(0)
	u32(0)
	p := list()
	p.List = append(p.List, address(0x8064, tt.Binary(mapi.FirstNamed+100, b)))
	p.List[len(p.List)-1].ID = mapi.FirstNamed + 100
	want := []mapi.Mailbox{{Name: "Kim Akers", Address: "kim@contoso.com"}, {Name: "David", Address: "david@fabrikam.com"}, {Name: "Zoë"}}
	if d := cmp.Diff(want, members(p)); d != "" {
		t.Error(d)
	}
}

// TestHostileTexts: no value leaves its line.
func TestHostileTexts(t *testing.T) {
	evil := "x\r\nEMAIL:evil@fabrikam.com\r\n\x00;,\\\u2028END:VCARD"
	c := kim()
	for i := range c.Props.List {
		if _, ok := c.Props.List[i].Value.(string); ok {
			c.Props.List[i].Value = evil
		}
	}
	c.Text, c.PhotoType = evil, "image/"+evil
	data := c.VCard()
	ends := 0
	for _, l := range calendartest.Parse(t, data) {
		if l.Name == "END" {
			ends++
		}
		if l.Name == "EMAIL" || strings.Contains(l.Value, "\x00") {
			t.Errorf("%+v", l)
		}
	}
	if ends != 1 {
		t.Errorf("%d ends:\n%s", ends, data)
	}
}

func TestPhoto(t *testing.T) {
	for name, x := range map[string]struct {
		data []byte
		typ  string
		want bool
	}{
		"jpeg": {[]byte("x"), "image/jpeg", true}, "no picture": {[]byte("x"), "application/pdf", false}, "empty": {nil, "image/png", false},
		"too large": {make([]byte, 5<<20), "image/png", false},
	} {
		got := strings.Contains(string((&contact.Contact{Props: props(), Photo: x.data, PhotoType: x.typ}).VCard()), "PHOTO;ENCODING=b;TYPE=")
		if got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzMembers(f *testing.F) {
	f.Add(oneOff(true, "Kim", "SMTP", "kim@contoso.com"))
	f.Add(oneOff(false, "Kim", "SMTP", "kim@contoso.com"))
	f.Fuzz(func(t *testing.T, entry []byte) {
		p := props(address(0x8054, mapi.Property{Type: mapi.TypeBinary, Multi: true, Value: []any{entry}}))
		p.List = append(p.List, mapi.Property{ID: mapi.FirstNamed + 1, Type: mapi.TypeBinary, Name: mapi.Name{Set: mapi.SetAddress, LID: 0x8064}, Value: entry})
		calendartest.Parse(t, contact.GroupVCard(p, members(p), contact.ListText(p, members(p))))
	})
}

// TestManyMembers: a list of any reasonable length is read, and of a longer one it is told how much is not.
func TestManyMembers(t *testing.T) {
	var b []byte
	const n = 50_010
	for i := range n {
		b = append(b, oneOff(false, "", "SMTP", fmt.Sprintf("m%d@contoso.com", i))...)
	}
	p := props(address(0x8064, tt.Binary(0, b)))
	got, left := contact.Members(p, nil)
	if len(got) != n-10 || left != 10 || got[len(got)-1].Address != "m49999@contoso.com" {
		t.Errorf("%d members, %d left", len(got), left)
	}
}
