package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// patience is how long scripts wait for what must happen: far longer than it takes.
const patience = 20 * time.Second

// scriptCommands are the commands of the scripts beside testscript's own.
func scriptCommands(mta string) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"status": cmdStatus,
		"start":  cmdStart,
		"mta": func(ts *testscript.TestScript, neg bool, args []string) {
			startMTA(ts, mta, args)
		},
		"signal":      cmdSignal,
		"ended":       cmdEnded,
		"waitlog":     cmdWaitLog,
		"ready":       cmdReady,
		"http":        cmdHTTP,
		"send":        cmdSend,
		"capture":     cmdCapture,
		"json":        cmdJSON,
		"jsonkeys":    cmdJSONKeys,
		"jsonlines":   cmdJSONLines,
		"arrives":     cmdArrives,
		"replace":     cmdReplace,
		"tnefsamples": cmdTNEFSamples,
		"certificate": cmdCertificate,
		"until":       cmdUntil,
	}
}

func usage(ts *testscript.TestScript, neg bool, ok bool, form string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", form)
	}
}

// status N PROGRAM ARGS...: the program ends with exit status N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 1, "status N PROGRAM ARGS...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := exitStatus(ts.Exec(args[1], args[2:]...))
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// until PATTERN PROGRAM ARGS...: the program is run again until its standard output matches; with !, until it does not.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) > 1, "until PATTERN PROGRAM ARGS...")
	re := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && re.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no match for %q", args[0])
		}
	}
}

type processesKey struct{}

// processes are those that a script started.
type processes struct {
	sync.Mutex
	byName map[string]*process
}

type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

func running(ts *testscript.TestScript, name string) *process {
	ps := ts.Value(processesKey{}).(*processes)
	ps.Lock()
	defer ps.Unlock()
	p := ps.byName[name]
	if p == nil {
		ts.Fatalf("no process %q", name)
	}
	return p
}

// start NAME PROGRAM ARGS...: runs in the background, with standard output and error in NAME.log, which begins anew.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 1, "start NAME PROGRAM ARGS...")
	startProcess(ts, args[0], args[1], args[2:])
}

func startProcess(ts *testscript.TestScript, name, path string, args []string) {
	p := &process{cmd: exec.Command(path, args...), log: ts.MkAbs(name + ".log"), done: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	ts.Check(err)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = ts.MkAbs("."), f, f
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
		f.Close()
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		<-p.done
		log, _ := os.ReadFile(p.log)
		ts.Logf("[%s.log]\n%s", name, log)
	})
	ps := ts.Value(processesKey{}).(*processes)
	ps.Lock()
	defer ps.Unlock()
	ps.byName[name] = p
}

// mta SIDE ARGS...: a fakemta at the next hop of a side, with the folder SIDE.
func startMTA(ts *testscript.TestScript, program string, args []string) {
	usage(ts, false, len(args) > 0, "mta SIDE ARGS...")
	address := ts.Getenv(strings.ToUpper(args[0]))
	startProcess(ts, args[0], program, append([]string{"--listen", address, "--dir", args[0]}, args[1:]...))
	waitLog(ts, args[0], "listening on")
}

var signals = map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}

// signal NAME TERM|INT|HUP|KILL.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2 && signals[args[1]] != nil, "signal NAME TERM|INT|HUP|KILL")
	ts.Check(running(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// ended NAME N: the process ends, with exit status N.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "ended NAME STATUS")
	p := running(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s runs still", args[0])
	}
	if got := strconv.Itoa(exitStatus(p.err)); got != args[1] {
		ts.Fatalf("%s ended with exit status %s (%v), want %s", args[0], got, p.err, args[1])
	}
}

// waitlog NAME PATTERN: the process writes a line that matches, which becomes the standard output; with !, it has not.
func cmdWaitLog(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) == 2, "waitlog NAME PATTERN")
	if neg {
		if line := matchingLine(running(ts, args[0]).log, args[1]); line != "" {
			ts.Fatalf("unexpected: %s", line)
		}
		return
	}
	fmt.Fprintln(ts.Stdout(), waitLog(ts, args[0], args[1]))
}

func waitLog(ts *testscript.TestScript, name, pattern string) string {
	p := running(ts, name)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if line := matchingLine(p.log, pattern); line != "" {
			return line
		}
	}
	ts.Fatalf("%s does not write %q", name, pattern)
	return ""
}

func matchingLine(path, pattern string) string {
	b, _ := os.ReadFile(path)
	return string(regexp.MustCompile("(?m)^.*" + pattern + ".*$").Find(b))
}

