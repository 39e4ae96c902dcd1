package fakemta

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Verb is a moment of an SMTP session at which a Rule can act.
type Verb string

// The moments. All but CONNECT, BODY and EOD are the commands of that name.
const (
	Connect  Verb = "CONNECT" // a connection was accepted; its reply is the greeting
	EHLO     Verb = "EHLO"    // EHLO, and HELO
	StartTLS Verb = "STARTTLS"
	Mail     Verb = "MAIL"
	Rcpt     Verb = "RCPT"
	Data     Verb = "DATA" // before the 354
	BDAT     Verb = "BDAT" // after the octets of the chunk were read
	Body     Verb = "BODY" // inside the message, after Rule.Octets octets of DATA
	EOD      Verb = "EOD"  // the message is complete, by the final dot or by BDAT LAST
	RSET     Verb = "RSET"
	NOOP     Verb = "NOOP"
	Quit     Verb = "QUIT"
)

// verbs are all verbs; their place here is their place in counters.
var verbs = [...]Verb{Connect, EHLO, StartTLS, Mail, Rcpt, Data, BDAT, Body, EOD, RSET, NOOP, Quit}

// Action is what a Rule does.
type Action string

// The actions.
const (
	// Pass goes on as without the rule: for a delay alone.
	Pass Action = "pass"
	// Reply sends Rule.Reply. With 2xx and 3xx the command is carried out, with another text; with 4xx and 5xx it is not.
	Reply Action = "reply"
	// ReplyClose sends Rule.Reply and closes the connection.
	ReplyClose Action = "reply-close"
	// Hang sends nothing, for Rule.Hang or until the client or the server closes the connection; then it is closed.
	Hang Action = "hang"
	// Drop closes the connection without a reply.
	Drop Action = "drop"
	// KeepDrop keeps the message and closes the connection without a reply: the client cannot know. For EOD only.
	KeepDrop Action = "keep-drop"
	// Half sends the first half of Rule.Reply, without a line break, and closes the connection.
	Half Action = "half"
	// Garbage sends octets that are no reply, and does not carry out the command.
	Garbage Action = "garbage"
	// Huge sends a reply of Rule.Octets octets (1 MiB when 0) in many lines with the code of Rule.Reply.
	Huge Action = "huge"
)

// Rule says what is done at one moment of a session instead of the usual. The zero value of a field is no condition.
type Rule struct {
	Verb Verb
	// Match is compared, by glob (* and ?, letter case does not matter), with the address of MAIL and RCPT, the name of
	// EHLO, the client's address at CONNECT, and at DATA, BDAT, BODY and EOD with each recipient: one is enough.
	Match string
	// Skip lets so many matches pass first; Times is how often the rule acts then (0: always).
	// The third only: Skip 2, Times 1.
	Skip, Times int
	// Chance is the probability with which the rule acts, above 0 and below 1. 0: always.
	Chance float64
	// Delay comes before the action. At EOD the message is kept after it, also when the client is gone by then.
	Delay time.Duration
	// Action is Reply when it is empty and Reply is not; Pass when both are empty.
	Action Action
	// Reply is a reply such as "450 4.2.0 busy", of several lines when it has line breaks. The code is written once.
	Reply string
	// Octets is how far BODY reads before it acts, and how much Huge sends.
	Octets int
	// Hang is how long Hang waits. 0: for ever.
	Hang time.Duration
}

// Check says what is wrong with a rule.
func (r Rule) Check() error {
	known := false
	for _, verb := range verbs {
		known = known || verb == r.Verb
	}
	if !known {
		return fmt.Errorf("%q is not a verb, expected one of %v", r.Verb, verbs)
	}
	if r.Skip < 0 || r.Times < 0 || r.Octets < 0 || r.Delay < 0 || r.Hang < 0 {
		return fmt.Errorf("%s: a number is negative", r.Verb)
	}
	if r.Chance < 0 || r.Chance > 1 {
		return fmt.Errorf("%s: chance %v, expected one from 0 to 1", r.Verb, r.Chance)
	}
	switch action := r.action(); action {
	case Pass, Hang, Drop, Garbage:
	case KeepDrop:
		if r.Verb != EOD {
			return fmt.Errorf("%s: keep-drop is for EOD only", r.Verb)
		}
	case Reply, ReplyClose, Half, Huge:
		if !validCode(r.Reply) {
			return fmt.Errorf("%s: %q is not a reply, expected one such as \"450 4.2.0 busy\"", r.Verb, r.Reply)
		}
	default:
		return fmt.Errorf("%s: %q is not an action", r.Verb, action)
	}
	if r.Verb == Body && (r.action() == Reply || r.action() == Huge || r.action() == Garbage) {
		return fmt.Errorf("BODY: %s: there is no reply inside a message, expected reply-close, half, hang, drop or a delay", r.action())
	}
	return nil
}

