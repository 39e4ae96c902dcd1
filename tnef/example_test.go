package tnef_test

import (
	"fmt"
	"io"
	"os"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// A message with winmail.dat becomes one that every program reads.
func ExampleConvertMessage() {
	stream := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "The figures are in the file.\r\n")},
		Attachments: []tneftest.Attachment{{Title: "figures.csv", Data: []byte("1,2\n")}}}
	message := tneftest.Wrap("From: kim@contoso.com\r\nSubject: Figures\r\n", "", stream.Bytes())

	report, err := tnef.ConvertMessage(io.Discard, message, nil)
	fmt.Println(report.HeaderValue("1.0"), err)
	// Output: converted; version=1.0; class=IPM.Note <nil>
}

// What is in a winmail.dat that somebody sent in.
func ExampleInspect() {
	stream := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "Figures"), tneftest.Named(mapi.SetAppointment, 0x8208, tneftest.Text(0, "Room 1"))}}

	inspection, err := tnef.Inspect(stream.Bytes(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := inspection.WriteTo(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// IPM.Note, 135 octets, key 0x1234, code page 1252
	// attributes:
	//   1 0x00089006 attTnefVersion                       4 octets at 15
	//   1 0x00069007 attOemCodepage                       8 octets at 30
	//   1 0x00069003 attMsgProps                         84 octets at 49
	// properties:
	//   0x0037 PidTagSubject                      UNICODE      "Figures"
	//   0x8000 PidLidLocation                     UNICODE      "Room 1"
}
