package dialog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Dialog is a file.
type Dialog struct {
	// File is the path that the file was read from, and Name its last element without ".smtp".
	File, Name string
	// Title is the comment above the first step.
	Title    string
	Sections []*Section
}

// Section is one connection to a server.
type Section struct {
	// File and Line are where it begins; Name is empty when the file is one section.
	File string
	Line int
	Name string

	requires []string
	peer     Peer
	steps    []step
}

// Peer says between whom a section is. The empty names are the usual server and the usual client.
type Peer struct{ Server, Client string }

// A step is one line; what it does is by its kind.
type step struct {
	line int
	kind kind
	text text          // send, holds, holdsNot
	want expectation   // expect
	n    int           // expect: how many replies; messages: how many
	wait time.Duration // pause, patience
}

type kind int

const (
	send kind = iota
	expect
	startTLS
	failTLS
	pause
	patience
	closed
	closedSilent
	hangUp
	messages
	holds
	holdsNot
)

// An expectation is one of several beginnings of a reply's last line, or a regular expression for the whole.
type expectation struct {
	source string
	any    []text
	re     *regexp.Regexp
}

// ParseFile reads the dialog at path. Errors name file and line.
func ParseFile(path string) (*Dialog, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a dialog: %w", err)
	}
	defer f.Close()
	return Parse(path, f)
}

// maxDialogLine is the longest line of a file, in octets.
const maxDialogLine = 64 << 10

