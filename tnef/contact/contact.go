package contact

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// Contact is a contact object and what belongs to it.
type Contact struct {
	Props *mapi.Props
	Text  string // the notes, as plain text
	// Photo is the picture of the contact, nil for none, and PhotoType its media type: "image/jpeg".
	Photo     []byte
	PhotoType string
}

// maxPhoto is the largest picture, in octets, that is put into a vCard.
const maxPhoto = 4 << 20

// VCard writes the contact as a vCard 3.0 (RFC 2426), which every address book reads.
func (c *Contact) VCard() []byte {
	w := &writer{props: c.Props}
	w.Begin("VCARD")
	w.Raw("VERSION", "3.0")
	w.names()
	w.organization()
	for _, a := range Addresses(c.Props) {
		w.Text("EMAIL", a.Address, types("INTERNET")...)
	}
	w.telephones()
	w.postal()
	w.online()
	w.personal()
	if strings.TrimSpace(c.Text) != "" {
		w.Text("NOTE", strings.TrimRight(c.Text, "\r\n"))
	}
	w.Texts("CATEGORIES", c.Props.FindString(mapi.SetPublicStrings, "Keywords").Texts())
	w.classification()
	w.photo(c.Photo, c.PhotoType)
	w.identity()
	w.End("VCARD")
	return w.Bytes()
}