func (r Rule) action() Action {
	switch {
	case r.Action != "":
		return r.Action
	case r.Reply != "":
		return Reply
	default:
		return Pass
	}
}

// validCode checks the form of a reply code (RFC 5321 4.2).
func validCode(reply string) bool {
	if len(reply) < 3 || len(reply) > 3 && reply[3] != ' ' && reply[3] != '-' && reply[3] != '\n' {
		return false
	}
	return reply[0] >= '2' && reply[0] <= '5' && reply[1] >= '0' && reply[1] <= '9' && reply[2] >= '0' && reply[2] <= '9'
}

// ParseRule reads a rule as text:
//
//	VERB [MATCH] [skip N] [times N] [nth N] [chance P] [after OCTETS] [delay DURATION] [ACTION]
//
// where ACTION is the last: "reply 450 4.2.0 busy", "reply-close 421 4.3.2 closing", "hang [DURATION]", "drop",
// "keep-drop", "half 250 2.0.0 ok", "garbage", "huge 250" or "pass". \n in a reply begins a new line of it.
func ParseRule(text string) (Rule, error) {
	rest := strings.TrimSpace(text)
	var word string
	word, rest = cutWord(rest)
	r := Rule{Verb: Verb(strings.ToUpper(word))}
	if word, after := cutWord(rest); word != "" && !isKeyword(word) {
		r.Match, rest = word, after
	}
	for rest != "" {
		word, rest = cutWord(rest)
		if action := Action(word); isAction(action) {
			r.Action = action
			if err := r.argument(rest); err != nil {
				return Rule{}, fmt.Errorf("rule %q: %w", text, err)
			}
			break
		}
		var value string
		value, rest = cutWord(rest)
		if err := r.option(word, value); err != nil {
			return Rule{}, fmt.Errorf("rule %q: %w", text, err)
		}
	}
	if err := r.Check(); err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", text, err)
	}
	if r.Action == "" && r.Delay == 0 { // a misspelt action would pass as Match
		return Rule{}, fmt.Errorf("rule %q: does nothing, expected an action or a delay", text)
	}
	return r, nil
}

// ParseRules reads a rule a line; empty lines and lines that begin with # are none.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		rule, err := ParseRule(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(s, " ")
	return word, strings.TrimLeft(rest, " \t")
}

func isAction(a Action) bool {
	switch a {
	case Pass, Reply, ReplyClose, Hang, Drop, KeepDrop, Half, Garbage, Huge:
		return true
	}
	return false
}

func isKeyword(word string) bool {
	switch word {
	case "skip", "times", "nth", "chance", "after", "delay":
		return true
	}
	return isAction(Action(word))
}

func (r *Rule) argument(rest string) (err error) {
	switch r.Action {
	case Reply, ReplyClose, Half, Huge:
		r.Reply = strings.ReplaceAll(rest, `\n`, "\n")
	case Hang:
		if rest != "" {
			r.Hang, err = time.ParseDuration(rest)
		}
	default:
		if rest != "" {
			return fmt.Errorf("%q after %s", rest, r.Action)
		}
	}
	return err
}

func (r *Rule) option(name, value string) (err error) {
	switch name {
	case "skip":
		r.Skip, err = strconv.Atoi(value)
	case "times":
		r.Times, err = strconv.Atoi(value)
	case "nth":
		r.Skip, err = strconv.Atoi(value)
		r.Skip, r.Times = r.Skip-1, 1
	case "after":
		r.Octets, err = strconv.Atoi(value)
	case "chance":
		r.Chance, err = strconv.ParseFloat(value, 64)
	case "delay":
		r.Delay, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("%q is neither an option nor an action", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// glob matches * (any octets) and ? (one octet), ASCII letters in either case.
func glob(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || lower(pattern[p]) == lower(s[i])):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// script is the rules of a server with their counts.
type script struct {
	mu    sync.Mutex
	rules []Rule
	seen  []int // matches of each rule so far
}

func newScript(rules []Rule) *script {
	return &script{rules: append([]Rule(nil), rules...), seen: make([]int, len(rules))}
}

// find returns the first rule that acts at this moment. Rules that match without acting count the match.
func (s *script) find(verb Verb, subjects ...string) (Rule, bool) {
	if len(s.rules) == 0 {
		return Rule{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rules {
		r := &s.rules[i]
		if r.Verb != verb || !matchAny(r.Match, subjects) {
			continue
		}
		s.seen[i]++
		n := s.seen[i]
		if n <= r.Skip || r.Times > 0 && n > r.Skip+r.Times {
			continue
		}
		if r.Chance > 0 && r.Chance < 1 && rand.Float64() >= r.Chance {
			continue
		}
		return *r, true
	}
	return Rule{}, false
}

func matchAny(pattern string, subjects []string) bool {
	if pattern == "" {
		return true
	}
	for _, subject := range subjects {
		if glob(pattern, subject) {
			return true
		}
	}
	return false
}
