package dialog

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// Outcome is how a section ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Differs Outcome = "differs"
	Skipped Outcome = "skipped"
)

// Result is what running a section showed.
type Result struct {
	Outcome Outcome
	// Line is the step that did not get what it expects; Want is that, and Got what came. Why says what a skipped section needs.
	Line      int
	Want, Got string
	Why       string
}

// Runner holds dialogs against one server. It must not be changed while it runs; sections may run at the same time, unless they
// count messages.
type Runner struct {
	// Dial connects to one of the servers that "server:" names, as one of the clients that "from:" names. ErrNoPeer skips the section.
	Dial func(context.Context, Peer) (net.Conn, error)
	// Vars are the values of names in braces. "size" is added, of the server.
	Vars map[string]string
	// TLS is for "T" and StartTLS. Nil believes every certificate: what is tested is the dialogue.
	TLS *tls.Config
	// StartTLS runs the dialogs inside TLS, begun before their first step. Sections that begin it themselves are skipped.
	StartTLS bool
	// Timeout is how long a reply may take, 10 seconds if 0.
	Timeout time.Duration
	// Messages are those that the server of that name passed on so far, each as its next hop got it, in the order in which they
	// arrived; nil: "M" and "G" check nothing.
	Messages func(server string) [][]byte
	// Transcript is written to as the dialogue runs; nil is nowhere.
	Transcript io.Writer
}

// ErrNoPeer is what a Runner's Dial returns for a server or a client that it does not know.
var ErrNoPeer = errors.New("no such server or client")

func (p Peer) String() string {
	switch {
	case p.Server == "":
		return "a client " + p.Client
	case p.Client == "":
		return "a server " + p.Server
	}
	return "a client " + p.Client + " and a server " + p.Server
}

