package directory

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// exported is an LDIF file of n users, as ldifde writes it: the last entry too is followed by an empty line.
func exported(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "dn: CN=User %[1]d,OU=Staff,DC=contoso,DC=com\nobjectClass: top\nobjectClass: user\ndisplayName: User %[1]d\nmail: user%[1]d@contoso.com\n"+
			"proxyAddresses: SMTP:user%[1]d@contoso.com\nproxyAddresses: smtp:u%[1]d@contoso.com\nmsExchRecipientTypeDetails: 128\ntargetAddress: SMTP:user%[1]d@contoso.com\n\n", i)
	}
	return b.String()
}

// TestFileSourceRefusesWhatWasCut cuts a file at every octet of an entry in its middle: wherever that shows, the last view stays.
func TestFileSourceRefusesWhatWasCut(t *testing.T) {
	const users = 40
	whole := exported(users)
	entry := strings.Index(whole, "dn: CN=User 20,")
	next := strings.Index(whole, "dn: CN=User 21,")
	end := next - 1 // behind the line end of the last line: a complete entry ends there and nothing tells
	b := newBench(t, whole)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	for cut := entry + 1; cut < end; cut++ {
		b.replace(whole[:cut])
		if err := b.poll(); err == nil {
			t.Errorf("cut behind %q: accepted", whole[entry:cut])
		}
		if n := b.src.View().Stats().Total(); n != users {
			t.Fatalf("cut behind %q: %d objects are left", whole[entry:cut], n)
		}
	}
}

func TestFileSourceKeepsTheViewOfACutFileOverARestart(t *testing.T) {
	b := newBench(t, exported(40))
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.replace(strings.TrimSuffix(exported(30), "\n\n"))
	b.restart("crash")
	const want = "contoso.ldif:291: the file ends within a line, which the one before did not, and has 30 objects, before 40: was the export cut off?"
	for range 2 {
		if err := b.poll(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b.serves("user39@contoso.com")
	b.state(StateDegraded, want)

	b.replace(strings.TrimSuffix(exported(30), "\n\n") + "\n# end\n") // the administrator says that it is meant
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	b.state(StateOK, "")
	if n := b.src.View().Stats().Total(); n != 30 {
		t.Errorf("%d objects", n)
	}
}

// TestFileSourceBelievesEdits has what looks a little like a file that was cut off, and is none.
func TestFileSourceBelievesEdits(t *testing.T) {
	base := exported(40)
	without := func(attribute string, n int) string {
		lines := strings.SplitAfter(exported(n), "\n")
		for i := len(lines) - 1; ; i-- {
			if strings.HasPrefix(lines[i], attribute) {
				return strings.Join(append(lines[:i:i], lines[i+1:]...), "")
			}
		}
	}
	newcomer := "dn: CN=Alex Wilber,DC=contoso,DC=com\nobjectClass: user\nmail: alexw@contoso.com"
	cases := []struct{ name, before, after string }{
		{"the last entries are gone", base, exported(25)},
		{"all but one are gone", base, exported(1)},
		{"the last entry lost an attribute, and nobody is gone", base, without("targetAddress:", 40)},
		{"the last entry got another address", base, strings.Replace(exported(30), "targetAddress: SMTP:user29@contoso.com", "targetAddress: SMTP:user29@fabrikam.com", 1)},
		{"the last entry is new", base, exported(20) + newcomer + "\n"},
		{"more entries, without a line end", base, base + newcomer},
		{"never a line end", strings.TrimSpace(base), strings.TrimSpace(exported(20))},
		{"a small directory", exported(10), without("targetAddress:", 5)},
		{"with the mark", base, without("targetAddress:", 30) + "# end\n\n"},
		{"with ldapsearch's result", base, without("targetAddress:", 30) + "# search result\nsearch: 2\nresult: 0 Success\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.before)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			b.replace(c.after)
			if err := b.poll(); err != nil {
				t.Fatal(err)
			}
			want, err := ReadLDIF(strings.NewReader(c.after), "want")
			if err != nil {
				t.Fatal(err)
			}
			if got := b.src.View().Stats(); got.Total() != want.Stats().Total() || got.Addresses != want.Stats().Addresses {
				t.Errorf("%+v, want %+v", got, want.Stats())
			}
		})
	}
}

// TestFileSourceFirstFile has no older view to compare with: any file that can be read is believed.
func TestFileSourceFirstFile(t *testing.T) {
	b := newBench(t, strings.TrimSuffix(exported(25), "@contoso.com\n\n"))
	if err := b.src.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.state(StateOK, "")
}

// TestStatusAfterARestart shows when the source was last asked, though that was another process.
func TestStatusAfterARestart(t *testing.T) {
	b := newBench(t, adele)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	read := b.src.LastRead()
	b.restart("clean")
	if s := b.src.Status(); s.LastPoll == nil || !s.LastPoll.Equal(read) || s.State != StateDegraded {
		t.Errorf("%+v, want last_poll %v", s, read)
	}
}
