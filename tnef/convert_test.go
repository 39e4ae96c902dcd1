package tnef_test

import (
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func TestShapes(t *testing.T) {
	pdf := tneftest.Attachment{Title: "report.pdf", Data: []byte("%PDF-1.4 figures")}
	text := tneftest.Text(mapi.TagBody, "Hello from Outlook")
	html := tneftest.Binary(mapi.TagHTML, []byte("<html><body>Hello <b>from</b> Outlook</body></html>"))
	tests := []struct {
		name   string
		stream tneftest.Stream
		want   string
	}{
		{"text", tneftest.Stream{Props: []mapi.Property{text}}, "text/plain"},
		{"html", tneftest.Stream{Props: []mapi.Property{html}}, "alternative(text/plain,text/html)"},
		{"text and html", tneftest.Stream{Props: []mapi.Property{text, html}}, "alternative(text/plain,text/html)"},
		{"text, file", tneftest.Stream{Props: []mapi.Property{text}, Attachments: []tneftest.Attachment{pdf}}, "mixed(text/plain,application/pdf[report.pdf])"},
		{"html, file", tneftest.Stream{Props: []mapi.Property{html}, Attachments: []tneftest.Attachment{pdf}}, "mixed(alternative(text/plain,text/html),application/pdf[report.pdf])"},
		{"file only", tneftest.Stream{Attachments: []tneftest.Attachment{pdf}}, "mixed(text/plain,application/pdf[report.pdf])"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := tneftest.Wrap(header, "Hello from Outlook", tt.stream.Bytes())
			p, out, _ := convert(t, msg)
			if got := p.shape(); got != tt.want {
				t.Errorf("shape %s, want %s\n%s", got, tt.want, out)
			}
			if strings.Contains(out, "ms-tnef") {
				t.Errorf("TNEF left over:\n%s", out)
			}
		})
	}
}