// ready CODE: /readyz answers with the code, soon.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "ready CODE")
	end, last := time.Now().Add(patience), ""
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		code, body, err := httpDo(ts, "GET", "/readyz")
		if err == nil && strconv.Itoa(code) == args[0] {
			fmt.Fprint(ts.Stdout(), body)
			return
		}
		last = fmt.Sprint(code, body, err)
	}
	ts.Fatalf("/readyz: %s, want %s", last, args[0])
}

// http CODE METHOD PATH: the admin address answers with the code; the body is the standard output.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "http CODE METHOD PATH")
	code, body, err := httpDo(ts, args[1], args[2])
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), body)
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s %s: %d, want %s", args[1], args[2], code, args[0])
	}
}

func httpDo(ts *testscript.TestScript, method, path string) (int, string, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(method, "http://"+ts.Getenv("ADMIN")+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// clients are the addresses that the sides of testdata/coexist.toml come from.
var clients = map[string]string{"internet": "127.0.0.1", "onprem": "127.0.1.1", "cloud": "127.0.2.1"}

// send SIDE SENDER RCPT,RCPT... [FILE]: one message over SMTP. The replies are the standard output, a line each, with the command in front.
func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, (len(args) == 3 || len(args) == 4) && clients[args[0]] != "", "send SIDE SENDER RCPT,RCPT... [FILE]")
	message := "From: " + args[1] + "\r\nMessage-ID: <" + args[0] + "@fabrikam.com>\r\nSubject: sample\r\n\r\nsample\r\n"
	if len(args) == 4 {
		message = strings.ReplaceAll(ts.ReadFile(args[3]), "\n", "\r\n")
	}
	ts.Check(send(ts.Stdout(), clients[args[0]], ts.Getenv("GW"), args[1], strings.Split(args[2], ","), message))
}

func send(out io.Writer, from, to, sender string, recipients []string, message string) error {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * patience))
	c := textproto.NewConn(nc)
	if _, _, err := c.ReadResponse(220); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	say := func(name, line string) (int, error) {
		if err := c.PrintfLine("%s", line); err != nil {
			return 0, err
		}
		code, text, err := c.ReadResponse(0)
		if name != "" {
			fmt.Fprintf(out, "%s: %d %s\n", name, code, text)
		}
		return code, err
	}
	accepted := 0
	for _, step := range append([]string{"EHLO client.example", "MAIL FROM:<" + sender + ">"}, recipients...) {
		name, line := "", step
		if !strings.HasPrefix(step, "EHLO") && !strings.HasPrefix(step, "MAIL") {
			name, line = step, "RCPT TO:<"+step+">"
		} else if strings.HasPrefix(step, "MAIL") {
			name = "MAIL"
		}
		code, err := say(name, line)
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "RCPT") && code == 250 {
			accepted++
		}
	}
	if accepted == 0 {
		_, err := say("", "QUIT")
		return err
	}
	if _, err := say("", "DATA"); err != nil {
		return err
	}
	w := c.DotWriter()
	if _, err := io.WriteString(w, message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	code, text, err := c.ReadResponse(0)
	fmt.Fprintf(out, "END: %d %s\n", code, text)
	if err != nil {
		return err
	}
	_, err = say("", "QUIT")
	return err
}

// capture NAME PATTERN: the first group of the match in the standard output becomes a variable.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "capture NAME PATTERN")
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("no match for %q", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// json PATH WANT: a value of the JSON in standard output. PATH is like .0.next_hop.0; WANT is a value in JSON, or one of the words string,
// number, object, array, time, length=N, absent, or ~PATTERN for a string.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "json PATH WANT")
	var root any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &root))
	got, ok := at(root, args[0])
	if err := compare(got, ok, args[1]); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

