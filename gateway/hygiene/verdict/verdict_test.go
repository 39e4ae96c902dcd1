package verdict_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/verdict"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

const none = verdict.NotGiven

func TestApply(t *testing.T) {
	const from = "From: john@fabrikam.com\r\n"
	for _, c := range []struct {
		name, header string
		o            verdict.Options
		read         verdict.Verdict
		want         string // the header's end; "" for unchanged
	}{
		{"spam", "X-Forefront-Antispam-Report: CIP:192.0.2.1;CTRY:US;LANG:en;SCL:5;SRV:;IPV:NLI;SFV:SPM;H:mail.fabrikam.com;PTR:;CAT:SPM;SFS:;DIR:INB;\r\n", verdict.Options{},
			verdict.Verdict{SCL: 5, BCL: none, SFV: "SPM", CAT: "SPM"}, "X-Spam-Flag: YES\r\nX-Spam-Score: 5\r\nX-Spam-Level: *****\r\n"},
		{"sure", "X-Forefront-Antispam-Report:\r\n\tCIP:192.0.2.1;SCL:9;\r\n\tSFV:SPM;CAT:HSPM;\r\n", verdict.Options{},
			verdict.Verdict{SCL: 9, BCL: none, SFV: "SPM", CAT: "HSPM"}, "X-Spam-Flag: YES\r\nX-Spam-Score: 9\r\nX-Spam-Level: *********\r\n"},
		{"no spam", "X-Forefront-Antispam-Report: SCL:1;SFV:NSPM;CAT:NONE\r\nX-Microsoft-Antispam: BCL:0;ARA:13230040\r\n", verdict.Options{},
			verdict.Verdict{SCL: 1, BCL: 0, SFV: "NSPM", CAT: "NONE"}, "X-Spam-Flag: NO\r\nX-Spam-Score: 1\r\nX-Spam-Level: *\r\n"},
		{"trusted", "X-Forefront-Antispam-Report: SCL:-1;SFV:SKI\r\n", verdict.Options{}, verdict.Verdict{SCL: -1, BCL: none, SFV: "SKI"}, "X-Spam-Flag: NO\r\nX-Spam-Score: 0\r\n"},
		{"released", "X-Forefront-Antispam-Report: SCL:9;SFV:SKQ\r\n", verdict.Options{}, verdict.Verdict{SCL: 9, BCL: none, SFV: "SKQ"}, "X-Spam-Flag: NO\r\nX-Spam-Score: 9\r\nX-Spam-Level: *********\r\n"},
		{"blocked", "X-Forefront-Antispam-Report: SFV:BLK\r\n", verdict.Options{}, verdict.Verdict{SCL: none, BCL: none, SFV: "BLK"}, "X-Spam-Flag: YES\r\nX-Spam-Score: 5\r\nX-Spam-Level: *****\r\n"},
		{"phishing", "X-Forefront-Antispam-Report: SCL:1;CAT:PHSH\r\n", verdict.Options{}, verdict.Verdict{SCL: 1, BCL: none, CAT: "PHSH"}, "X-Spam-Flag: YES\r\nX-Spam-Score: 5\r\nX-Spam-Level: *****\r\n"},
		{"the organization's level", "X-MS-Exchange-Organization-SCL: 6\r\n", verdict.Options{}, verdict.Verdict{SCL: 6, BCL: none}, "X-Spam-Flag: YES\r\nX-Spam-Score: 6\r\nX-Spam-Level: ******\r\n"},
		{"the report beats it", "X-MS-Exchange-Organization-SCL: 6\r\nX-Forefront-Antispam-Report: SCL:1\r\n", verdict.Options{}, verdict.Verdict{SCL: 1, BCL: none}, "X-Spam-Flag: NO\r\nX-Spam-Score: 1\r\nX-Spam-Level: *\r\n"},
		{"bulk", "X-Microsoft-Antispam: BCL:8;\r\n", verdict.Options{BulkAt: 7}, verdict.Verdict{SCL: none, BCL: 8}, "X-Spam-Flag: YES\r\nX-Spam-Score: 5\r\nX-Spam-Level: *****\r\n"},
		{"bulk does not count", "X-Microsoft-Antispam: BCL:8;\r\n", verdict.Options{}, verdict.Verdict{SCL: none, BCL: 8}, "X-Spam-Flag: NO\r\nX-Spam-Score: 0\r\n"},
		{"a strict site", "X-Forefront-Antispam-Report: SCL:1\r\n", verdict.Options{SpamAt: 1}, verdict.Verdict{SCL: 1, BCL: none}, "X-Spam-Flag: YES\r\nX-Spam-Score: 1\r\nX-Spam-Level: *\r\n"},
		{"first of two", "X-Forefront-Antispam-Report: SCL:1\r\nX-Forefront-Antispam-Report: SCL:9\r\n", verdict.Options{}, verdict.Verdict{SCL: 1, BCL: none}, "X-Spam-Flag: NO\r\nX-Spam-Score: 1\r\nX-Spam-Level: *\r\n"},
		{"nonsense", "X-Forefront-Antispam-Report: SCL:99;SFV:a b;CAT\r\n", verdict.Options{}, verdict.Verdict{SCL: none, BCL: none}, ""},
		{"none", "", verdict.Options{}, verdict.Verdict{SCL: none, BCL: none}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := verdict.New(c.o)
			if err != nil {
				t.Fatal(err)
			}
			msg := from + c.header + "X-Spam-Flag: forged\r\nSubject: x\r\nX-Spam-Score:\r\n 0\r\n\r\nX-Spam-Flag: body\r\n"
			v, _ := verdict.Read([]byte(msg))
			if diff := cmp.Diff(c.read, v); diff != "" {
				t.Error(diff)
			}
			want := msg
			if c.want != "" {
				want = from + c.header + "Subject: x\r\n" + c.want + "\r\nX-Spam-Flag: body\r\n"
			}
			out, ok := tr.Apply([]byte(msg))
			if diff := cmp.Diff(want, string(out.Bytes())); diff != "" || ok != (c.want != "") {
				t.Errorf("ok %v: %s", ok, diff)
			}
		})
	}
}

