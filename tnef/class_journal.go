package tnef

import (
	"fmt"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// Properties of a journal entry, in PSETID_Log ([MS-OXOJRNL] 2.2.1).
const (
	lidLogType     = 0x8700
	lidLogStart    = 0x8706
	lidLogDuration = 0x8707 // minutes
	lidLogEnd      = 0x8708
	lidLogTypeText = 0x8712
)

// journalMessage says in words what a journal entry records; few programs read VJOURNAL.
func journalMessage(_ *builder, m *Message, c *content) {
	prop := func(lid uint32) *mapi.Property { return m.Props.FindNamed(mapi.SetLog, lid) }
	var s strings.Builder
	line := func(name, value string) {
		if value = cleanText(value); value != "" {
			s.WriteString(name + ": " + value + "\r\n")
		}
	}
	if strings.TrimSpace(c.text) == "" {
		line("Subject", subjectOf(m))
	}
	line("Entry type", firstNonEmpty(prop(lidLogType).Text(), prop(lidLogTypeText).Text()))
	for _, x := range []struct {
		name string
		lid  uint32
	}{{"Start", lidLogStart}, {"End", lidLogEnd}} {
		if t, ok := prop(x.lid).Time(); ok {
			line(x.name, t.UTC().Format("Monday, 2 January 2006, 15:04 (UTC)"))
		}
	}
	if minutes, ok := prop(lidLogDuration).Int(); ok && minutes > 0 {
		line("Duration", fmt.Sprintf("%d minutes", minutes))
	}
	appendText(c, s.String())
}
