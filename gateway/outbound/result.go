package outbound

import (
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// Request is one message for one side.
type Request struct {
	// ID names the message in logs.
	ID   string
	Side routing.Side
	// Envelope holds the reverse-path, the recipients and the parameters of MAIL and RCPT.
	message.Envelope
	// Content is the message in segments, header first, with CRLF line ends. It is not changed and must not change until
	// Deliver returns. A message.Content can be assigned.
	Content [][]byte
}

// Outcome is what became of a recipient in this attempt.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered" // the next hop has taken responsibility
	Deferred  Outcome = "deferred"  // to be tried again
	Refused   Outcome = "refused"   // for good
)

// Stage is the step of the attempt that decided the outcome.
type Stage string

// The stages. StageRoute and StageCheck are before any connection: choosing hosts, and checking the request itself.
const (
	StageCheck    Stage = "check"
	StageRoute    Stage = "route"
	StageConnect  Stage = "connect" // with the greeting
	StageEHLO     Stage = "ehlo"
	StageSTARTTLS Stage = "starttls"
	StageMAIL     Stage = "mail"
	StageRCPT     Stage = "rcpt"
	StageDATA     Stage = "data" // DATA or BDAT, and the content
	StageEOD      Stage = "eod"  // the reply to the end of the content
)

// Result is what became of one recipient.
type Result struct {
	Outcome Outcome
	// Reply is the next hop's reply, or one made here when there was none; never nil. The lines of a longer reply are joined
	// by "\n", without code and enhanced code; control characters are replaced and the length is capped. For Deferred the code
	// is 4xx, for Refused 5xx, for Delivered 2xx. Recipients may share it: it is not to be changed.
	Reply *smtp.SMTPError
	Local bool   // Reply was made here
	Host  string // name of the next hop, empty when none was reached for
	Addr  string // ip:port, empty when no connection was made
	TLS   string // "TLS1.2", "TLS1.3"; empty: in clear
	Stage Stage
	// Relayed: delivered to a host without DSN although NOTIFY=SUCCESS was asked for, so that a "relayed" DSN is due
	// (RFC 3461 5.2.2).
	Relayed bool
	// Uncertain: the content was sent whole and no reply came. The next attempt may be a duplicate (RFC 1047).
	Uncertain bool
}

func deferral(enhanced smtp.EnhancedCode, format string, a ...any) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 451, EnhancedCode: enhanced, Message: safeText(fmt.Sprintf(format, a...))}
}

func refusal(code int, enhanced smtp.EnhancedCode, format string, a ...any) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: safeText(fmt.Sprintf(format, a...))}
}

// replyString is a reply on one line, as it stands in logs and in replies that quote it.
func replyString(r *smtp.SMTPError) string {
	e := r.EnhancedCode
	return safeText(fmt.Sprintf("%d %d.%d.%d %s", r.Code, e[0], e[1], e[2], r.Message))
}