func at(v any, path string) (any, bool) {
	for _, step := range strings.Split(strings.TrimPrefix(path, "."), ".") {
		if step == "" {
			continue
		}
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func compare(got any, present bool, want string) error {
	text, err := json.Marshal(got)
	if err != nil {
		return err
	}
	is := func(ok bool) error {
		if !present || !ok {
			return fmt.Errorf("%s (present: %v), want %s", text, present, want)
		}
		return nil
	}
	s, isString := got.(string)
	list, isList := got.([]any)
	if n, ok := strings.CutPrefix(want, "length="); ok {
		return is(isList && strconv.Itoa(len(list)) == n)
	}
	if pattern, ok := strings.CutPrefix(want, "~"); ok {
		return is(isString && regexp.MustCompile(pattern).MatchString(s))
	}
	switch want {
	case "absent":
		if present {
			return fmt.Errorf("%s, want it absent", text)
		}
		return nil
	case "string":
		return is(isString)
	case "number":
		_, ok := got.(float64)
		return is(ok)
	case "object":
		_, ok := got.(map[string]any)
		return is(ok)
	case "array":
		return is(isList)
	case "time":
		_, err := time.Parse(time.RFC3339, s)
		return is(isString && err == nil)
	}
	var v any
	if err := json.Unmarshal([]byte(want), &v); err != nil {
		return fmt.Errorf("%q is neither JSON nor a word of this command: %w", want, err)
	}
	wantText, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return is(bytes.Equal(text, wantText))
}

// jsonkeys PATH KEY...: the object has these keys; others are allowed.
func cmdJSONKeys(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 1, "jsonkeys PATH KEY...")
	var root any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &root))
	v, _ := at(root, args[0])
	object, ok := v.(map[string]any)
	if !ok {
		ts.Fatalf("%s is no object", args[0])
	}
	var missing []string
	for _, key := range args[1:] {
		if _, ok := object[key]; !ok {
			missing = append(missing, key)
		}
	}
	sort.Strings(missing)
	if len(missing) > 0 {
		ts.Fatalf("%s has no %s", args[0], strings.Join(missing, ", "))
	}
}

// jsonlines FILE: every line of the file is a JSON object.
func cmdJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "jsonlines FILE")
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
	}
}

// arrives FOLDER N RCPT: fakemta's message N in a folder is to these recipients, in any order. The message becomes the standard output.
func cmdArrives(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "arrives FOLDER N RCPT,RCPT...")
	base := filepath.Join(ts.MkAbs(args[0]), args[1])
	var envelope struct{ Recipients []string }
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(base + ".json")
		if err == nil && json.Unmarshal(b, &envelope) == nil {
			break
		}
		if time.Now().After(end) {
			ts.Fatalf("message %s does not arrive in %s", args[1], args[0])
		}
	}
	sort.Strings(envelope.Recipients)
	want := strings.Split(args[2], ",")
	sort.Strings(want)
	if got := strings.Join(envelope.Recipients, ","); got != strings.Join(want, ",") {
		ts.Fatalf("it is to %s, want %s", got, strings.Join(want, ","))
	}
	message, err := os.ReadFile(base + ".eml")
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(string(message), "\r\n", "\n"))
}

// replace FILE PATTERN TEXT: in every line that matches; at least one must. \n in the text is a line break.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "replace FILE PATTERN TEXT")
	re := regexp.MustCompile("(?m)" + args[1])
	text := ts.ReadFile(args[0])
	if !re.MatchString(text) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(re.ReplaceAllString(text, strings.ReplaceAll(args[2], `\n`, "\n"))), 0o600))
}

// tnefsamples: writes winmail.dat, the message winmail.eml that holds it, and cut.dat, of which nothing can be read.
func cmdTNEFSamples(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 0, "tnefsamples")
	stream := tneftest.Stream{
		Class: "IPM.Note", Codepage: 1252,
		Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "Forecast"), tneftest.Text(mapi.TagBody, "The forecast is attached.\r\n")},
		Attachments: []tneftest.Attachment{{Data: []byte("region;amount\r\nnorth;17\r\n"), Title: "FORECAST.CSV",
			Props: []mapi.Property{tneftest.Text(mapi.TagAttachLongFilename, "forecast.csv")}}},
	}
	header := "From: meganb@contoso.com\r\nTo: adelev@contoso.com\r\nSubject: Forecast\r\nMessage-ID: <forecast@contoso.com>\r\n"
	cut := []byte("\x78\x9f\x3e\x22\x01\x00nothing that could be read")
	for name, data := range map[string][]byte{
		"winmail.dat": stream.Bytes(), "winmail.eml": tneftest.Wrap(header, "", stream.Bytes()),
		"cut.dat": cut, "cut.eml": tneftest.Wrap(header, "", cut), "empty": nil,
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
	}
}

// certificate BASE NAME...: a self-signed certificate for the names, as BASE.crt and BASE.key.
func cmdCertificate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 1, "certificate BASE NAME...")
	pair, _, err := fakemta.NewCertificate(args[1:]...)
	ts.Check(err)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, ".key": {Type: "PRIVATE KEY", Bytes: key}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), pem.EncodeToMemory(block), 0o600))
	}
}
