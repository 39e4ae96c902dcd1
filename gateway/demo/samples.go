package demo

import (
	"strings"

	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// sample is a message to send, and what should become of it.
type sample struct {
	what    string
	from    routing.Side
	sender  string
	to      []string
	message string
	reply   string   // the beginning of the reply
	arrives []string // "side recipient"
}

const outsider = "someone@fabrikam.com"

func samples() []sample {
	list := []sample{
		{what: "to an on-prem user", from: routing.Internet, sender: outsider, to: []string{"adelev@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"onprem AdeleV@contoso.com"}},
		{what: "to a cloud user", from: routing.Internet, sender: outsider, to: []string{"meganb@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"cloud MeganB@contoso.mail.onmicrosoft.com"}},
		{what: "to both at once", from: routing.Internet, sender: outsider, to: []string{"alexw@contoso.com", "lynner@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"onprem AlexW@contoso.com", "cloud LynneR@contoso.mail.onmicrosoft.com"}},
		{what: "to a group on both sides", from: routing.Internet, sender: outsider, to: []string{"salesteam@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"onprem AdeleV@contoso.com", "onprem AlexW@contoso.com", "cloud MeganB@contoso.mail.onmicrosoft.com", "cloud LynneR@contoso.mail.onmicrosoft.com"}},
		{what: "to a contact", from: routing.Internet, sender: outsider, to: []string{"kim.akers@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"internet kim.akers@fabrikam.com"}},
		{what: "with a +tag", from: routing.Internet, sender: outsider, to: []string{"meganb+travel@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"cloud MeganB+travel@contoso.mail.onmicrosoft.com"}},
		{what: "from Notes to the cloud", from: routing.OnPrem, sender: "adelev@contoso.com", to: []string{"meganb@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"cloud MeganB@contoso.mail.onmicrosoft.com"}},
		{what: "from the cloud to Notes", from: routing.Cloud, sender: "meganb@contoso.com", to: []string{"adelev@contoso.com"},
			reply: "250 2.0.0", arrives: []string{"onprem AdeleV@contoso.com"}},
		{what: "from Notes to the internet", from: routing.OnPrem, sender: "adelev@contoso.com", to: []string{outsider},
			reply: "250 2.0.0", arrives: []string{"internet someone@fabrikam.com"}},
		{what: "winmail.dat", from: routing.Cloud, sender: "meganb@contoso.com", to: []string{"adelev@contoso.com"}, message: winmail(),
			reply: "250 2.0.0", arrives: []string{"onprem AdeleV@contoso.com"}},
		{what: "to nobody", from: routing.Internet, sender: outsider, to: []string{"nobody@contoso.com"}, reply: "550 5.1.1"},
		{what: "to an ambiguous address", from: routing.Internet, sender: outsider, to: []string{"support@contoso.com"}, reply: "451 4.3.5"},
		{what: "a stranger wants to relay", from: routing.Internet, sender: outsider, to: []string{"other@fabrikam.com"}, reply: "550 5.7.1"},
		{what: "the cloud sends back its own", from: routing.Cloud, sender: outsider, to: []string{"meganb@contoso.com"}, reply: "451 4.4.6"},
	}
	for i := range list {
		if s := &list[i]; s.message == "" {
			s.message = "From: " + s.sender + "\r\nTo: " + strings.Join(s.to, ", ") + "\r\nSubject: " + s.what + "\r\n\r\nA sample message.\r\n"
		}
	}
	return list
}

// winmail is a message as Outlook sends it: its body and its attachment are in winmail.dat.
func winmail() string {
	s := tneftest.Stream{
		Class: "IPM.Note", Codepage: 1252,
		Props: []mapi.Property{
			tneftest.Text(mapi.TagSubject, "Forecast"),
			tneftest.RTF(`{\rtf1\ansi\ansicpg1252\fromhtml1 {\fonttbl{\f0 Arial;}}{\*\htmltag64}{\*\htmltag <p>}The <b>\htmlrtf \b\htmlrtf0 forecast</b>\htmlrtf \b0\htmlrtf0  is attached.{\*\htmltag </p>}}`),
		},
		Attachments: []tneftest.Attachment{{Data: []byte("region;amount\r\nnorth;17\r\nsouth;25\r\n"), Title: "FORECAST.CSV",
			Props: []mapi.Property{tneftest.Text(mapi.TagAttachLongFilename, "forecast.csv")}}},
	}
	header := "From: Megan Bowen <meganb@contoso.com>\r\nTo: Adele Vance <adelev@contoso.com>\r\nSubject: Forecast\r\nDate: Tue, 3 Nov 2026 09:00:00 +0000\r\nMessage-ID: <forecast@contoso.com>\r\n"
	return string(tneftest.Wrap(header, "", s.Bytes()))
}
