package peers_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/peers/peertest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rtf"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

const mib = 1 << 20

// TestIdleConnections: clients that say nothing cost little, and the one above the limit is told so.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	const n = 2000
	g := start(t, setup{Limits: fmt.Sprintf("connections = %d\nconnections_per_client = %d", n, n)})
	before, _ := g.rss()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, g.addr, fmt.Sprintf("127.0.3.%d", 1+i%200))
		if i%2 == 0 {
			clients[i].ehlo()
		}
	}
	now, _ := g.rss()
	t.Logf("%d idle connections: %d octets of memory each", n, (now-before)/n)
	if each := (now - before) / n; each > 40<<10 {
		t.Errorf("%d octets for an idle connection, want 40 KiB at most", each)
	}
	nc, err := dialFrom(g.addr, internet)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b := make([]byte, 100)
	if k, _ := nc.Read(b); !strings.HasPrefix(string(b[:k]), "421 4.3.2 ") {
		t.Errorf("the connection above the limit hears %q", b[:k])
	}
	for _, c := range clients {
		c.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nc, err := dialFrom(g.addr, internet)
		if err == nil {
			k, _ := nc.Read(b)
			nc.Close()
			if strings.HasPrefix(string(b[:k]), "220 ") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no connection after all were closed")
		}
	}
}

// TestSlowClients: hundreds of clients send an octet now and then, in every part of the dialogue. They cost little, are not answered before
// they are through, and nobody else waits for them.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	cert, key := peertest.Certificate(t, t.TempDir(), "gw1.contoso.com")
	sink := mta(t)
	g := start(t, setup{
		OnPrem: []string{sink.Addr()}, Listener: fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key),
		Limits: "connections = 2000\nconnections_per_client = 2000", // far more than come: with most places taken it would be less patient
	})
	const begin = "EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\n"
	const recipient = "RCPT TO:<adelev@contoso.com>\r\n"
	phases := []struct {
		before string // sent at once
		drip   string // sent octet by octet
	}{
		{"", "EHLO client.example.that.has.a.long.name"},
		{"EHLO client.example\r\n", "MAIL FROM:<someone.with.a.long.name@fabrikam.com>"},
		{begin, "RCPT TO:<somebody.with.a.long.name@contoso.com>"},
		{begin + recipient + "DATA\r\n", "Subject: a long one that does not end"},
		{begin + recipient + "DATA\r\n", "Subject: x\r\n\r\n.\r.\n\r\n..x\r\n."},
		{begin + recipient + "BDAT 1000 LAST\r\n", "Subject: x\r\n\r\n.\r\n.\r\n"},
		{"EHLO client.example\r\nSTARTTLS\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	}
	const each = 60
	before, _ := g.rss()
	var clients []*client
	for range each {
		for i, p := range phases {
			c := dial(t, g.addr, fmt.Sprintf("127.0.3.%d", 1+i))
			c.send(p.before)
			clients = append(clients, c)
		}
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // all of them, over and over
		for n := 0; ; n++ {
			for i, c := range clients {
				if drip := phases[i%len(phases)].drip; n < len(drip) {
					c.Write([]byte{drip[n]})
				}
			}
			select {
			case <-quit:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	var worst time.Duration
	for range 20 {
		began := time.Now()
		if reply := g.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
			t.Errorf("reply %q", reply)
		}
		worst = max(worst, time.Since(began))
		time.Sleep(50 * time.Millisecond)
	}
	close(quit)
	wg.Wait()
	now, _ := g.rss()
	perClient := (now - before) / int64(len(clients))
	t.Logf("%d slow clients: %d octets of memory each; the slowest of 20 messages of another took %v", len(clients), perClient, worst.Round(time.Millisecond))
	if perClient > 64<<10 {
		t.Errorf("%d octets for a slow client, want 64 KiB at most", perClient)
	}
	if worst > 5*time.Second {
		t.Errorf("another client waited for %v", worst)
	}
	waitFor(t, sink, 20)
	if n := len(sink.Messages()); n != 20 {
		t.Errorf("%d messages came out, want the 20 that were whole", n)
	}
}

// TestMessagesInFlight: many clients stop in the middle of a message. What they hold is bounded by the part of a message that is kept in
// memory; all of them together cannot end the process.
func TestMessagesInFlight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		n    int
		size int // sent of each
		each int64
	}{
		{"kept in memory", 300, 1000 << 10, mib + 128<<10},
		{"kept in a file", 200, 2 * mib, 256 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) { messagesInFlight(t, tt.n, tt.size, tt.each) })
	}
}

func messagesInFlight(t *testing.T, n, size int, atMost int64) {
	g := start(t, setup{Limits: "connections = 1100\nconnections_per_client = 1100"})
	before, _ := g.rss()
	var wg sync.WaitGroup
	part := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64)
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, g.addr, internet)
		clients[i].send("EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\nDATA\r\n")
		wg.Go(func() { io.WriteString(clients[i].Conn, part) })
	}
	wg.Wait()
	time.Sleep(300 * time.Millisecond)
	now, peak := g.rss()
	each := (now - before) / int64(n)
	t.Logf("%d messages of %d KiB in flight: %d KiB of memory each, %d MiB at most", n, size>>10, each>>10, peak>>20)
	if each > atMost {
		t.Errorf("%d octets for a message in flight", each)
	}
	g.alive()
}

