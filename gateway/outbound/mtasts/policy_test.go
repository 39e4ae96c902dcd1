package mtasts

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParsePolicy(t *testing.T) {
	const good = "version: STSv1\r\nmode: enforce\r\nmx: mx1.contoso.com\r\nmx: *.contoso.net\r\nmax_age: 604800\r\n"
	enforce := Policy{Mode: Enforce, MaxAge: 604800 * time.Second, MX: []string{"mx1.contoso.com", "*.contoso.net"}}
	for _, c := range []struct {
		name, text string
		want       Policy
		err        string
	}{
		{"as in the RFC", good, enforce, ""},
		{"LF line ends, none at the end", strings.TrimSuffix(strings.ReplaceAll(good, "\r\n", "\n"), "\n"), enforce, ""},
		{"spaces around", strings.ReplaceAll(good, "\r\n", "  \r\n"), enforce, ""},
		{"no space after the colon", strings.ReplaceAll(good, ": ", ":"), enforce, ""},
		{"empty lines", strings.ReplaceAll(good, "\r\n", "\r\n\r\n"), enforce, ""},
		{"any order", "max_age: 604800\nmx: mx1.contoso.com\nmx: *.contoso.net\nmode: enforce\nversion: STSv1\n", enforce, ""},
		{"unknown fields", good + "report: yes: really\n", enforce, ""},
		{"the first of two counts", good + "mode: none\nmax_age: 1\n", enforce, ""},
		{"upper case, final dot", strings.ReplaceAll(good, "mx1.contoso.com", "MX1.Contoso.COM."), enforce, ""},
		{"U-labels", "version: STSv1\nmode: testing\nmax_age: 1\nmx: *.тест.contoso.com", Policy{Mode: Testing, MaxAge: time.Second, MX: []string{"*.xn--e1aybc.contoso.com"}}, ""},
		{"none needs no mx", "version: STSv1\nmode: none\nmax_age: 86400\n", Policy{Mode: None, MaxAge: 24 * time.Hour}, ""},
		{"a century is a year", "version: STSv1\nmode: none\nmax_age: 3155760000\n", Policy{Mode: None, MaxAge: MaxAge}, ""},
		{"max_age 0", "version: STSv1\nmode: none\nmax_age: 0\n", Policy{Mode: None}, ""},
		{"no version", strings.Replace(good, "version", "versio", 1), Policy{}, "version"},
		{"version 2", strings.Replace(good, "STSv1", "STSv2", 1), Policy{}, "version"},
		{"another mode", strings.Replace(good, "enforce", "report", 1), Policy{}, "mode"},
		{"no mode", strings.Replace(good, "mode: enforce", "", 1), Policy{}, "mode"},
		{"no max_age", strings.Replace(good, "max_age", "max_ag", 1), Policy{}, "max_age"},
		{"negative max_age", strings.Replace(good, "604800", "-1", 1), Policy{}, "max_age"},
		{"max_age of eleven digits", strings.Replace(good, "604800", "00000604800", 1), Policy{}, "max_age"},
		{"no mx", "version: STSv1\nmode: enforce\nmax_age: 86400\n", Policy{}, "names no mx"},
		{"an empty mx", strings.Replace(good, "mx1.contoso.com", "", 1), Policy{}, "not a host name"},
		{"a star alone", strings.Replace(good, "mx1.contoso.com", "*", 1), Policy{}, "not a host name"},
		{"a star inside", strings.Replace(good, "mx1.contoso.com", "mx.*.com", 1), Policy{}, "not a host name"},
		{"part of a label", strings.Replace(good, "*.contoso", "*mx.contoso", 1), Policy{}, "not a host name"},
		{"an HTML page", "<html>\n<body>Welcome\n", Policy{}, "not key: value"},
		{"nothing", "", Policy{}, "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParsePolicy(c.text)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllows(t *testing.T) {
	p := Policy{Mode: Enforce, MX: []string{"mx1.contoso.com", "*.contoso.net", "contoso.org"}}
	for host, want := range map[string]bool{
		"mx1.contoso.com": true, "MX1.contoso.COM.": true, "mx2.contoso.com": false, "a.mx1.contoso.com": false,
		"mail.contoso.net": true, "contoso.net": false, "a.b.contoso.net": false, "contoso.org": true, "mx.contoso.org": false,
		"net": false, "": false, "mailcontoso.net": false,
	} {
		if got := p.Allows(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	p.Mode = Testing
	if !p.Allows("mx2.contoso.com") {
		t.Error("a policy in testing forbids")
	}
}

func TestRecordID(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []string
		want    string
	}{
		{"as in the RFC", []string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{"no last delimiter", []string{"v=STSv1;id=1"}, "1"},
		{"spaces", []string{"v=STSv1 ; id=1 ; "}, "1"},
		{"other records beside it", []string{"v=spf1 -all", "v=STSv1; id=2;", "text"}, "2"},
		{"extension fields", []string{"v=STSv1; a.b-c_d=x:y; id=2; foo=bar"}, "2"},
		{"two of them", []string{"v=STSv1; id=1;", "v=STSv1; id=2;"}, ""},
		{"another version", []string{"v=STSv12; id=1;"}, ""},
		{"version in lower case", []string{"v=stsv1; id=1;"}, ""},
		{"version not first", []string{"id=1; v=STSv1;"}, ""},
		{"no id", []string{"v=STSv1;"}, ""},
		{"an empty id", []string{"v=STSv1; id=;"}, ""},
		{"an id of 33", []string{"v=STSv1; id=" + strings.Repeat("1", 33)}, ""},
		{"an id of 32", []string{"v=STSv1; id=" + strings.Repeat("1", 32)}, strings.Repeat("1", 32)},
		{"an id with a dash", []string{"v=STSv1; id=1-2"}, ""},
		{"an empty field", []string{"v=STSv1;; id=1"}, ""},
		{"none", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, ok := recordID(c.records)
			if id != c.want && ok || ok != (c.want != "") {
				t.Errorf("%q, %v", id, ok)
			}
		})
	}
}

// FuzzParsePolicy: what parses can be written and read again, and stays within its bounds.
func FuzzParsePolicy(f *testing.F) {
	f.Add("version: STSv1\r\nmode: enforce\r\nmx: mx1.contoso.com\r\nmx: *.contoso.net\r\nmax_age: 604800\r\n")
	f.Add("version: STSv1\nmode: none\nmax_age: 9999999999")
	f.Add("mx: *.")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > MaxAge {
			t.Fatalf("max_age %v", p.MaxAge)
		}
		again, err := ParsePolicy(p.String())
		if err != nil {
			t.Fatalf("%v of %q", err, p.String())
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzRecordID: no record crashes it, and an id is what RFC 8461 3.1 calls one.
func FuzzRecordID(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;", "v=spf1 -all")
	f.Add("v=STSv1;;", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		if id, ok := recordID([]string{a, b}); ok && !isWord(id, 32, "") {
			t.Fatalf("id %q", id)
		}
	})
}