// Run runs a section. The error is that of a server that cannot be reached, or of variables without value.
func (r *Runner) Run(ctx context.Context, s *Section) (Result, error) {
	offer, err := r.probe(ctx, s)
	if errors.Is(err, ErrNoPeer) {
		return Result{Outcome: Skipped, Why: s.peer.String()}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if why := r.cannot(s, offer); why != "" {
		return Result{Outcome: Skipped, Why: why}, nil
	}
	c, err := r.connect(ctx, s.peer)
	if err != nil {
		return Result{}, err
	}
	run := &run{runner: r, server: s.peer.Server, conn: c, vars: maps.Clone(r.Vars), timeout: cmp.Or(r.Timeout, 10*time.Second)}
	defer run.end()
	if run.vars == nil {
		run.vars = map[string]string{}
	}
	if size := offer["SIZE"]; size != "" && size != "0" {
		run.vars["size"] = size
	}
	if r.Messages != nil {
		run.before = len(r.Messages(run.server))
	}
	return run.steps(s)
}

// clearText is what a section requires that is about what may not be done without TLS.
const clearText = "clear"

// cannot says what the section needs and the server lacks.
func (r *Runner) cannot(s *Section, offer map[string]string) string {
	if r.StartTLS && (s.has(startTLS, failTLS) || slices.Contains(s.requires, clearText)) {
		return "a connection in clear"
	}
	for _, want := range s.requires {
		if want == clearText {
			continue
		}
		key, value, _ := strings.Cut(want, ":")
		got, ok := offer[strings.ToUpper(key)]
		if !ok || value != "" && !strings.Contains(" "+got+" ", " "+value+" ") {
			return "the server to offer " + want
		}
	}
	return ""
}

// probe asks what the server offers: keywords of EHLO and their parameters; with those inside TLS, if the section begins it.
func (r *Runner) probe(ctx context.Context, s *Section) (map[string]string, error) {
	c, err := r.connect(ctx, s.peer)
	if err != nil {
		return nil, err
	}
	defer func() { c.nc.Close() }()
	c.nc.SetDeadline(time.Now().Add(cmp.Or(r.Timeout, 10*time.Second)))
	if _, err := c.reply(); err != nil {
		return nil, fmt.Errorf("waiting for the greeting: %w", err)
	}
	offer := map[string]string{}
	if err := c.offers(offer); err != nil {
		return nil, fmt.Errorf("asking what is offered: %w", err)
	}
	if _, offered := offer["STARTTLS"]; offered && s.has(startTLS) {
		if _, err = c.ask("STARTTLS"); err == nil {
			err = c.startTLS(r.TLS)
		}
		if err == nil {
			err = c.offers(offer)
		}
		if err != nil {
			return nil, fmt.Errorf("asking what is offered inside TLS: %w", err)
		}
	}
	c.ask("QUIT") // so that nothing of this connection is left when the dialog begins
	return offer, nil
}

// offers adds what the reply to EHLO has.
func (c *peer) offers(offer map[string]string) error {
	reply, err := c.ask("EHLO client.example")
	for i, line := range strings.Split(reply, "\n") {
		if i > 0 && strings.HasPrefix(line, "250") && len(line) > 4 {
			key, value, _ := strings.Cut(line[4:], " ")
			offer[strings.ToUpper(key)] = value
		}
	}
	return err
}

func (s *Section) has(kinds ...kind) bool {
	for _, st := range s.steps {
		if slices.Contains(kinds, st.kind) {
			return true
		}
	}
	return false
}

// peer is a connection to the server.
type peer struct {
	nc net.Conn
	r  *bufio.Reader
}

// maxReplyLine is RFC 5321 4.5.3.1.5, generously.
const maxReplyLine = 8 << 10

func newPeer(nc net.Conn) *peer { return &peer{nc, bufio.NewReaderSize(nc, maxReplyLine)} }

func (r *Runner) connect(ctx context.Context, p Peer) (*peer, error) {
	nc, err := r.Dial(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c := newPeer(nc)
	if !r.StartTLS {
		return c, nil
	}
	nc.SetDeadline(time.Now().Add(cmp.Or(r.Timeout, 10*time.Second)))
	greeting, err := c.reply()
	if err == nil {
		_, err = c.ask("EHLO client.example")
	}
	if err == nil {
		_, err = c.ask("STARTTLS")
	}
	if err == nil {
		err = c.startTLS(r.TLS)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("starting TLS: %w", err)
	}
	c.nc.SetDeadline(time.Time{})
	// There is no greeting inside TLS (RFC 3207 4.2), so the dialog sees the one before it.
	again := strings.ReplaceAll(greeting, "\n", "\r\n") + "\r\n"
	c.r = bufio.NewReaderSize(io.MultiReader(strings.NewReader(again), c.nc), maxReplyLine)
	return c, nil
}

func (c *peer) startTLS(config *tls.Config) error {
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	tc := tls.Client(c.nc, config)
	if err := tc.Handshake(); err != nil {
		return err
	}
	c.nc, c.r = tc, bufio.NewReaderSize(tc, maxReplyLine)
	return nil
}

func (c *peer) ask(command string) (string, error) {
	if _, err := io.WriteString(c.nc, command+"\r\n"); err != nil {
		return "", err
	}
	reply, err := c.reply()
	if err == nil && reply[0] > '3' {
		err = errors.New(reply)
	}
	return reply, err
}

// reply reads one reply, its lines joined by LF. What came before an error is returned with it.
func (c *peer) reply() (string, error) {
	var lines []string
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return strings.Join(append(lines, string(line)), "\n"), err
		}
		text := strings.TrimSuffix(string(line), "\r\n")
		lines = append(lines, text)
		if len(text) < 3 || strings.Trim(text[:3], "0123456789") != "" || strings.HasSuffix(text, "\n") {
			return strings.Join(lines, "\n"), fmt.Errorf("%q is not a line of a reply", line)
		}
		if len(text) == 3 || text[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// run is a section that runs.
type run struct {
	runner  *Runner
	server  string
	conn    *peer
	vars    map[string]string
	timeout time.Duration
	before  int        // messages passed on before
	sending chan error // of the last send that may still go on
}

// end closes, and waits for what was being sent.
func (r *run) end() {
	r.conn.nc.Close()
	if r.sending != nil {
		<-r.sending
	}
}

func (r *run) steps(s *Section) (Result, error) {
	for _, st := range s.steps {
		want, got, err := r.step(st)
		if err != nil {
			return Result{}, fmt.Errorf("%s:%d: %w", s.File, st.line, err)
		}
		if want != "" {
			r.note("!", "want "+want)
			return Result{Outcome: Differs, Line: st.line, Want: want, Got: got}, nil
		}
	}
	return Result{Outcome: Passed}, nil
}

// step does a step. It returns what was expected and what came, both empty if that is the same.
func (r *run) step(st step) (want, got string, err error) {
	switch st.kind {
	case send:
		return r.send(st.text)
	case expect:
		for range st.n {
			if want, got, err = r.expect(st.want); want != "" || err != nil {
				return want, got, err
			}
		}
	case startTLS, failTLS:
		return r.tls(st.kind == startTLS)
	case pause:
		time.Sleep(st.wait)
	case patience:
		r.timeout = st.wait
	case closed, closedSilent:
		return r.closed(st.kind == closedSilent)
	case hangUp:
		want, got, err = r.sent()
		r.conn.nc.Close()
		return want, got, err
	case messages:
		return r.messages(st.n)
	case holds, holdsNot:
		return r.holds(st.text, st.kind == holds)
	}
	return "", "", nil
}

// send sends in the background: the server may answer, or refuse to listen, before it has read everything.
func (r *run) send(t text) (want, got string, err error) {
	if want, got, err = r.sent(); want != "" || err != nil {
		return want, got, err
	}
	head := &head{max: 200}
	if err := t.write(head, r.vars, 0); err != nil && err != errFull { // variables without value are found before anything is sent
		return "", "", err
	}
	r.note(">", head.b.String())
	done, nc, vars := make(chan error, 1), r.conn.nc, r.vars
	r.sending = done
	nc.SetWriteDeadline(time.Now().Add(r.timeout + time.Minute))
	go func() {
		w := bufio.NewWriterSize(nc, 64<<10)
		err := t.write(w, vars, 0)
		done <- errors.Join(err, w.Flush())
	}()
	return "", "", nil
}

// sent waits until the last send is through. A connection that was cut is no difference by itself: what is expected next tells.
func (r *run) sent() (want, got string, err error) {
	if r.sending == nil {
		return "", "", nil
	}
	select {
	case <-r.sending:
		r.sending = nil
		return "", "", nil
	case <-time.After(r.timeout):
		return "what was sent to be read", "the server does not read", nil
	}
}

// expect holds the next reply against what is expected.
func (r *run) expect(e expectation) (want, got string, err error) {
	r.conn.nc.SetReadDeadline(time.Now().Add(r.timeout))
	reply, err := r.conn.reply()
	if err != nil {
		r.note("<", reply+" "+gone(err))
		return e.source, strings.TrimSpace(short(reply) + " (" + gone(err) + ")"), nil
	}
	r.note("<", reply)
	ok, err := e.matches(reply, r.vars)
	if ok || err != nil {
		return "", "", err
	}
	return e.source, short(reply), nil
}

func (e expectation) matches(reply string, vars map[string]string) (bool, error) {
	if e.re != nil {
		return e.re.MatchString(reply), nil
	}
	last := reply[strings.LastIndexByte(reply, '\n')+1:]
	for _, alternative := range e.any {
		prefix, err := alternative.string(vars)
		if err != nil {
			return false, err
		}
		if strings.HasPrefix(last, prefix) {
			return true, nil
		}
	}
	return false, nil
}

func (r *run) tls(wanted bool) (want, got string, err error) {
	if want, got, err = r.sent(); want != "" || err != nil {
		return want, got, err
	}
	r.conn.nc.SetDeadline(time.Now().Add(r.timeout))
	err = r.conn.startTLS(r.runner.TLS)
	r.conn.nc.SetDeadline(time.Time{})
	switch {
	case err != nil && wanted:
		return "TLS", err.Error(), nil
	case err == nil && !wanted:
		return "no TLS", "TLS", nil
	}
	r.note("=", "TLS")
	return "", "", nil
}

// closed expects the end of the connection: an end of file or a reset, and no reply before it.
func (r *run) closed(silent bool) (want, got string, err error) {
	r.conn.nc.SetReadDeadline(time.Now().Add(r.timeout))
	reply, err := r.conn.reply()
	r.note("<", reply+" "+gone(err))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the connection closed", "it stays open", nil
	case err == nil, reply != "" && !silent:
		return "the connection closed", short(reply), nil
	}
	return "", "", nil
}

// messages expects n messages of this section.
func (r *run) messages(n int) (want, got string, err error) {
	if r.runner.Messages == nil {
		return "", "", nil
	}
	have := 0
	r.await(func() bool { have = len(r.passedOn()); return have >= n })
	if have == n {
		return "", "", nil
	}
	return fmt.Sprintf("%d messages passed on", n), fmt.Sprintf("%d", have), nil
}

// holds expects a message of this section that has the text, or none.
func (r *run) holds(t text, wanted bool) (want, got string, err error) {
	s, err := t.string(r.vars)
	if r.runner.Messages == nil || err != nil {
		return "", "", err
	}
	found := func() bool {
		return slices.ContainsFunc(r.passedOn(), func(m []byte) bool { return bytes.Contains(m, []byte(s)) })
	}
	switch {
	case wanted && !r.await(found):
		return fmt.Sprintf("a message with %.200q", s), fmt.Sprintf("%d messages without it", len(r.passedOn())), nil
	case !wanted && found():
		return fmt.Sprintf("no message with %.200q", s), "one that has it", nil
	}
	return "", "", nil
}

func (r *run) passedOn() [][]byte { return r.runner.Messages(r.server)[r.before:] }

// await waits as long as a reply may take for something to be so.
func (r *run) await(so func() bool) bool {
	for end := time.Now().Add(r.timeout); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (r *run) note(mark, s string) {
	if r.runner.Transcript == nil {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\r\n"), "\n") {
		fmt.Fprintf(r.runner.Transcript, "  %s %s\n", mark, printable(line))
	}
}

// gone says in a word why there is no reply.
func gone(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no reply"
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.As(err, new(*net.OpError)):
		return "cut"
	}
	return err.Error()
}

// short is what of a reply goes into a difference.
func short(reply string) string {
	last := printable(reply[strings.LastIndexByte(reply, '\n')+1:])
	if len(last) > 200 {
		last = last[:200] + "..."
	}
	return last
}

// printable keeps control characters off the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '.'
		}
		return c
	}, strings.TrimSuffix(s, "\r"))
}

// head keeps the beginning of what is written to it.
type head struct {
	b   bytes.Buffer
	max int
}

var errFull = errors.New("full")

func (h *head) Write(p []byte) (int, error) {
	if h.b.Len()+len(p) > h.max {
		h.b.Write(p[:h.max-h.b.Len()])
		return 0, errFull
	}
	return h.b.Write(p)
}
