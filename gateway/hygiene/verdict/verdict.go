// Package verdict translates what Exchange Online's filter says of a message into fields that other mail systems sort mail by:
// X-Spam-Flag, X-Spam-Score and X-Spam-Level.
package verdict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Options are for New.
type Options struct {
	// SpamAt is the spam confidence level from which mail is spam, 1 to 9; 5, where Exchange Online's own default begins.
	SpamAt int
	// BulkAt is the bulk complaint level from which mail is spam, 1 to 9; 0: it does not count.
	BulkAt int
}

// Verdict is what the filter says. Levels that it does not give are NotGiven.
type Verdict struct {
	// SCL is the spam confidence level: -1 (not looked at, trusted), 0 to 9.
	SCL int
	// BCL is the bulk complaint level, 0 to 9.
	BCL int
	// SFV is the filter's verdict, three letters such as SPM or NSPM, CAT the category; upper case, empty when not given.
	SFV, CAT string
}

// NotGiven stands for a level that the message does not have.
const NotGiven = -2

// The sources, and the tags in them, are in Microsoft's "Anti-spam message headers".
const (
	report     = "X-Forefront-Antispam-Report"
	antispam   = "X-Microsoft-Antispam"
	ownSCL     = "X-MS-Exchange-Organization-SCL"
	maxSources = 8 << 10 // octets read of a field
)

// Read reads the fields of Exchange Online's filter. ok is false when there are none. Of a field given twice the first counts: it
// is the one that was put on last.
func Read(msg []byte) (v Verdict, ok bool) {
	v = Verdict{SCL: NotGiven, BCL: NotGiven}
	var seenReport, seenAntispam, seenOwn bool
	own := NotGiven
	for f := range rawmime.Fields(msg) {
		switch {
		case f.Name == nil:
		case !seenReport && f.Is(report):
			seenReport = true
			v.read(f.Value)
		case !seenAntispam && f.Is(antispam):
			seenAntispam = true
			v.read(f.Value)
		case !seenOwn && f.Is(ownSCL):
			seenOwn = true
			own = level(f.Text())
		}
	}
	if v.SCL == NotGiven {
		v.SCL = own
	}
	return v, v.SCL != NotGiven || v.BCL != NotGiven || v.SFV != ""
}

// read takes "TAG:value;" pairs.
func (v *Verdict) read(value []byte) {
	for pair := range strings.SplitSeq(string(value[:min(len(value), maxSources)]), ";") {
		tag, val, _ := strings.Cut(pair, ":")
		val = strings.TrimSpace(val)
		switch strings.ToUpper(strings.TrimSpace(tag)) {
		case "SCL":
			v.SCL = level(val)
		case "BCL":
			v.BCL = max(level(val), NotGiven)
		case "SFV":
			v.SFV = letters(val)
		case "CAT":
			v.CAT = letters(val)
		}
	}
}

// level reads -1 to 9.
func level(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < -1 || n > 9 {
		return NotGiven
	}
	return n
}

// letters is s in upper case if it is a word of at most 8 letters.
func letters(s string) string {
	s = strings.ToUpper(s)
	if len(s) > 8 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return s
}

// Translator writes the fields.
type Translator struct{ o Options }

// New returns a Translator. Its errors are about the Options.
func New(o Options) (*Translator, error) {
	if o.SpamAt == 0 {
		o.SpamAt = 5
	}
	if o.SpamAt < 1 || o.SpamAt > 9 || o.BulkAt < 0 || o.BulkAt > 9 {
		return nil, fmt.Errorf("translating verdicts: levels %d and %d, want 1 to 9", o.SpamAt, o.BulkAt)
	}
	return &Translator{o}, nil
}

// What the filter did says more than a level: SKS and SKB are marked by a rule or the recipient's list, BLK was blocked by that. Of
// the others, SKA, SKI, SKN, SKQ and SFE were let through on purpose, so that their level does not count.
var (
	spamVerdicts = []string{"SPM", "SKS", "SKB", "BLK"}
	goodVerdicts = []string{"SKA", "SKI", "SKN", "SKQ", "SFE"}
	// badCategories are malware and phishing, of whatever level.
	badCategories = []string{"MALW", "PHSH", "HPHSH", "HPHISH"}
)

// Spam says whether a verdict means spam.
func (t *Translator) Spam(v Verdict) bool {
	switch {
	case slices.Contains(goodVerdicts, v.SFV):
		return false
	case slices.Contains(spamVerdicts, v.SFV), slices.Contains(badCategories, v.CAT):
		return true
	}
	return v.SCL >= t.o.SpamAt || t.o.BulkAt > 0 && v.BCL >= t.o.BulkAt
}

// ours are the fields that are written, and replaced where a message has them: what a sender wrote there says nothing.
var ours = []string{"X-Spam-Flag", "X-Spam-Score", "X-Spam-Level", "X-Spam-Status"}

// Apply returns msg, which came from Exchange Online and goes to the other side, with the fields at the end of its header, and
// without those of their names that it had. ok is false when there is no verdict to translate: then nothing is changed.
//
// The fields stand at the end, since the top is for trace fields. All other octets stay as they are.
func (t *Translator) Apply(msg []byte) (out message.Content, ok bool) {
	v, ok := Read(msg)
	if !ok {
		return message.Content{msg}, false
	}
	end, _ := rawmime.HeaderEnd(msg)
	header := message.Edit{Remove: func(f rawmime.Field) bool {
		return f.Name != nil && slices.ContainsFunc(ours, f.Is)
	}}.Apply(msg[:end])
	return append(append(header, t.fields(v, msg[:end])), msg[end:]), true
}

// fields writes the fields to follow header.
func (t *Translator) fields(v Verdict, header []byte) (out []byte) {
	if n := len(header); n > 0 && header[n-1] != '\n' && header[n-1] != '\r' {
		out = append(out, "\r\n"...)
	}
	flag, score := "NO", max(v.SCL, 0)
	if t.Spam(v) {
		flag, score = "YES", max(score, t.o.SpamAt) // systems that look at the score alone come to the same result
	}
	out = message.AppendField(out, "X-Spam-Flag", flag)
	out = message.AppendField(out, "X-Spam-Score", strconv.Itoa(score))
	if score > 0 {
		out = message.AppendField(out, "X-Spam-Level", strings.Repeat("*", score))
	}
	return out
}
