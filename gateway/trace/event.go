package trace

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what happened.
type Kind string

// The kinds of events.
const (
	Received     Kind = "received"     // the message is complete, from its client
	Decided      Kind = "decided"      // the router answered for a recipient
	Converted    Kind = "converted"    // TNEF was turned into MIME; reason says when it was not
	Attempted    Kind = "attempted"    // a next hop was asked and did not get as far as a reply to the recipient
	Delivered    Kind = "delivered"    // 2xx of the next hop
	Deferred     Kind = "deferred"     // 4xx, or no reply: tried again
	Refused      Kind = "refused"      // 5xx to the client, at RCPT or after the message
	Bounced      Kind = "bounced"      // a DSN was made
	Expired      Kind = "expired"      // given up after delivery.expire_after
	Delayed      Kind = "delayed"      // a delay notice was made
	Expanded     Kind = "expanded"     // a group became its members
	Held         Kind = "held"         // waits for a person or a time
	Released     Kind = "released"     // no longer held
	Retried      Kind = "retried"      // a person wants it tried now; what is held stays so
	Dropped      Kind = "dropped"      // removed by a person
	Acknowledged Kind = "acknowledged" // 250 to the client
	Spooled      Kind = "spooled"      // durable in the spool
)

// Event is one thing that happened to a message, or to one recipient of it.
type Event struct {
	// Time is set by Append when it is zero. It is kept to the microsecond, in UTC.
	Time time.Time `json:"time"`
	// ID is the message's, as in the 250 reply.
	ID    string `json:"id"`
	Event Kind   `json:"event"`
	// Sender is the reverse-path, Recipient the forward-path as the client gave it (of a member of a group, its own).
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`
	// Side and NextHop are where the recipient goes to.
	Side    string `json:"side"`
	NextHop string `json:"next_hop"`
	// Reply is the SMTP reply: of the next hop, or to the client.
	Reply     string `json:"reply"`
	MessageID string `json:"message_id"`
	// Reason is a word or a sentence that says why.
	Reason string `json:"reason,omitempty"`
	// DelayMS is the time since the message was received, in milliseconds.
	DelayMS int64 `json:"delay_ms,omitempty"`
	// Size is that of the message, in octets.
	Size int64 `json:"size,omitempty"`
}

// timeLayout has a fixed width, so that times compare as text.
const (
	timeLayout = "2006-01-02T15:04:05.000000Z"
	timePrefix = `{"time":"`
)

// appendLine writes the event as a line of JSON, without what is empty. encoding/json takes five times as long.
func (e *Event) appendLine(b []byte) []byte {
	b = append(b, timePrefix...)
	b = e.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, '"')
	for _, f := range [...]struct{ key, value string }{
		{`,"id":`, e.ID}, {`,"event":`, string(e.Event)}, {`,"sender":`, e.Sender}, {`,"recipient":`, e.Recipient}, {`,"side":`, e.Side},
		{`,"next_hop":`, e.NextHop}, {`,"reply":`, e.Reply}, {`,"message_id":`, e.MessageID}, {`,"reason":`, e.Reason},
	} {
		if f.value != "" {
			b = appendString(append(b, f.key...), f.value)
		}
	}
	if e.DelayMS != 0 {
		b = strconv.AppendInt(append(b, `,"delay_ms":`...), e.DelayMS, 10)
	}
	if e.Size != 0 {
		b = strconv.AppendInt(append(b, `,"size":`...), e.Size, 10)
	}
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string (RFC 8259 7). Octets that are not UTF-8, which replies of next hops may have, become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(append(b, s[start:i]...), "\ufffd"...)
		} else if b = append(b, s[start:i]...); c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// parseLine reads one line. A line that was cut by a crash is an error.
func parseLine(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("trace line: %w", err)
	}
	return e, nil
}

// lineTime is the time of a line as text, or nil.
func lineTime(line []byte) []byte {
	if len(line) < len(timePrefix)+len(timeLayout) || string(line[:len(timePrefix)]) != timePrefix {
		return nil
	}
	return line[len(timePrefix) : len(timePrefix)+len(timeLayout)]
}

// field is what can be searched for.
type field byte

const (
	byID field = iota
	bySender
	byRecipient
	byMessageID
)

// key is the hash of a field's value: FNV-1a of 64 bits over the field and the value in lower case. It is part of the index
// format, so it must not change.
func key(f field, value string) uint64 {
	const prime = 1099511628211
	h := (uint64(14695981039346656037) ^ uint64(f)) * prime
	for i := range len(value) {
		c := value[i]
		if c >= utf8.RuneSelf {
			return key(f, foldUnicode(value))
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * prime
	}
	return h
}

// foldUnicode makes an internationalized address (RFC 6531) equal to its other cases, in ASCII.
func foldUnicode(s string) string {
	quoted := strconv.QuoteToASCII(strings.ToLower(strings.ToUpper(strings.ToValidUTF8(s, "\ufffd"))))
	return quoted[1 : len(quoted)-1]
}