// flood sends octets as a message, as long as the gateway reads them, and returns the reply.
func flood(t *testing.T, g *process, part string, times int) string {
	t.Helper()
	c := dial(t, g.addr, internet)
	defer c.Close()
	c.ehlo()
	c.say("MAIL FROM:<someone@fabrikam.com>", "250")
	c.say("RCPT TO:<adelev@contoso.com>", "250")
	c.say("DATA", "354")
	for range times {
		if _, err := io.WriteString(c.Conn, part); err != nil {
			break // refused already: the reply says so
		}
	}
	io.WriteString(c.Conn, "\r\n.\r\n")
	return c.reply()
}

// TestBombs: messages that are made to cost much are taken or refused, within memory and time, and the gateway works on.
func TestBombs(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	g := start(t, setup{OnPrem: []string{sink.Addr()}, Delivery: `ack_after = "30s"`})
	bomb := func(header string, stream tneftest.Stream) string {
		return string(tneftest.Wrap(header, "text\r\n", stream.Bytes()))
	}
	const winmail = "Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	for _, tt := range []struct {
		name, part string
		times      int
		want       string
	}{
		{"one header field of 100 MiB", " " + strings.Repeat("x", 1000) + "\r\n", 100 * mib / 1003, "250|550|552"},
		{"90,000 header fields", "X-Field: value\r\n", 90_000, "250|550|552"},
		{"10 MB of Received", "Received: from a by b; " + strings.Repeat("x", 900) + "\r\n", 11_000, "554 5.4.6|552|550"},
		{"nested 3000 deep", nested(3000, winmail), 1, "250|550"},
		{"50,000 parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n"+winmail+"AAAA\r\n", 50_000), 1, "250|550"},
		{"a boundary of 300 octets", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 300) + "\r\n\r\n" + strings.Repeat("--"+strings.Repeat("b", 300)+"\r\n"+winmail+"AAAA\r\n", 1000), 1, "250|550"},
		{"an empty boundary", "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n" + strings.Repeat("--\r\n"+winmail+"AAAA\r\n", 1000), 1, "250|550"},
		{"nested with one boundary", strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 2000) + winmail, 1, "250|550"},
		{"lines that begin like a boundary", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--\r\n", 1_000_000), 1, "250|550"},
		{"text of dashes", "Content-Type: multipart/mixed; boundary=" + strings.Repeat("-", 60) + "\r\n\r\n" + strings.Repeat(strings.Repeat("-", 61)+"\r\n", 100_000) + winmail, 1, "250|550"},
		{"RTF that grows", bomb("Subject: rtf\r\n", tneftest.Stream{Props: []mapi.Property{growingRTF(`{\rtf1 x`, 64*mib)}}), 1, "250|550"},
		{"RTF of groups", bomb("Subject: rtf\r\n", tneftest.Stream{Props: []mapi.Property{growingRTF(`{\rtf1 {`, 4*mib)}}), 1, "250|550"},
		{"100,000 attachments", bomb("Subject: attachments\r\n", tneftest.Stream{Attachments: make([]tneftest.Attachment, 100_000)}), 1, "250|550"},
		{"messages in messages", bomb("Subject: nested\r\n", russian(60)), 1, "250|550"},
		{"90,000 fields and winmail.dat", strings.Repeat("X-Field: value\r\n", 90_000) + bomb("Subject: x\r\n", tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, "text")}}), 1, "250|550|552"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := g.cpu()
			reply := flood(t, g, tt.part, tt.times)
			took := g.cpu() - began
			_, peak := g.rss()
			t.Logf("%.60s after %v of the processor; %d MiB of memory at most so far", reply, took, peak>>20)
			if !matches(reply, tt.want) {
				t.Errorf("reply %q, want %q", reply, tt.want)
			}
			if took > 20*time.Second { // not by the clock, which others who run share
				t.Errorf("it took %v of the processor", took)
			}
			if peak > 1200*mib {
				t.Errorf("%d MiB of memory", peak>>20)
			}
			g.alive()
		})
	}
}

// growingRTF is compressed RTF ([MS-OXRTFCP] 2.2) of a text whose last octet comes at least n times more, made without compressing all of
// it: by references of 17 octets each, of which every one begins at the octet before.
func growingRTF(text string, n int) mapi.Property {
	const dictionary, preset, longest = 4096, 207, 17
	var tokens []byte
	position, control, count := preset, 0, 0
	token := func(kind byte, octets ...byte) { // kind: 1 is a reference
		if count%8 == 0 {
			control = len(tokens)
			tokens = append(tokens, 0)
		}
		tokens[control] |= kind << (count % 8)
		tokens = append(tokens, octets...)
		count++
	}
	for _, c := range []byte(text) {
		token(0, c)
		position++
	}
	end := position + n
	for ; position < end; position += longest {
		reference := (position-1)%dictionary<<4 | longest - 2
		token(1, byte(reference>>8), byte(reference))
	}
	reference := position % dictionary << 4 // to itself: the end
	token(1, byte(reference>>8), byte(reference))
	stream := binary.LittleEndian.AppendUint32(nil, uint32(len(tokens)+12))
	stream = binary.LittleEndian.AppendUint32(stream, uint32(position-preset))
	stream = append(stream, "LZFu"...)
	stream = binary.LittleEndian.AppendUint32(stream, tneftest.RTFChecksum(tokens))
	return tneftest.Binary(mapi.TagRtfCompressed, append(stream, tokens...))
}

