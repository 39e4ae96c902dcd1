package fakemta

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRule(t *testing.T) {
	tests := []struct {
		text  string
		want  Rule
		fault string
	}{
		{"RCPT *@contoso.com reply 450 4.2.0 busy", Rule{Verb: Rcpt, Match: "*@contoso.com", Action: Reply, Reply: "450 4.2.0 busy"}, ""},
		{"rcpt drop", Rule{Verb: Rcpt, Action: Drop}, ""},
		{"EHLO hang", Rule{Verb: EHLO, Action: Hang}, ""},
		{"EHLO hang 3s", Rule{Verb: EHLO, Action: Hang, Hang: 3 * time.Second}, ""},
		{"RCPT a@b delay 2s", Rule{Verb: Rcpt, Match: "a@b", Delay: 2 * time.Second}, ""},
		{"  EOD   skip 2  times 3  chance 0.25 delay 10ms  reply   451  4.3.0 x ", Rule{Verb: EOD, Skip: 2, Times: 3, Chance: 0.25, Delay: 10 * time.Millisecond, Action: Reply, Reply: "451  4.3.0 x"}, ""},
		{"RCPT nth 3 drop", Rule{Verb: Rcpt, Skip: 2, Times: 1, Action: Drop}, ""},
		{"BODY after 1000 drop", Rule{Verb: Body, Octets: 1000, Action: Drop}, ""},
		{`EOD reply 250-a\n250 b`, Rule{Verb: EOD, Action: Reply, Reply: "250-a\n250 b"}, ""},
		{"EOD keep-drop", Rule{Verb: EOD, Action: KeepDrop}, ""},
		{"CONNECT pass", Rule{Verb: Connect, Action: Pass}, ""},
		{"", Rule{}, `"" is not a verb`},
		{"AUTH drop", Rule{}, `"AUTH" is not a verb`},
		{"RCPT a@b b@c drop", Rule{}, `"b@c" is neither an option nor an action`},
		{"RCPT reply", Rule{}, `"" is not a reply`},
		{"RCPT reply busy", Rule{}, `"busy" is not a reply`},
		{"RCPT reply 150 x", Rule{}, "is not a reply"},
		{"RCPT reply 4500 x", Rule{}, "is not a reply"},
		{"RCPT times x drop", Rule{}, "times: "},
		{"RCPT times -1 drop", Rule{}, "negative"},
		{"RCPT nth 0 drop", Rule{}, "negative"},
		{"RCPT chance 2 drop", Rule{}, "chance 2"},
		{"RCPT dorp", Rule{}, "does nothing"},
		{"RCPT drop now", Rule{}, `"now" after drop`},
		{"RCPT hang long", Rule{}, "invalid duration"},
		{"RCPT keep-drop", Rule{}, "for EOD only"},
		{"BODY reply 450 4.2.0 busy", Rule{}, "no reply inside a message"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := ParseRule(test.text)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("got %+v, %v, expected an error with %q", got, err, test.fault)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestParseRules(t *testing.T) {
	got, err := ParseRules("# comment\n\n  RCPT drop\r\nEOD drop\n")
	if err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseRules("RCPT drop\nRCPT dorp x"); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("got %v, expected an error of line 2", err)
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("RCPT *@contoso.com skip 1 times 2 chance 0.5 delay 1s reply 450 4.2.0 busy")
	f.Add("BODY after 10 half 250 ok")
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := ParseRule(text)
		if err == nil && rule.Check() != nil {
			t.Errorf("%q became %+v, which is not valid", text, rule)
		}
	})
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "a@b", true}, {"a@b", "A@B", true}, {"*@b", "a@b", true}, {"*@b", "a@bc", false}, {"a*c*e", "abcde", true},
		{"a*c*e", "abcdef", false}, {"?@b", "a@b", true}, {"?@b", "@b", false}, {"", "", true}, {"", "a", false}, {"**", "x", true}, {"*a*a*a*b", strings.Repeat("a", 2000), false},
	} {
		if got := glob(test.pattern, test.s); got != test.want {
			t.Errorf("glob(%q, %.20q) = %v", test.pattern, test.s, got)
		}
	}
}

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	folder, err := OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"7.eml", "9.json", "x.eml", "12.txt", "11"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if folder, err = OpenFolder(path); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := folder.Save(&Message{Data: []byte("a\r\n\x00.\n"), Sender: "a@contoso.com", Recipients: []string{"b@contoso.com"}}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for n := 10; n < 30; n++ {
		name := filepath.Join(path, strconv.Itoa(n))
		data, err := os.ReadFile(name + ".eml")
		if err != nil || string(data) != "a\r\n\x00.\n" {
			t.Errorf("%d.eml: %q, %v", n, data, err)
		}
		text, err := os.ReadFile(name + ".json")
		var m Message
		if err != nil || json.Unmarshal(text, &m) != nil || m.Number != n || m.Recipients[0] != "b@contoso.com" {
			t.Errorf("%d.json: %s, %v", n, text, err)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 45 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	if _, err := OpenFolder(filepath.Join(path, "7.eml")); err == nil {
		t.Error("a file was taken for a folder")
	}
	os.RemoveAll(path)
	if err := folder.Save(&Message{}); err == nil {
		t.Error("a message was saved into a folder that is gone")
	}
}
