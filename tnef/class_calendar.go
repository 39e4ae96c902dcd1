package tnef

import (
	"errors"
	"slices"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// calendarAlternative adds text/calendar as the last alternative of a meeting message or an appointment (RFC 6047 2.4, [MS-OXCMAIL] 2.1.3.2.3).
func calendarAlternative(b *builder, m *Message, c *content) {
	addCalendar(b, c, calendarSource(b, m, c.text))
}

// taskAlternative does the same for a task, and for a message that carries one ([MS-OXOTASK] 2.2.3): the task is in its attachment.
func taskAlternative(b *builder, m *Message, c *content) {
	src := calendarSource(b, m, c.text)
	if child := carriedTask(m); child != nil {
		src.Props = &child.Props
		if text := plainBody(b, child); text != "" {
			src.Text = text
		}
		c.attachments = slices.DeleteFunc(c.attachments, func(e *entity) bool { return e.mediaType == "text/calendar" && paramOf(e, "component") == "VTODO" })
	}
	addCalendar(b, c, src)
}

// carriedTask is the task inside a task request or an answer to one.
func carriedTask(m *Message) *Message {
	if m.ClassIs("IPM.Task") {
		return nil
	}
	for _, a := range m.Attachments {
		if a.Message != nil && a.Message.ClassIs("IPM.Task") {
			return a.Message
		}
	}
	return nil
}

func addCalendar(b *builder, c *content, src *calendar.Source) {
	o, err := calendar.Convert(src)
	switch {
	case errors.Is(err, calendar.ErrClass): // a notification for people
		c.describe(calendar.Describe(src))
		return
	case err != nil:
		b.warn("%s: %v: converted as ordinary mail", src.Class, err)
		c.describe(calendar.Describe(src))
		return
	}
	b.warnAll("calendar: ", o.Warnings)
	c.alternatives = append(c.alternatives, calendarEntity(o))
	c.describe(o.Text)
}

func calendarEntity(o *calendar.Object) *entity {
	params := []rawmime.Param{{Name: "charset", Value: "utf-8"}, {Name: "method", Value: o.Method}}
	if o.Component != "VEVENT" {
		params = append(params, rawmime.Param{Name: "component", Value: o.Component})
	}
	return &entity{mediaType: "text/calendar", params: params, data: o.Data}
}

// attachedCalendar makes an .ics file of an attached appointment or task. With files of its own it stays a message, so that they are not lost.
func attachedCalendar(b *builder, m *Message) *entity {
	for i, a := range m.Attachments {
		if b.isFile(a, i) {
			return nil
		}
	}
	o, err := calendar.Convert(calendarSource(b, m, plainBody(b, m)))
	if err != nil {
		return nil
	}
	b.warnAll("calendar: ", o.Warnings)
	e := calendarEntity(o)
	e.disposition, e.name = "attachment", nameWith(subjectOf(m), "calendar", ".ics")
	return e
}

// nameWith makes a file name of a title.
func nameWith(title, fallback, ext string) string {
	name := safeName(cleanText(title))
	if name == "" {
		name = fallback
	}
	return shortenName(name + ext)
}

func paramOf(e *entity, name string) string {
	for _, p := range e.params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// calendarSource collects what package calendar asks for.
func calendarSource(b *builder, m *Message, text string) *calendar.Source {
	o := outerOf(m)
	src := &calendar.Source{
		Class: m.Class, Props: &m.Props, Recipients: m.Recipients, From: m.Representing(), Sender: m.Sender(), To: o.to, Cc: o.cc,
		Text: text, Subject: o.subject, Decode: func(raw []byte) string { return decodeString(m.Codepage, raw) }, Date: o.date,
	}
	if src.From.Address == "" {
		src.From = o.from
	}
	if src.Sender.Address == "" {
		src.Sender = o.sender
	}
	for _, a := range m.Attachments {
		x := a.Message
		if !isException(a) {
			continue
		}
		replaces, _ := a.Props.Time(tagExceptionReplaceTime)
		starts, _ := a.Props.Time(mapi.TagExceptionStartTime)
		src.Exceptions = append(src.Exceptions, calendar.ExceptionMessage{Props: &x.Props, Recipients: x.Recipients, Text: plainBody(b, x), Replaces: replaces, Starts: starts})
	}
	return src
}

// tagExceptionReplaceTime is when the instance that an attached exception replaces would have been ([MS-OXOCAL] 2.2.10.1.6).
const tagExceptionReplaceTime mapi.ID = 0x7FF9

// plainBody is the body of an attached message as text.
func plainBody(b *builder, m *Message) string {
	c := &content{}
	b.readBody(m, c)
	return c.text
}
