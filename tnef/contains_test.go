package tnef_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
)

// scanWindow is the unit of the scan: marks around its borders are what it could miss.
const scanWindow = 4 << 10

func TestContainsAnywhere(t *testing.T) {
	fillings := map[string]string{
		"letters":     "x",
		"base64":      "TWFuIGlzIGRpc3Rpbmd1aXNoZWQ+/0\r\n",
		"text":        "The report - see www.contoso.com/a?b=1 - is due (95%). Re:\r\n",
		"dashes":      "-",
		"dots":        ".",
		"near misses": ".da-tne.d-t%2e?b?=?q?",
	}
	marks := []string{
		"application/ms-tnef", "APPLICATION/VND.MS-TNEF", "winmail.dat", "WIN.DAT", "winmail%2Edat", "winmail%2edat",
		"=?utf-8?B?d2lubWFpbC5kYXQ=?=", "=?utf-8?b?V0lOTUFJTC5EQVQ=?=", "=?utf-8?B?V2lubWFpbC5kYXQ=?=", "=?utf-8?Q?winmail=2Edat?=",
		"=?us-ascii?q?winmail=2edat?=",
	}
	for name, filling := range fillings {
		t.Run(name, func(t *testing.T) {
			header := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
			body := []byte(header + strings.Repeat(filling, 3*scanWindow/len(filling)+1))
			if tnef.Contains(body) {
				t.Fatal("found in what has none")
			}
			for _, m := range marks {
				for _, at := range []int{len(header), scanWindow - 40, scanWindow - 9, scanWindow - 1, scanWindow, 2*scanWindow - 4, 2*scanWindow + 3, len(body) - len(m)} {
					for _, shift := range []int{0, 1, 5, 8, 13, 31} {
						p := min(at+shift, len(body)-len(m))
						msg := bytes.Clone(body)
						copy(msg[p:], m)
						if !tnef.Contains(msg) {
							t.Fatalf("%s at %d of %d is missed", m, p, len(msg))
						}
					}
				}
			}
		})
	}
}

func TestContainsByType(t *testing.T) {
	const name = "begin 644 winmail.dat\r\n"
	for _, tt := range []struct {
		header string
		want   bool
	}{
		{"Subject: x\r\n", true}, // text/plain, which can have uuencoded files
		{"Content-Type: text/plain\r\n", true},
		{"Content-Type:\tTEXT/Plain; charset=us-ascii\r\n", true},
		{"Content-Type: text/html\r\n", false},
		{"Content-Type: text/html; name=winmail.dat\r\n", true},
		{"Content-Type: message/rfc822\r\n", true},
	} {
		t.Run(tt.header, func(t *testing.T) {
			if got := tnef.Contains([]byte(tt.header + "\r\n" + name)); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if tnef.Contains(nil) || tnef.Contains([]byte("-")) || tnef.Contains([]byte("?b?")) {
		t.Error("found in nothing")
	}
}

func TestContainsAllocatesNothing(t *testing.T) {
	msg := []byte("Content-Type: text/html\r\n\r\n" + strings.Repeat("see winmail.dat - or not? =?utf-8?B?d2k?= ", 500))
	if n := testing.AllocsPerRun(20, func() { tnef.Contains(msg) }); n != 0 {
		t.Error(fmt.Sprint(n, " allocations"))
	}
}
