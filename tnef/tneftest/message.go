package tneftest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// Boundary is the one in messages made by Wrap.
const Boundary = "----=_NextPart_000_0001"

// Wrap makes the message that Outlook sends in its legacy format: a text for programs that don't read TNEF, and winmail.dat. header are fields,
// each with its line ending; Subject and the like are not added.
func Wrap(header, text string, stream []byte) []byte {
	return Mixed(header, TextPart(text), Part(stream))
}

// Mixed makes a multipart/mixed message of parts that have header and body, without a line ending at the end.
func Mixed(header string, parts ...string) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(&b, "Content-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n\r\n", Boundary)
	b.WriteString("This is a multi-part message in MIME format.\r\n\r\n")
	for _, p := range parts {
		b.WriteString("--" + Boundary + "\r\n" + p + "\r\n")
	}
	b.WriteString("--" + Boundary + "--\r\n")
	return b.Bytes()
}

// TextPart is a text/plain part.
func TextPart(text string) string {
	return "Content-Type: text/plain;\r\n\tcharset=\"utf-8\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text
}

// Part is the application/ms-tnef part with the stream in base64.
func Part(stream []byte) string {
	return "Content-Type: application/ms-tnef;\r\n\tname=\"winmail.dat\"\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment;\r\n\tfilename=\"winmail.dat\"\r\n\r\n" + Base64(stream)
}

// Whole is a message whose body is nothing but the stream, in base64.
func Whole(header string, stream []byte) []byte {
	return []byte(header + "MIME-Version: 1.0\r\nContent-Type: application/ms-tnef; name=\"winmail.dat\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + Base64(stream) + "\r\n")
}

// WholeBinary is a message whose body is the stream itself, as Exchange passes it on inside an organization.
func WholeBinary(header string, stream []byte) []byte {
	return append([]byte(header+"MIME-Version: 1.0\r\nContent-Type: application/ms-tnef\r\nContent-Transfer-Encoding: binary\r\n\r\n"), stream...)
}

// Base64 encodes in lines of 76 characters, the last without an ending.
func Base64(b []byte) string {
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > 76 {
		out.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	out.WriteString(s)
	return out.String()
}
