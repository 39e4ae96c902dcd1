package tnef

import (
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/coexist-mail/coexist/tnef/report"
)

// reportMessage makes multipart/report (RFC 6522) of receipts and delivery reports ([MS-OXCMAIL] 2.1.3.6): text for people, fields for programs,
// and the message that the report is about, if it is there.
func reportMessage(_ *builder, m *Message, c *content) {
	kind := report.KindOf(m.Class)
	if kind == report.None {
		return
	}
	o := outerOf(m)
	r := &report.Report{Class: m.Class, Props: &m.Props, Recipients: m.Recipients, From: m.Representing()}
	for _, box := range []struct{ address, name string }{{m.Sender().Address, m.Sender().Name}, {o.from.Address, o.from.Name}} {
		if r.From.Address == "" && box.address != "" {
			r.From.Address, r.From.Name = box.address, firstNonEmpty(r.From.Name, box.name)
		}
	}
	if i := strings.LastIndexByte(r.From.Address, '@'); i >= 0 {
		r.Domain = r.From.Address[i+1:]
	}
	if strings.TrimSpace(c.text) == "" && !c.hasHTML {
		c.text, c.hasText = r.Text(), true
	}
	name, fields := "delivery-status", "message/delivery-status"
	if kind == report.Disposition {
		name, fields = "disposition-notification", "message/disposition-notification"
	}
	original, others := divide(c.attachments)
	e := multipart("report", c.body(), &entity{mediaType: fields, raw: r.Status()}, original)
	e.params = []rawmime.Param{{Name: "report-type", Value: name}}
	c.whole = multipart("mixed", append([]*entity{e}, others...)...)
}

// divide takes the message that a report is about out of its attachments. RFC 6522 3 has no place for more than that.
func divide(list []*entity) (original *entity, others []*entity) {
	for _, e := range list {
		if original == nil && e.mediaType == "message/rfc822" {
			original = e
			continue
		}
		others = append(others, e)
	}
	return original, others
}
