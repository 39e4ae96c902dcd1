package calendar

import (
	"errors"
	"time"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// Source is a calendar or task object, and what is known of it from elsewhere.
type Source struct {
	Class      string // message class
	Props      *mapi.Props
	Recipients []mapi.Recipient
	// From is for whom the message was sent, Sender who sent it; either may be empty.
	From, Sender mapi.Mailbox
	// To and Cc are used for recipients that have no address, or when there are none.
	To, Cc []mapi.Mailbox
	Text   string // the body as plain text
	// Subject is used when the properties have none, since the message's header counts.
	Subject string
	// Exceptions are the messages of modified instances ([MS-OXOCAL] 2.2.10.1).
	Exceptions []ExceptionMessage
	// Decode reads 8-bit text inside binary properties; nil means that it is UTF-8.
	Decode func([]byte) string
	// Date is when the message was sent, if the properties don't say; may be zero.
	Date time.Time
}

// ExceptionMessage is the message of a modified instance.
type ExceptionMessage struct {
	Props      *mapi.Props
	Recipients []mapi.Recipient
	Text       string
	// Replaces is the instant of the instance in the series (PidTagExceptionReplaceTime), zero when the properties say it.
	Replaces time.Time
	// Starts is the wall clock at which the modified instance begins (PidTagExceptionStartTime), zero when it is not known.
	Starts time.Time
}

// Object is an iCalendar object.
type Object struct {
	Method    string // "REQUEST"
	Component string // "VEVENT" or "VTODO"
	Data      []byte // text/calendar in UTF-8, lines with CRLF
	// Text says in a few lines, with CRLF, what the object is about and when and where, for people whose program does not read
	// iCalendar; of use where the message has no body.
	Text     string
	Warnings []string
}

// Errors of Convert.
var (
	// ErrClass tells that objects of this class have no meaning in iCalendar.
	ErrClass = errors.New("calendar: no iCalendar method for this message class")
	// ErrIncomplete tells that what RFC 5546 asks for is not there: the identity of the meeting, or its time.
	ErrIncomplete = errors.New("calendar: the object has no identity or no time")
)

// kind is what a message class is in iCalendar.
type kind struct {
	class, method, component, partStat string
}

// kinds: [MS-OXCICAL] 2.1.3.1.1.1, and RFC 5546 3.4 for tasks, which Exchange does not convert. The first that fits counts.
var kinds = []kind{
	{class: "IPM.Schedule.Meeting.Request", method: "REQUEST", component: "VEVENT"},
	{class: "IPM.Schedule.Meeting.Canceled", method: "CANCEL", component: "VEVENT"},
	{class: "IPM.Schedule.Meeting.Cancelled", method: "CANCEL", component: "VEVENT"},
	{class: "IPM.Schedule.Meeting.Resp.Pos", method: "REPLY", component: "VEVENT", partStat: "ACCEPTED"},
	{class: "IPM.Schedule.Meeting.Resp.Tent", method: "REPLY", component: "VEVENT", partStat: "TENTATIVE"},
	{class: "IPM.Schedule.Meeting.Resp.Neg", method: "REPLY", component: "VEVENT", partStat: "DECLINED"},
	{class: "IPM.Appointment", method: "PUBLISH", component: "VEVENT"},
	{class: "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", method: "PUBLISH", component: "VEVENT"}, // an exception
	{class: "IPM.TaskRequest.Accept", method: "REPLY", component: "VTODO", partStat: "ACCEPTED"},
	{class: "IPM.TaskRequest.Decline", method: "REPLY", component: "VTODO", partStat: "DECLINED"},
	{class: "IPM.TaskRequest.Update", method: "REPLY", component: "VTODO", partStat: "IN-PROCESS"},
	{class: "IPM.TaskRequest", method: "REQUEST", component: "VTODO"},
	{class: "IPM.Task", method: "PUBLISH", component: "VTODO"},
}

// Convert makes the iCalendar object of a meeting message, an appointment or a task. Errors are ErrClass and ErrIncomplete: such
// an object is best passed on as ordinary mail.
func Convert(s *Source) (*Object, error) {
	for _, k := range kinds {
		if !mapi.ClassIs(s.Class, k.class) {
			continue
		}
		if k.component == "VTODO" {
			return convertTask(s, k)
		}
		if k.method == "REPLY" && named(s.Props, lidCounterProposal).Bool() {
			if _, ok := named(s.Props, lidProposedStart).Time(); ok {
				k.method = "COUNTER"
			}
		}
		return convertEvent(s, k)
	}
	return nil, ErrClass
}

// header writes what stands in front of the components.
func (w *writer) header(method string) {
	w.Begin("VCALENDAR")
	w.Raw("METHOD", method)
	w.Raw("PRODID", "-//coexist//TNEF to MIME//EN")
	w.Raw("VERSION", "2.0")
}