// Parse reads a dialog. file is what errors and differences call it. All errors of the file are returned, joined.
func Parse(file string, r io.Reader) (*Dialog, error) {
	p := &parser{dialog: &Dialog{File: file, Name: strings.TrimSuffix(filepath.Base(file), ".smtp")}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxDialogLine)
	for lines.Scan() {
		p.line++
		if err := p.read(lines.Text()); err != nil {
			p.fail(p.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		p.fail(p.line+1, err)
	}
	p.finish()
	return p.dialog, errors.Join(p.errs...)
}

type parser struct {
	dialog  *Dialog
	section *Section
	line    int
	errs    []error
}

func (p *parser) fail(line int, err error) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %w", p.dialog.File, line, err))
}

func (p *parser) read(line string) error {
	switch {
	case strings.TrimSpace(line) == "":
		return nil
	case strings.HasPrefix(line, "#"):
		if p.section == nil && len(p.dialog.Sections) == 0 {
			p.dialog.Title = strings.TrimSpace(p.dialog.Title + " " + strings.TrimSpace(strings.TrimLeft(line, "#")))
		}
		return nil
	case strings.HasPrefix(line, "== "):
		return p.begin(strings.TrimSpace(line[3:]))
	}
	if p.section == nil {
		if err := p.begin(""); err != nil {
			return err
		}
	}
	return p.step(line)
}

func (p *parser) begin(name string) error {
	for _, s := range p.dialog.Sections {
		switch {
		case s.Name == name:
			return fmt.Errorf("a second section %q", name)
		case s.Name == "":
			return errors.New("a section after steps that belong to none")
		}
	}
	p.section = &Section{File: p.dialog.File, Line: p.line, Name: name}
	p.dialog.Sections = append(p.dialog.Sections, p.section)
	return nil
}

func (p *parser) finish() {
	if len(p.dialog.Sections) == 0 {
		p.fail(max(p.line, 1), errors.New("no step"))
	}
	for _, s := range p.dialog.Sections {
		expects := false
		for _, st := range s.steps {
			expects = expects || st.kind != send && st.kind != pause && st.kind != patience && st.kind != hangUp
		}
		if !expects {
			p.fail(s.Line, errors.New("the section expects nothing, so it cannot fail"))
		}
	}
}

// step reads a line that belongs to a section. "C< " keeps its blanks: they are sent.
func (p *parser) step(line string) error {
	if raw, ok := strings.CutPrefix(line, "C<"); ok {
		return p.send(strings.TrimPrefix(raw, " "), "", true)
	}
	key, arg, hasArg := strings.Cut(line, ":")
	arg = strings.TrimPrefix(arg, " ")
	switch {
	case key == "requires", key == "from", key == "server":
		return p.section.property(key, arg)
	case key == "C" && hasArg:
		return p.send(arg, "\r\n", false)
	}
	st, err := parseStep(strings.TrimSpace(key), strings.TrimSpace(arg), hasArg)
	if err != nil {
		return err
	}
	st.line = p.line
	p.section.steps = append(p.section.steps, st)
	return nil
}

// property reads what a section has above its steps.
func (s *Section) property(key, value string) error {
	if len(s.steps) > 0 {
		return fmt.Errorf("%s: comes before the steps of its section", key)
	}
	if value = strings.TrimSpace(value); value == "" {
		return fmt.Errorf("%s: needs a value", key)
	}
	switch key {
	case "requires":
		s.requires = append(s.requires, strings.Fields(value)...)
	case "from":
		s.peer.Client = value
	case "server":
		s.peer.Server = value
	}
	return nil
}

func (p *parser) send(s, end string, escapes bool) error {
	t, err := parseText(s, escapes)
	if err != nil {
		return err
	}
	if end != "" {
		t = append(t, piece{literal: end})
	}
	if len(t) == 0 {
		return errors.New("nothing to send")
	}
	p.section.steps = append(p.section.steps, step{line: p.line, kind: send, text: t})
	return nil
}

// plain are the steps that are one word.
var plain = map[string]kind{"T": startTLS, "T!": failTLS, "X": closed, "X: silent": closedSilent, "K": hangUp}

func parseStep(key, arg string, hasArg bool) (st step, err error) {
	whole := key
	if hasArg {
		whole += ": " + arg
	}
	if k, ok := plain[whole]; ok {
		return step{kind: k}, nil
	}
	name, times, repeated := strings.Cut(key, "*")
	switch {
	case !hasArg:
	case name == "S":
		return parseExpect(times, repeated, arg)
	case key == "D", key == "W":
		st.kind = map[string]kind{"D": pause, "W": patience}[key]
		if st.wait, err = time.ParseDuration(arg); err != nil || st.wait <= 0 || st.wait > time.Hour {
			return st, fmt.Errorf("%s: a time up to 1h is expected, as 500ms or 2s", key)
		}
		return st, nil
	case key == "G", key == "G!":
		st.kind = map[string]kind{"G": holds, "G!": holdsNot}[key]
		if st.text, err = parseText(arg, true); err == nil && len(st.text) == 0 {
			err = fmt.Errorf("%s: a text is expected", key)
		}
		return st, err
	case key == "M":
		st.kind = messages
		if st.n, err = strconv.Atoi(arg); err != nil || st.n < 0 {
			return st, errors.New("a number of messages is expected")
		}
		return st, nil
	}
	return st, fmt.Errorf("%q is not a step", whole)
}

func parseExpect(times string, repeated bool, arg string) (st step, err error) {
	st = step{kind: expect, n: 1, want: expectation{source: arg}}
	if repeated {
		if st.n, err = strconv.Atoi(times); err != nil || st.n < 1 || st.n > 1e6 {
			return st, errors.New("a number of replies is expected, as in S*3")
		}
	}
	if len(arg) >= 2 && arg[0] == '/' && arg[len(arg)-1] == '/' {
		st.want.re, err = regexp.Compile(arg[1 : len(arg)-1])
		return st, err
	}
	for alternative := range strings.SplitSeq(arg, "|") {
		alternative = strings.TrimSpace(alternative)
		if len(alternative) < 1 || alternative[0] < '1' || alternative[0] > '5' {
			return st, fmt.Errorf("%q is not how a reply begins: a digit from 1 to 5 is", alternative)
		}
		t, err := parseText(alternative, false)
		if err != nil {
			return st, err
		}
		st.want.any = append(st.want.any, t)
	}
	return st, nil
}
