// Package demo shows the gateway at work: a sample directory, a gateway, and fake MTAs in one process, and mail of every kind sent
// through it over real SMTP.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/testdata"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Options change a demo. The zero value runs it once.
type Options struct {
	Out io.Writer
	// Log gets the gateway's log; nil discards it.
	Log *slog.Logger
	// Keep, when not nil, leaves everything running until it is done.
	Keep context.Context
	// Dir holds spool and directory; empty is a temporary folder that is removed in the end.
	Dir string
}

// stage is the running demo.
type stage struct {
	out   io.Writer
	gw    *gateway.Gateway
	addr  string
	sides []side
}

// side is a fake MTA.
type side struct {
	name routing.Side
	mta  *fakemta.Server
	seen int
}

// Run runs the demo. Its error says what did not go as the demo promises.
func Run(o Options) (err error) {
	dir := o.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "coexist-demo-"); err != nil {
			return fmt.Errorf("making a folder for the demo: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	s := &stage{out: o.Out}
	for _, name := range []routing.Side{routing.OnPrem, routing.Cloud, routing.Internet} {
		mta, err := fakemta.Start(fakemta.Options{Hostname: string(name) + ".example"})
		if err != nil {
			return fmt.Errorf("starting the fake %s MTA: %w", name, err)
		}
		defer mta.Close()
		s.sides = append(s.sides, side{name: name, mta: mta})
	}
	stop, err := s.start(dir, o.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := s.play(); err != nil {
		return err
	}
	if o.Keep != nil {
		s.keep(o.Keep, dir)
	}
	return nil
}

// start starts the gateway between the fake MTAs.
func (s *stage) start(dir string, log *slog.Logger) (stop func() error, err error) {
	ldif := filepath.Join(dir, "contoso.ldif")
	if err := os.WriteFile(ldif, []byte(testdata.LDIF), 0o600); err != nil {
		return nil, fmt.Errorf("writing the sample directory: %w", err)
	}
	cfg := gatewaytest.Config(filepath.Join(dir, "data"), ldif, s.sides[0].mta.Addr(), s.sides[1].mta.Addr(), s.sides[2].mta.Addr())
	if s.gw, err = gateway.New(cfg, gateway.Options{Logger: log}); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	s.addr = s.gw.Addrs()[0].String()
	served := make(chan error, 1)
	go func() { served <- s.gw.Run() }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(s.gw.Shutdown(ctx), <-served)
	}, s.waitReady()
}

// waitReady waits for the first view.
func (s *stage) waitReady() error {
	for range 100 {
		if d := s.gw.Route(routing.Internet, "", "meganb@contoso.com"); d.Action == routing.Relay {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the sample directory was not loaded")
}

// play sends every sample and prints what became of it.
func (s *stage) play() error {
	fmt.Fprintf(s.out, "A gateway for contoso.com on %s, between fake MTAs for on-prem (Notes), the cloud (Exchange Online) and the internet.\n"+
		"The directory is the sample of this project; every message goes over real SMTP.\n\n", s.addr)
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tFROM\tTO\tTHE GATEWAY ANSWERED\tARRIVED AT\tAS")
	var failed []string
	for _, sm := range samples() {
		if err := s.send(w, sm); err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", sm.what, err))
		}
	}
	w.Flush()
	s.explain()
	if failed != nil {
		return errors.New("the demo did not go as it should:\n  " + strings.Join(failed, "\n  "))
	}
	return nil
}

// send sends one sample, prints its rows, and compares what happened with what the sample promises.
func (s *stage) send(w io.Writer, sm sample) error {
	reply, err := s.transact(sm)
	if err != nil {
		return err
	}
	arrived := s.collect(len(sm.arrives))
	to := strings.Join(sm.to, ", ")
	if len(arrived) == 0 {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t-\t-\n", sm.what, sm.from, to, short(reply))
	}
	var got []string
	for i, a := range arrived {
		what, from, answer := sm.what, string(sm.from), short(reply)
		if i > 0 {
			what, from, to, answer = "", "", "", ""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", what, from, to, answer, a.side, strings.Join(a.message.Recipients, ", ")+shape(a.message, sm))
		for _, r := range a.message.Recipients {
			got = append(got, string(a.side)+" "+r)
		}
	}
	return compare(sm, reply, got)
}

// short is a reply that fits a column.
func short(reply string) string {
	reply, _, _ = strings.Cut(reply, ",")
	return strings.TrimSuffix(reply, " accepted")
}

func compare(sm sample, reply string, got []string) error {
	if !strings.HasPrefix(reply, sm.reply) {
		return fmt.Errorf("the reply was %q, and should begin with %s", reply, sm.reply)
	}
	want := map[string]bool{}
	for _, a := range sm.arrives {
		want[a] = true
	}
	for _, g := range got {
		if !want[g] {
			return fmt.Errorf("it arrived at %s, and should not", g)
		}
		delete(want, g)
	}
	for a := range want {
		return fmt.Errorf("it did not arrive at %s", a)
	}
	return nil
}

// transact returns the last reply: to the message, or to the first command that was refused.
func (s *stage) transact(sm sample) (string, error) {
	nc, err := gatewaytest.DialFrom(sm.from, s.addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := smtp.NewClient(nc, "gw1.contoso.com")
	if err != nil {
		return "", err
	}
	if err := c.Hello("client.example"); err != nil {
		return "", err
	}
	reply, err := gatewaytest.Transact(c, sm.sender, sm.to, sm.message)
	var refused *textproto.Error
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%d %s", refused.Code, refused.Msg), nil
	case err != nil:
		return "", err
	}
	c.Quit()
	return "250 " + reply, nil
}

// arrival is a message at a fake MTA.
type arrival struct {
	side    routing.Side
	message fakemta.Message
}

// collect gives what arrived since the last time. The gateway acknowledges what is delivered, so it is there already; when something is
// expected that is not, it waits a little.
func (s *stage) collect(recipients int) (arrived []arrival) {
	for range 100 {
		n := 0
		for i := range s.sides {
			for _, m := range s.sides[i].mta.Messages()[s.sides[i].seen:] {
				n += len(m.Recipients)
			}
		}
		if n >= recipients {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i := range s.sides {
		all := s.sides[i].mta.Messages()
		for _, m := range all[s.sides[i].seen:] {
			arrived = append(arrived, arrival{s.sides[i].name, m})
		}
		s.sides[i].seen = len(all)
	}
	return arrived
}

// shape tells the MIME structure of a message where it changed on the way.
func shape(m fakemta.Message, sm sample) string {
	before, after := structure([]byte(sm.message)), structure(m.Data)
	if before == after {
		return ""
	}
	return fmt.Sprintf("  (was %s; is %s)", before, after)
}

func structure(msg []byte) string {
	root, err := rawmime.Walk(msg, rawmime.Limits{})
	if err != nil {
		return "?"
	}
	return describe(root)
}

func describe(p *rawmime.Part) string {
	if len(p.Children) == 0 {
		if n := p.Name(); n != "" {
			return n
		}
		return p.Type
	}
	parts := make([]string, len(p.Children))
	for i, c := range p.Children {
		parts[i] = describe(c)
	}
	return strings.TrimPrefix(p.Type, "multipart/") + "(" + strings.Join(parts, ", ") + ")"
}

// explain shows the router's reasons, as `coexist route` does.
func (s *stage) explain() {
	fmt.Fprint(s.out, "\nWhy, as `coexist route` explains it:\n\n")
	for _, q := range []struct {
		from routing.Side
		to   string
	}{
		{routing.Internet, "adelev@contoso.com"}, {routing.Internet, "meganb@contoso.com"}, {routing.Internet, "salesteam@contoso.com"},
		{routing.Internet, "kim.akers@contoso.com"}, {routing.Internet, "nobody@contoso.com"}, {routing.Cloud, "meganb@contoso.com"},
		{routing.Internet, "someone@fabrikam.com"},
	} {
		fmt.Fprintf(s.out, "from %s:\n%s\n", q.from, s.gw.Route(q.from, "", q.to).Explain())
	}
}

// keep leaves everything running.
func (s *stage) keep(ctx context.Context, dir string) {
	fmt.Fprintf(s.out, "Still running. Send mail to %s: from 127.0.0.1 as the internet, from 127.0.1.1 as on-prem, from 127.0.2.1 as the cloud.\n"+
		"  swaks --server %s --from someone@fabrikam.com --to meganb@contoso.com\n"+
		"  swaks --server %s --local-interface 127.0.1.1 --from adelev@contoso.com --to meganb@contoso.com\n"+
		"  curl http://%s/metrics\n"+
		"The directory is %s: change it, and the gateway follows. Ctrl-C ends.\n\n", s.addr, s.addr, s.addr, s.gw.AdminAddr(), filepath.Join(dir, "contoso.ldif"))
	for {
		for _, a := range s.collect(0) {
			fmt.Fprintf(s.out, "%s got a message from <%s> for %s (%d octets)\n", a.side, a.message.Sender, strings.Join(a.message.Recipients, ", "), a.message.Size)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
