package reply_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
)

func TestParse(t *testing.T) {
	const none = "Refused by a filter"
	for _, c := range []struct {
		name     string
		code     int
		fallback int
		text     string
		want     *smtp.SMTPError
	}{
		{"plain", 550, 550, "Spam", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "Spam")},
		{"enhanced", 554, 550, "5.7.9 Bad day", reply.New(554, smtp.EnhancedCode{5, 7, 9}, "Bad day")},
		{"enhanced of another class", 451, 451, "5.7.9 Bad day", reply.New(451, smtp.EnhancedCode{4, 7, 1}, "Bad day")},
		{"a filter may not say yes", 250, 550, "fine", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "fine")},
		{"nor close the service", 421, 451, "away", reply.New(451, smtp.EnhancedCode{4, 7, 1}, "away")},
		{"nor say that no mail is taken here", 521, 550, "away", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "away")},
		{"no text", 550, 550, "", reply.New(550, smtp.EnhancedCode{5, 7, 1}, none)},
		{"only a code", 550, 550, "5.7.2", reply.New(550, smtp.EnhancedCode{5, 7, 2}, none)},
		{"a second line", 550, 550, "No\r\n250 OK", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "No 250 OK")},
		{"an address is no code", 550, 550, "192.0.2 is listed", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "192.0.2 is listed")},
		{"negative", 550, 550, "5.-1.2 no", reply.New(550, smtp.EnhancedCode{5, 7, 1}, "5.-1.2 no")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, reply.Parse(c.code, c.fallback, c.text, none)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewCorrectsTheClass(t *testing.T) {
	if got := reply.New(451, smtp.EnhancedCode{5, 7, 1}, "later").EnhancedCode; got != (smtp.EnhancedCode{4, 7, 1}) {
		t.Errorf("enhanced code %v", got)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", strings.Repeat("x ", 900), "ü", "\x00\x7f", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := reply.Text(s)
		if len(got) > reply.MaxText {
			t.Errorf("%d octets", len(got))
		}
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Errorf("octet %#x in %q", got[i], got)
			}
		}
		if again := reply.Text(got); again != got {
			t.Errorf("Text of %q is %q", got, again)
		}
	})
}
