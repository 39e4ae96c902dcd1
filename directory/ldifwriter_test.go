package directory

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// reread writes a view as LDIF and reads it.
func reread(tb testing.TB, v *View) (*View, string) {
	tb.Helper()
	var b bytes.Buffer
	if err := WriteLDIF(&b, v); err != nil {
		tb.Fatal(err)
	}
	got, err := ReadLDIF(bytes.NewReader(b.Bytes()), "export.ldif")
	if err != nil {
		tb.Fatalf("reading what was written: %v\n%s", err, b.String())
	}
	return got, b.String()
}

func TestWriteLDIF(t *testing.T) {
	full := Entry{
		DN: `CN=Vance\, Adele,OU=Zürich "North",DC=contoso,DC=com`, GUID: guid(7), ObjectClass: []string{"top", "user"},
		DisplayName: "Adele Vance", Mail: "adelev@contoso.com", UserPrincipalName: "adelev@contoso.com",
		ProxyAddresses: []string{"SMTP:adelev@contoso.com", "smtp:äöü@contoso.com", "X500:/o=Contoso/cn=" + strings.Repeat("long", 40), "NOTES:Adele Vance/Contoso@Contoso"},
		TargetAddress:  "SMTP:adelev@contoso.mail.onmicrosoft.com", LegacyExchangeDN: "/o=Contoso/ou=First/cn=Recipients/cn=adelev",
		RemoteRecipientType: Int{4, true}, RecipientTypeDetails: Int{2147483648, true}, RecipientDisplayType: Int{-2147483642, true},
		AccountControl: Int{514, true}, Changed: time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC),
	}
	for _, c := range []struct {
		name string
		view *View
	}{
		{"every attribute", mustBuild(t, full)},
		{"every kind", mustBuild(t, user("Megan Bowen", "SMTP:meganb@contoso.com"), group("Sales", "Megan Bowen", "Nobody Here"),
			Entry{DN: "CN=Guest,DC=contoso,DC=com", ObjectClass: []string{"contact"}, TargetAddress: "guest@fabrikam.com"},
			Entry{DN: "CN=Dynamic,DC=contoso,DC=com", ObjectClass: []string{"msExchDynamicDistributionList"}, Mail: "dyn@contoso.com"},
			Entry{DN: "CN=Folder,DC=contoso,DC=com", ObjectClass: []string{"publicFolder"}, Mail: "pf@contoso.com"},
			Entry{DN: "CN=Thing,DC=contoso,DC=com", ObjectClass: []string{"top", "device"}, Mail: "thing@contoso.com"})},
		{"awkward values", mustBuild(t, Entry{DN: "CN= x,DC=contoso,DC=com", ObjectClass: []string{"user"}, DisplayName: ": colon", Mail: " space@contoso.com"},
			Entry{DN: `CN=a\0Ab,DC=contoso,DC=com`, ObjectClass: []string{"user"}, DisplayName: "<angle"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, text := reread(t, c.view)
			if d := diffViews(t, c.view, got); d != "" {
				t.Errorf("the view differs from what was written (-want +got):\n%s\n%s", d, text)
			}
			if got.Stats().Warnings != 0 {
				t.Errorf("warnings: %v", got.Warnings())
			}
			for i, line := range strings.Split(text, "\n") {
				if len(line) > 76 {
					t.Errorf("line %d has %d characters", i+1, len(line))
				}
			}
			if _, again := reread(t, got); again != text {
				t.Error("written again it is another text")
			}
		})
	}
}

func TestWriteLDIFAfterChanges(t *testing.T) {
	v := mustBuild(t, user("Alex Wilber", "SMTP:alexw@contoso.com"), group("All", "Alex Wilber", "Gone"), user("Gone"))
	gone, _ := v.ByDN("CN=Gone,OU=Users,DC=contoso,DC=com")
	v, err := v.Apply(Delta{Deletes: []GUID{v.GUID(gone)}, Moves: []Move{{"OU=Users,DC=contoso,DC=com", "OU=Staff,OU=EU,DC=contoso,DC=com"}}})
	if err != nil {
		t.Fatal(err)
	}
	got, text := reread(t, v)
	if d := diffViews(t, v, got); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, text)
	}
}

