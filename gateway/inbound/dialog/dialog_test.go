package dialog

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"nothing", "# only a comment\n", "a.smtp:1: no step"},
		{"not a step", "S: 220\nQ: 1\n", `a.smtp:2: "Q: 1" is not a step`},
		{"a word", "S: 220\nhello\n", `a.smtp:2: "hello" is not a step`},
		{"no reply", "S: 220\nS: hello\n", `a.smtp:2: "hello" is not how a reply begins`},
		{"empty alternative", "S: 220 | \n", `a.smtp:1: "" is not how`},
		{"bad expression", "S: /(/\n", "a.smtp:1: error parsing regexp"},
		{"no number of replies", "S*x: 220\n", "a.smtp:1: a number of replies"},
		{"no time", "S: 220\nD: soon\n", "a.smtp:2: D: a time"},
		{"no number of messages", "S: 220\nM: some\n", "a.smtp:2: a number of messages"},
		{"open brace", "S: 220\nC: {to\n", "a.smtp:2: a brace is not closed"},
		{"open repetition", "S: 220\nC: {3*to\n", "a.smtp:2: a brace is not closed"},
		{"bad count", "S: 220\nC: {x*to}\n", `a.smtp:2: "x" is neither`},
		{"bad size", "S: 220\nC: {body size*2}\n", `a.smtp:2: "body size" is neither`},
		{"bad escape", "S: 220\nC< \\q\n", `a.smtp:2: "\\q" is not one of`},
		{"bad octet", "S: 220\nC< \\xzz\n", `a.smtp:2: \xzz is not an octet`},
		{"unknown variable is the runner's, an odd one is not", "S: 220\nC: {a b}\n", "a.smtp:2: {a b} is not known"},
		{"expects nothing", "C: QUIT\n", "a.smtp:1: the section expects nothing"},
		{"same name", "== a\nS: 220\n== a\nS: 220\n", `a.smtp:3: a second section "a"`},
		{"section after steps", "S: 220\n== a\nS: 220\n", "a.smtp:2: a section after steps"},
		{"late requirement", "S: 220\nrequires: STARTTLS\n", "a.smtp:2: requires: comes before"},
		{"empty client", "from:\nS: 220\n", "a.smtp:1: from: needs a value"},
		{"empty server", "server: \nS: 220\n", "a.smtp:1: server: needs a value"},
		{"a message with nothing", "S: 220\nG:\n", "a.smtp:2: G: a text is expected"},
		{"a message without a word of what", "S: 220\nG!\n", `a.smtp:2: "G!" is not a step`},
		{"a number that is none", "S: 220\nM: many\n", "a.smtp:2: a number of messages"},
		{"nothing to send", "S: 220\nC< \n", "a.smtp:2: nothing to send"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("a.smtp", strings.NewReader(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
	_, err := Parse("a.smtp", strings.NewReader("Q\nS: 220\nZ\n"))
	if err == nil || !strings.Contains(err.Error(), "a.smtp:1") || !strings.Contains(err.Error(), "a.smtp:3") {
		t.Errorf("not all errors at once: %v", err)
	}
}

func TestText(t *testing.T) {
	vars := map[string]string{"to": "a@contoso.com", "size": "100"}
	for _, tt := range []struct {
		in, want string
		escapes  bool
	}{
		{"plain", "plain", false},
		{`a\r\n\0\x41\\`, "a\r\n\x00A\\", true},
		{`a\r`, `a\r`, false},
		{"<{to}>", "<a@contoso.com>", false},
		{"{3*ab}c", "abababc", false},
		{"{2*{to} {#};}", "a@contoso.com 1;a@contoso.com 2;", false},
		{"{{to}", "{to}", false},
		{"{size} {size+1} {size-2}", "100 101 98", false},
		{"{size-97*x}", "xxx", false},
		{"{40000*ab}", strings.Repeat("ab", 40000), false},
		{"{0*ab}{size-200*ab}", "", false},
		{"{body 5}", "xxx\r\n", false},
		{"{body 1}{body 0}", "x", false},
		{"}", "}", false},
	} {
		parsed, err := parseText(tt.in, tt.escapes)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got, err := parsed.string(vars); got != tt.want || err != nil {
			t.Errorf("%q is %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
	for _, n := range []int64{63, 64, 65, 127, 128, 129, 100000} {
		var b bytes.Buffer
		if writeBody(&b, n); int64(b.Len()) != n || !strings.HasSuffix(b.String(), "\r\n") {
			t.Errorf("a body of %d has %d octets", n, b.Len())
		}
		for line := range strings.SplitSeq(b.String(), "\r\n") {
			if len(line) > 200 {
				t.Errorf("a body of %d has a line of %d", n, len(line))
			}
		}
	}
	for _, missing := range []string{"{other}", "{size}", "{size+1}", "{body size}"} {
		parsed, err := parseText(missing, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsed.string(nil); err == nil {
			t.Errorf("%s without a value is no error", missing)
		}
	}
}

// script is a server that answers each line with the next reply of its script; "-" closes.
func script(t *testing.T, replies ...string) *Runner {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for first := true; ; first = false {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			say := replies
			if first { // the probe
				say = []string{"220 x", "250-x\r\n250-SIZE 1000\r\n250 PIPELINING", "221 x", "-"}
			}
			go answer(nc, say)
		}
	}()
	return &Runner{Timeout: time.Second, Vars: DefaultVars(), Dial: func(_ context.Context, p Peer) (net.Conn, error) {
		if p != (Peer{}) {
			return nil, ErrNoPeer
		}
		return net.Dial("tcp", l.Addr().String())
	}}
}

func answer(nc net.Conn, replies []string) {
	defer nc.Close()
	in := bufio.NewReader(nc)
	for i, reply := range replies {
		if reply == "-" {
			return
		}
		if i > 0 {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
		}
		nc.Write([]byte(reply + "\r\n"))
	}
	in.ReadString('\n')
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		replies    []string
		outcome    Outcome
		want, got  string
	}{
		{"all as expected", "S: 220\nC: NOOP\nS: 250 2.0.0 | 251\nC: QUIT\nS: 221\nX\n", []string{"220 a", "250 2.0.0 OK", "221 b", "-"}, Passed, "", ""},
		{"another reply", "S: 220\nC: NOOP\nS: 250 2\n", []string{"220 a", "250 OK"}, Differs, "250 2", "250 OK"},
		{"the last line counts", "S: 220 b\n", []string{"220-a\r\n220 b"}, Passed, "", ""},
		{"the whole for an expression", "S: /^220-a\\n220 b$/\n", []string{"220-a\r\n220 b"}, Passed, "", ""},
		{"several", "S: 220\nC< A\\r\\nB\\r\\n\nS*2: 250\n", []string{"220 a", "250 x", "250 y"}, Passed, "", ""},
		{"one too few", "S: 220\nC: A\nS*2: 250\n", []string{"220 a", "250 x"}, Differs, "250", "(no reply)"},
		{"closed too early", "S: 220\nC: A\nS: 250\n", []string{"220 a", "-"}, Differs, "250", "(closed)"},
		{"not closed", "S: 220\nX\n", []string{"220 a"}, Differs, "the connection closed", "it stays open"},
		{"more before the end", "S: 220\nC: A\nX\n", []string{"220 a", "250 x"}, Differs, "the connection closed", "250 x"},
		{"octets that are no reply", "S: 220\nC: A\nX\n", []string{"220 a", "\x15\x03\x01"}, Differs, "the connection closed", "..."},
		{"not offered", "requires: STARTTLS\nS: 220\n", nil, Skipped, "", ""},
		{"offered with a parameter", "requires: SIZE:1000 PIPELINING\nS: 220\n", []string{"220 a"}, Passed, "", ""},
		{"no such client", "from: cloud\nS: 220\n", nil, Skipped, "", ""},
		{"no such server", "server: no-directory\nS: 220\n", nil, Skipped, "", ""},
		{"TLS that is none", "S: 220\nC: STARTTLS\nS: 220\nT\n", []string{"220 a", "220 b", "-"}, Differs, "TLS", ""},
		{"TLS that must fail", "S: 220\nC: STARTTLS\nS: 220\nT!\n", []string{"220 a", "220 b", "-"}, Passed, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := Parse("a.smtp", strings.NewReader(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			r, err := script(t, tt.replies...).Run(t.Context(), d.Sections[0])
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != tt.outcome || r.Want != tt.want || tt.got != "" && r.Got != tt.got {
				t.Errorf("%+v, want %s %q %q", r, tt.outcome, tt.want, tt.got)
			}
			if r.Outcome == Skipped && r.Why == "" {
				t.Error("skipped, and not said why")
			}
		})
	}
}

func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		name, steps string
		outcome     Outcome
		want, got   string
	}{
		{"one came", "M: 1", Passed, "", ""},
		{"one too few", "M: 2", Differs, "2 messages passed on", "1"},
		{"one too many", "M: 0", Differs, "0 messages passed on", "1"},
		{"it has the text", "G: Subject: x\\r\\n\\r\\nfor {to}", Passed, "", ""},
		{"that is of an earlier one", "G: earlier", Differs, `a message with "earlier"`, "1 messages without it"},
		{"it has not", "G!: earlier", Passed, "", ""},
		{"it has what it must not have", "G!: Subject", Differs, `no message with "Subject"`, "one that has it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := Parse("a.smtp", strings.NewReader("S: 220\n"+tt.steps+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			r, looks := script(t, "220 a"), 0
			r.Timeout = 200 * time.Millisecond
			r.Messages = func(server string) [][]byte {
				if server != "" {
					t.Errorf("asked for %q", server)
				}
				all := [][]byte{[]byte("earlier\r\n")}
				if looks++; looks > 2 || tt.name != "one came" { // it takes a moment to arrive
					all = append(all, []byte("Subject: x\r\n\r\nfor adelev@contoso.com\r\n"))
				}
				return all[:min(looks, len(all))]
			}
			result, err := r.Run(t.Context(), d.Sections[0])
			if err != nil || result.Outcome != tt.outcome || result.Want != tt.want || result.Got != tt.got {
				t.Errorf("%+v, %v, want %s %q %q", result, err, tt.outcome, tt.want, tt.got)
			}
		})
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	d, err := Parse("a.smtp", strings.NewReader("S: 220\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &Runner{Dial: func(context.Context, Peer) (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:1") }}
	if _, err := r.Run(t.Context(), d.Sections[0]); err == nil || !strings.Contains(err.Error(), "connecting") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("# t\n== a\nrequires: X\nfrom: y\nserver: z\nS: 220\nC: {3*{to} {#}}\nC< \\r\\n\\0\\x41{body size-1}\nS*2: 250 | 251\nS: /x/\nT\nD: 1s\nW: 1s\nX\nX: silent\nK\nM: 1\nG: \\x41{to}\nG!: y\n")
	f.Add("C: {size+1*{{}\nS: 5\n")
	f.Fuzz(func(t *testing.T, file string) {
		d, err := Parse("a.smtp", strings.NewReader(file))
		if err != nil {
			return
		}
		for _, s := range d.Sections {
			for _, st := range s.steps {
				if st.line == 0 {
					t.Errorf("a step without a line in %q", file)
				}
				st.text.write(&head{max: 1000}, map[string]string{"size": "10"}, 0)
			}
		}
	})
}
