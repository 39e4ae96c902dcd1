package tnef_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef"
)

// parsedPart is a part of a message as the standard library, which shares no code with this package, sees it.
type parsedPart struct {
	Type     string
	Params   map[string]string
	Disp     string
	Name     string
	CID      string
	Encoding string
	Header   map[string][]string
	Content  []byte
	Children []*parsedPart
}

func parseMessage(t testing.TB, b []byte) *parsedPart {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("not a message: %v\n%.2000s", err, b)
	}
	return parsePart(t, m.Header, m.Body)
}

func parsePart(t testing.TB, h map[string][]string, r io.Reader) *parsedPart {
	t.Helper()
	get := func(k string) string {
		if v := h[k]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	p := &parsedPart{Header: h, CID: strings.Trim(get("Content-Id"), "<>"), Encoding: get("Content-Transfer-Encoding")}
	ct := get("Content-Type")
	if ct == "" {
		ct = "text/plain"
	}
	var err error
	if p.Type, p.Params, err = mime.ParseMediaType(ct); err != nil {
		t.Fatalf("Content-Type %q: %v", ct, err)
	}
	if d := get("Content-Disposition"); d != "" {
		disp, params, err := mime.ParseMediaType(d)
		if err != nil {
			t.Fatalf("Content-Disposition %q: %v", d, err)
		}
		p.Disp, p.Name = disp, params["filename"]
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	switch strings.ToLower(p.Encoding) {
	case "base64":
		clean := strings.NewReplacer("\r", "", "\n", "").Replace(string(body))
		if p.Content, err = base64.StdEncoding.DecodeString(clean); err != nil {
			t.Fatalf("base64: %v", err)
		}
	case "quoted-printable":
		if p.Content, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err != nil {
			t.Fatalf("quoted-printable: %v", err)
		}
	default:
		p.Content = body
	}
	switch {
	case strings.HasPrefix(p.Type, "multipart/"):
		mr := multipart.NewReader(bytes.NewReader(body), p.Params["boundary"])
		for {
			part, err := mr.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("multipart: %v\n%.3000s", err, body)
			}
			p.Children = append(p.Children, parsePart(t, part.Header, part))
		}
	case p.Type == "message/rfc822":
		p.Children = []*parsedPart{parseMessage(t, p.Content)}
	}
	return p
}

// shape shows the tree: mixed(alternative(text/plain,text/html),application/pdf[report.pdf]).
func (p *parsedPart) shape() string {
	s := strings.TrimPrefix(p.Type, "multipart/")
	if p.Disp != "" && p.Name != "" {
		s += "[" + p.Name + "]"
	}
	if len(p.Children) == 0 {
		return s
	}
	var list []string
	for _, c := range p.Children {
		list = append(list, c.shape())
	}
	return s + "(" + strings.Join(list, ",") + ")"
}

// find returns the first part of a type.
func (p *parsedPart) find(mediaType string) *parsedPart {
	if p.Type == mediaType {
		return p
	}
	for _, c := range p.Children {
		if f := c.find(mediaType); f != nil {
			return f
		}
	}
	return nil
}

func convert(t testing.TB, msg []byte) (*parsedPart, string, tnef.Report) {
	t.Helper()
	var out bytes.Buffer
	before := bytes.Clone(msg)
	r, err := tnef.ConvertMessage(&out, msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, msg) {
		t.Fatal("the input was changed")
	}
	if r.Converted == 0 {
		t.Fatalf("nothing converted: %+v", r)
	}
	return parseMessage(t, out.Bytes()), out.String(), r
}

const header = "From: Kim Akers <kim@contoso.com>\r\nTo: David Alexander <david@fabrikam.com>\r\nSubject: Q3 figures\r\n" +
	"Date: Tue, 3 Jun 2025 10:00:00 +0200\r\nMessage-ID: <1@contoso.com>\r\nX-MS-Has-Attach:\r\n"

var when = time.Date(2025, 6, 3, 8, 0, 0, 0, time.UTC)