// TestGrowingRTF: what is made to be a bomb is compressed RTF.
func TestGrowingRTF(t *testing.T) {
	for _, n := range []int{0, 1, 17, 18, 10_000} {
		text, warnings, err := rtf.Decompress(growingRTF(`{\rtf1 x`, n).Value.([]byte), 1<<20)
		want := `{\rtf1 x` + strings.Repeat("x", n)
		if err != nil || len(warnings) != 0 || !strings.HasPrefix(string(text), want) || strings.Trim(string(text[len(want):]), "x") != "" {
			t.Errorf("%d: %v, %q, %d octets: %.100q", n, err, warnings, len(text), text)
		}
	}
}

// nested is a message of multiparts in multiparts, with a part at the bottom.
func nested(depth int, part string) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String() + part
}

// russian is a message in a message in a message.
func russian(depth int) tneftest.Stream {
	s := tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, strings.Repeat("text ", 1000))}}
	for range depth {
		inner := s
		s = tneftest.Stream{Attachments: []tneftest.Attachment{{Title: "a", Message: &inner}}}
	}
	return s
}

// TestManyBombs: messages whose conversion needs much memory come at once, and are not converted all at once.
func TestManyBombs(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	g := start(t, setup{OnPrem: []string{sink.Addr()}, Delivery: `ack_after = "60s"`, Processors: "2"})
	stream := tneftest.Stream{Props: []mapi.Property{growingRTF(`{\rtf1 x`, 16*mib)}}
	message := string(tneftest.Wrap("Subject: rtf\r\n", "text\r\n", stream.Bytes()))
	var wg sync.WaitGroup
	const n = 8
	for range n {
		wg.Go(func() {
			if !try(g.addr, toOnPrem, message) {
				t.Error("not acknowledged")
			}
		})
	}
	wg.Wait()
	_, peak := g.rss()
	t.Logf("%d messages of %d KiB: %d MiB of memory at most", n, len(message)>>10, peak>>20)
	if peak > 800*mib { // all at once they take some 1,200
		t.Errorf("%d MiB of memory", peak>>20)
	}
	if got := len(sink.Messages()); got != n {
		t.Errorf("%d messages arrived, want %d", got, n)
	}
}

// TestCrowdOfGroups: 500 recipients that are groups of everybody reach each member once.
func TestCrowdOfGroups(t *testing.T) {
	t.Parallel()
	sinks := [2]string{}
	onPrem, inCloud := mta(t), mta(t)
	sinks[0], sinks[1] = onPrem.Addr(), inCloud.Addr()
	var ldif strings.Builder
	const people, groups = 100, 500
	ldif.WriteString(crowd(people))
	for n := range groups {
		fmt.Fprintf(&ldif, "dn: CN=Group %d,OU=Groups,DC=contoso,DC=com\nobjectClass: group\nmail: group%d@contoso.com\nproxyAddresses: SMTP:group%d@contoso.com\n", n, n, n)
		for i := range people {
			fmt.Fprintf(&ldif, "member: CN=User %d,OU=Employees,DC=contoso,DC=com\n", i)
		}
		fmt.Fprintf(&ldif, "member: CN=Group %d,OU=Groups,DC=contoso,DC=com\n\n", n/20*20+(n+1)%20) // rings of 20 groups
	}
	g := start(t, setup{OnPrem: sinks[:1], Cloud: sinks[1:], LDIF: ldif.String()})
	c := dial(t, g.addr, internet)
	c.ehlo()
	c.say("MAIL FROM:<someone@fabrikam.com>", "250")
	commands := ""
	for n := range groups + 1 {
		commands += fmt.Sprintf("RCPT TO:<group%d@contoso.com>\r\n", n)
	}
	began := time.Now()
	c.send(commands)
	for range groups {
		c.expect("250 2.1.5")
	}
	c.expect("452 4.5.3")
	c.say("DATA", "354")
	c.send(small + ".\r\n")
	c.expect("250 2.0.0")
	_, peak := g.rss()
	t.Logf("%d groups of %d: %v, %d MiB of memory at most", groups, people, time.Since(began).Round(time.Millisecond), peak>>20)
	total := 0
	for _, m := range append(waitFor(t, onPrem, 1), waitFor(t, inCloud, 1)...) {
		total += len(m.Recipients)
	}
	if total != people {
		t.Errorf("%d recipients, want %d", total, people)
	}
}