func TestWriteLDIFEmpty(t *testing.T) {
	var b bytes.Buffer
	if err := WriteLDIF(&b, NewBuilder().Build()); !errors.Is(err, ErrEmpty) || b.Len() != 0 {
		t.Errorf("error %v and %d bytes; expected ErrEmpty and none", err, b.Len())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteLDIFError(t *testing.T) {
	if err := WriteLDIF(brokenWriter{}, mustBuild(t, user("Alex Wilber"))); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v; expected that of the writer", err)
	}
}

func FuzzWriteLDIF(f *testing.F) {
	f.Add("Adele Vance", "adelev@contoso.com", "SMTP:adelev@contoso.com")
	f.Add(" <:", "ä@contoso.com ", "x500:/o=a/cn=\x7f")
	f.Fuzz(func(t *testing.T, name, mail, proxy string) {
		ldif := "dn: CN=x,DC=contoso,DC=com\nobjectClass: user\n"
		for _, a := range [][2]string{{"displayName", name}, {"mail", mail}, {"proxyAddresses", proxy}} {
			w := &bytes.Buffer{}
			fmt.Fprintf(w, "%s:: %s\n", a[0], base64.StdEncoding.EncodeToString([]byte(a[1])))
			ldif += w.String()
		}
		v, err := ReadLDIF(strings.NewReader(ldif), "in")
		if err != nil {
			return
		}
		got, text := reread(t, v)
		for r := range v.All() {
			o, _ := got.ByGUID(v.GUID(r))
			want, have := v.Object(r), got.Object(o)
			want.Ref, have.Ref = 0, 0
			if d := gocmp.Diff(want, have); d != "" {
				t.Errorf("(-want +got):\n%s\n%s", d, text)
			}
		}
	})
}

func TestWithinDN(t *testing.T) {
	for _, c := range []struct {
		dn, base string
		want     bool
	}{
		{"CN=a,OU=Sales,DC=contoso,DC=com", "DC=contoso,DC=com", true},
		{"cn=a,ou=sales,dc=CONTOSO,dc=com", "OU=Sales, DC=contoso, DC=com", true},
		{"DC=contoso,DC=com", "DC=contoso,DC=com", true},
		{"CN=a,OU=Presales,DC=contoso,DC=com", "OU=Sales,DC=contoso,DC=com", false},
		{`CN=a\,OU=Sales,DC=contoso,DC=com`, "OU=Sales,DC=contoso,DC=com", false},
		{"DC=com", "DC=contoso,DC=com", false},
		{"CN=a,DC=com", "", true},
		{"CN=a,DC=com", "nonsense", false},
	} {
		if got := WithinDN(c.dn, c.base); got != c.want {
			t.Errorf("WithinDN(%q, %q) = %v", c.dn, c.base, got)
		}
	}
}

func TestKeeperKeepsStateWithItsView(t *testing.T) {
	path := t.TempDir() + "/snapshot"
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	open := func() *Keeper {
		return NewKeeper(KeeperConfig{Name: "ad", Identity: "ad:x", Snapshot: path, Now: func() time.Time { return now }})
	}
	k := open()
	v1 := mustBuild(t, user("Alex Wilber"))
	k.Replace(v1, now, []byte("one"))
	if err := k.Persist(); err != nil {
		t.Fatal(err)
	}
	v2, err := v1.Apply(Delta{Upserts: []Entry{user("Megan Bowen")}})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	k.h.cost = time.Hour // as if writing took long
	k.Advance(v2, now, []byte("two"))
	if err := k.Persist(); err != nil {
		t.Fatal(err)
	}
	if r := open(); string(r.State()) != "one" || r.View().Stats().Total() != 1 {
		t.Errorf("after a crash: state %q with %d objects; expected the first pair", r.State(), r.View().Stats().Total())
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if r := open(); string(r.State()) != "two" || r.View().Stats().Total() != 2 || !r.LastRead().Equal(now) {
		t.Errorf("after the end: state %q with %d objects, read %v; expected the second pair", r.State(), r.View().Stats().Total(), r.LastRead())
	}
}