// Name is what the contact, or the list, is called; "" when nothing says it.
func Name(p *mapi.Props) string {
	given, family := p.Text(tagGivenName), p.Text(tagSurname)
	for _, s := range []string{
		p.Text(mapi.TagDisplayName), strings.TrimSpace(given + " " + family), address(p, lidListName).Text(), address(p, lidFileUnder).Text(),
		p.Text(tagCompany), p.Text(mapi.TagSubject), p.Text(mapi.TagNormalizedSubject),
	} {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	for _, a := range Addresses(p) {
		return a.Address
	}
	return ""
}

// Addresses lists the up to three SMTP addresses of a contact ([MS-OXOCNTC] 2.2.1.2).
func Addresses(p *mapi.Props) []mapi.Mailbox {
	var list []mapi.Mailbox
	for _, first := range []uint32{lidEmail1, lidEmail1 + 0x10, lidEmail1 + 0x20} {
		display, typ := address(p, first).Text(), address(p, first+2).Text()
		addr, original := address(p, first+3).Text(), address(p, first+4).Text()
		if strings.EqualFold(typ, "EX") { // an address of the organization's own: the SMTP form may stand beside it
			addr = ""
		}
		for _, s := range []string{addr, original} {
			if s = strings.TrimSpace(s); strings.Count(s, "@") == 1 && !strings.ContainsAny(s, " ()<>\"\t\r\n\x00") {
				list = append(list, mapi.Mailbox{Name: display, Address: s})
				break
			}
		}
	}
	return list
}

type writer struct {
	contentline.Writer
	props *mapi.Props
}

func types(names ...string) []contentline.Param {
	var list []contentline.Param
	for _, n := range names {
		list = append(list, contentline.Param{Name: "TYPE", Value: n})
	}
	return list
}

// structured writes a value of parts divided by semicolons; none when all are empty.
func (w *writer) structured(name string, parts []string, params ...contentline.Param) {
	empty := true
	for i, s := range parts {
		parts[i] = contentline.Escape(strings.TrimSpace(s))
		empty = empty && parts[i] == ""
	}
	if !empty {
		w.Raw(name, strings.Join(parts, ";"), params...)
	}
}

// names: N must be there (RFC 2426 3.1.2), and FN.
func (w *writer) names() {
	p := w.props
	parts := []string{p.Text(tagSurname), p.Text(tagGivenName), p.Text(tagMiddleName), p.Text(tagPrefix), p.Text(tagGeneration)}
	name := Name(p)
	if strings.Join(parts, "") == "" {
		parts[0] = name
	}
	if name == "" {
		name = "Unknown"
		parts[0] = name
	}
	w.structured("N", parts)
	w.Text("FN", name)
	w.Text("NICKNAME", p.Text(tagNickname))
	if s := address(p, lidFileUnder).Text(); s != name {
		w.Text("SORT-STRING", s)
	}
	w.Text("X-PHONETIC-FIRST-NAME", address(p, lidYomiFirst).Text())
	w.Text("X-PHONETIC-LAST-NAME", address(p, lidYomiLast).Text())
}

func (w *writer) organization() {
	p := w.props
	parts := []string{p.Text(tagCompany)}
	if d := p.Text(tagDepartment); d != "" {
		parts = append(parts, d)
	}
	w.structured("ORG", parts)
	w.Text("TITLE", p.Text(tagTitle))
	w.Text("ROLE", p.Text(tagProfession))
}

// phone is a kind of telephone number ([MS-OXVCARD] 2.1.3.2).
type phone struct {
	id    mapi.ID
	types []string
}

var phones = []phone{
	{tagBusinessPhone, []string{"WORK", "VOICE"}}, {tagBusinessPhone2, []string{"WORK", "VOICE"}},
	{tagHomePhone, []string{"HOME", "VOICE"}}, {tagHomePhone2, []string{"HOME", "VOICE"}},
	{tagMobilePhone, []string{"CELL", "VOICE"}}, {tagCarPhone, []string{"CAR", "VOICE"}},
	{tagPrimaryPhone, []string{"PREF", "VOICE"}}, {tagOtherPhone, []string{"VOICE"}},
	{tagBusinessFax, []string{"WORK", "FAX"}}, {tagHomeFax, []string{"HOME", "FAX"}}, {tagPrimaryFax, []string{"FAX"}},
	{tagPager, []string{"PAGER"}}, {tagISDN, []string{"ISDN"}},
}

// otherPhones are those that vCard has no type for.
var otherPhones = []phone{
	{tagCompanyPhone, []string{"COMPANY"}}, {tagAssistantPhone, []string{"ASSISTANT"}}, {tagCallback, []string{"CALLBACK"}},
	{tagRadioPhone, []string{"RADIO"}}, {tagTTY, []string{"TTYTDD"}}, {tagTelex, []string{"TLX"}},
}

func (w *writer) telephones() {
	for _, list := range []struct {
		name   string
		phones []phone
	}{{"TEL", phones}, {"X-MS-TEL", otherPhones}} {
		for _, x := range list.phones {
			for _, number := range w.props.Find(x.id).Texts() {
				w.Text(list.name, strings.TrimSpace(number), types(x.types...)...)
			}
		}
	}
}

// postal writes addresses: post office box, extended address, street, city, state, postal code, country (RFC 2426 3.2.1).
func (w *writer) postal() {
	p := w.props
	named := func(first uint32) []string {
		var s []string
		for lid := first; lid < first+5; lid++ {
			s = append(s, address(p, lid).Text())
		}
		return []string{address(p, lidWorkBox).Text(), p.Text(tagOfficeLocation), s[0], s[1], s[2], s[3], s[4]}
	}
	work := named(lidWorkStreet)
	if strings.Join(work[2:], "") == "" && work[0] == "" {
		if index, _ := address(p, lidPostalIndex).Int(); index == 0 || index == 2 {
			// Contacts of other programs have only the address for the post, which is that at work unless the index says otherwise.
			work = append(work[:1], work[1], p.Text(tagStreet), p.Text(tagLocality), p.Text(tagState), p.Text(tagPostalCode), p.Text(tagCountry))
		}
	}
	w.structured("ADR", work, types("WORK")...)
	w.structured("ADR", []string{p.Text(tagHomeBox), "", p.Text(tagHomeStreet), p.Text(tagHomeCity), p.Text(tagHomeState), p.Text(tagHomePostal), p.Text(tagHomeCountry)}, types("HOME")...)
	w.structured("ADR", []string{p.Text(tagOtherBox), "", p.Text(tagOtherStreet), p.Text(tagOtherCity), p.Text(tagOtherState), p.Text(tagOtherPostal), p.Text(tagOtherCountry)}, types("POSTAL")...)
	w.Text("LABEL", address(p, lidWorkAddress).Text(), types("WORK")...)
	w.Text("LABEL", address(p, lidHomeAddress).Text(), types("HOME")...)
	w.Text("LABEL", address(p, lidOtherAddress).Text(), types("POSTAL")...)
}

func (w *writer) online() {
	p := w.props
	seen := map[string]bool{}
	for _, x := range []struct{ kind, url string }{
		{"WORK", p.Text(tagBusinessPage)}, {"HOME", p.Text(tagPersonalPage)}, {"", address(p, lidWebPage).Text()},
	} {
		u := strings.TrimSpace(x.url)
		if u == "" || seen[u] || strings.ContainsAny(u, "\r\n") {
			continue
		}
		seen[u] = true
		var params []contentline.Param
		if x.kind != "" {
			params = types(x.kind)
		}
		w.Raw("URL", u, params...)
	}
	if u := strings.TrimSpace(address(p, lidFreeBusy).Text()); u != "" && !strings.ContainsAny(u, "\r\n") {
		w.Raw("FBURL", u)
	}
	w.Text("X-MS-IMADDRESS", address(p, lidIM).Text())
}

func (w *writer) personal() {
	p := w.props
	w.date("BDAY", address(p, lidBirthdayLocal), p.Find(tagBirthday))
	w.date("X-MS-ANNIVERSARY", address(p, lidAnniversaryLocal), p.Find(tagAnniversary))
	for _, x := range []struct {
		name string
		id   mapi.ID
	}{{"X-MS-SPOUSE", tagSpouse}, {"X-MS-MANAGER", tagManager}, {"X-MS-ASSISTANT", tagAssistant}, {"X-MS-INTERESTS", tagHobbies}} {
		w.Text(x.name, p.Text(x.id))
	}
	for _, child := range p.Find(tagChildren).Texts() {
		w.Text("X-MS-CHILD", child)
	}
	if g, _ := p.Int(tagGender); g == 1 || g == 2 {
		w.Raw("X-GENDER", map[int64]string{1: "Female", 2: "Male"}[g])
	}
	for lid := uint32(lidUserText1); lid < lidUserText1+4; lid++ {
		w.Text("X-MS-TEXT", address(p, lid).Text())
	}
}

// date writes a day. local is it as midnight UTC; whole is midnight in the zone of the contact's owner, which is not known: the nearest midnight
// is meant ([MS-OXOCNTC] 2.2.1.5).
func (w *writer) date(name string, local, whole *mapi.Property) {
	t, ok := local.Time()
	if !ok {
		if t, ok = whole.Time(); ok {
			t = t.Add(12*time.Hour - time.Nanosecond)
		}
	}
	if ok && t.Year() < 4500 { // 4501 stands for none
		w.Raw(name, t.Format("2006-01-02"), contentline.Param{Name: "VALUE", Value: "DATE"})
	}
}

func (w *writer) classification() {
	v, ok := w.props.Int(mapi.TagSensitivity)
	if !ok {
		return
	}
	if s := map[int64]string{0: "PUBLIC", 1: "X-PERSONAL", 2: "PRIVATE", 3: "CONFIDENTIAL"}[v]; s != "" {
		w.Raw("CLASS", s)
	}
}

func (w *writer) photo(data []byte, mediaType string) {
	_, subtype, ok := strings.Cut(strings.ToUpper(mediaType), "/")
	if len(data) == 0 || len(data) > maxPhoto || !ok || !strings.HasPrefix(strings.ToLower(mediaType), "image/") {
		return
	}
	w.Raw("PHOTO", base64.StdEncoding.EncodeToString(data), contentline.Param{Name: "ENCODING", Value: "b"}, contentline.Param{Name: "TYPE", Value: subtype})
}

func (w *writer) identity() {
	if b := w.props.Bytes(mapi.TagSearchKey); len(b) > 0 && len(b) <= 128 {
		w.Raw("UID", hexID(b))
	}
	if t, ok := w.props.Time(mapi.TagLastModificationTime); ok && w.props.Find(mapi.TagLastModificationTime).Attribute == 0 {
		w.Raw("REV", t.UTC().Format("20060102T150405Z"))
	}
}