func TestApplyAtTheEdges(t *testing.T) {
	tr, err := verdict.New(verdict.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for msg, want := range map[string]string{
		"X-MS-Exchange-Organization-SCL: 0":     "X-MS-Exchange-Organization-SCL: 0\r\nX-Spam-Flag: NO\r\nX-Spam-Score: 0\r\n",
		"X-MS-Exchange-Organization-SCL: 0\r\n": "X-MS-Exchange-Organization-SCL: 0\r\nX-Spam-Flag: NO\r\nX-Spam-Score: 0\r\n",
	} {
		if out, _ := tr.Apply([]byte(msg)); string(out.Bytes()) != want {
			t.Errorf("%q", out.Bytes())
		}
	}
	for _, o := range []verdict.Options{{SpamAt: 10}, {SpamAt: -1}, {BulkAt: 10}} {
		if _, err := verdict.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// The body stays, and there is one flag.
func FuzzApply(f *testing.F) {
	tr, err := verdict.New(verdict.Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"X-Forefront-Antispam-Report: SCL:5\r\n\r\nbody", "X-MS-Exchange-Organization-SCL: 1", "X-Microsoft-Antispam: BCL:1\n\nx", "\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		out, ok := tr.Apply(msg)
		got := out.Bytes()
		if !ok && !bytes.Equal(got, msg) {
			t.Fatalf("%q became %q", msg, got)
		}
		if ok && rawmime.Count(got, "X-Spam-Flag") != 1 {
			t.Fatalf("%q became %q", msg, got)
		}
		end, body := rawmime.HeaderEnd(msg)
		if _, after := rawmime.HeaderEnd(got); end < body && !bytes.Equal(got[after:], msg[body:]) {
			t.Fatalf("body of %q became %q", msg, got)
		}
	})
}
