package outbound

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"
)

// pipelineBody is the largest content that goes out before the replies to its envelope are known. A larger one would cost
// more to send for nothing than the round trip it saves.
const pipelineBody = 1 << 20

// writeBlock is how much is written within one Timeouts.DataBlock.
const writeBlock = 1 << 20

var errNoDowngrade = errors.New("octets over 127 where no part is")

// rcptTo is one recipient of a transaction.
type rcptTo struct {
	index int // in the request
	line  string
	reply reply // to RCPT
}

// transaction is one MAIL, its RCPTs and its content on one connection.
type transaction struct {
	c    *conn
	d    *delivery
	mail string
	rcpt []rcptTo
	body *body

	stage     Stage
	kept      bool // the connection was used before
	early     bool // the content went out together with the envelope
	answered  bool // a reply to this transaction came
	committed bool // all of the content is with the peer, or may be
}

// lost is why the connection ended in a transaction.
type lost struct {
	stage Stage
	reply *smtp.SMTPError // what the recipients without a result are told if nothing better comes
	// again: the peer took nothing, so that the rest may be sent at once on another connection.
	again bool
	// here: a new connection to the same host is worth a try: it said 421, or a kept connection broke.
	here bool
}

// transact sends the message to the recipients with the given indices and sets the results of those that are settled. nil
// says that the recipients without a result belong into another transaction, and that at least one has a result. Not nil, it
// says that the connection is of no more use, and whether those without a result may be sent again.
func (c *conn) transact(ctx context.Context, d *delivery, indices []int) (l *lost) {
	stop := context.AfterFunc(ctx, c.abort)
	defer func() {
		if !stop() && l == nil { // aborted at the very end: the results stand, the connection does not
			l = &lost{stage: StageEOD, reply: deferral(smtp.EnhancedCode{4, 4, 2}, "delivery was stopped")}
		}
	}()
	t := &transaction{c: c, d: d, kept: c.uses > 0}
	c.uses++
	if !t.prepare(indices) {
		return nil
	}
	if l = t.envelope(); l != nil {
		return l
	}
	return t.content()
}

// envelope sends what comes before the content, in one write where the peer pipelines, and reads the replies.
func (t *transaction) envelope() *lost {
	if !t.c.ext.pipelining {
		return t.envelopeInSteps()
	}
	c := t.c
	out := c.out[:0]
	reset := c.needReset
	if reset {
		out = append(out, "RSET\r\n"...)
	}
	out = append(append(out, t.mail...), "\r\n"...)
	for i := range t.rcpt {
		out = append(append(out, t.rcpt[i].line...), "\r\n"...)
	}
	// Not behind a RSET: a peer that refuses it would take the content for the recipients of the message before.
	t.early = c.ext.chunking && t.kept && !reset && t.body.size <= pipelineBody
	bufs := [][]byte{out}
	switch {
	case t.early:
		out = t.appendBDAT(out)
		bufs = append([][]byte{out}, t.body.segments...)
	case !c.ext.chunking:
		out = append(out, "DATA\r\n"...)
		bufs[0] = out
	}
	c.out = out
	t.stage, c.needReset = StageMAIL, true
	if err := c.write(bufs); err != nil {
		return t.writeFailed(err)
	}
	t.committed = t.early
	return t.envelopeReplies(reset)
}

func (t *transaction) appendBDAT(out []byte) []byte {
	out = append(out, "BDAT "...)
	out = strconv.AppendInt(out, t.body.size, 10)
	return append(out, " LAST\r\n"...)
}

func (t *transaction) envelopeReplies(reset bool) *lost {
	if reset {
		if r, err := t.read(t.c.timeouts.Command); err != nil || !r.positive() {
			return t.failed(r, err)
		}
		t.answered = false
	}
	mail, err := t.read(t.c.timeouts.Command)
	if err != nil || mail.code == 421 {
		return t.failed(mail, err)
	}
	t.stage = StageRCPT
	for i := range t.rcpt {
		r, err := t.read(t.c.timeouts.Command)
		if err != nil || r.code == 421 {
			return t.envelopeCut(mail, r, err)
		}
		t.rcpt[i].reply = r
	}
	return t.settleMail(mail)
}

// envelopeCut is for a connection that ended among the replies. A peer that refused MAIL and hung up has said enough. The recipients
// that it refused for good before it hung up are settled: peers hang up after so many refusals, and would hang up at the same
// recipients at each attempt, so that those behind them never got their turn.
func (t *transaction) envelopeCut(mail, r reply, err error) *lost {
	if mail.code/100 < 4 {
		for _, rcpt := range t.rcpt {
			if rcpt.reply.code/100 == 5 && t.d.advise(rcpt.reply).Action != SplitRecipients {
				t.settle([]int{rcpt.index}, rcpt.reply, StageRCPT)
			}
		}
		return t.failed(r, err)
	}
	t.settleMail(mail)
	t.settleRefused()
	return &lost{stage: StageMAIL, reply: mail.smtpError()}
}

// envelopeInSteps is for peers without PIPELINING.
func (t *transaction) envelopeInSteps() *lost {
	c := t.c
	if c.needReset {
		if r, err := t.step("RSET"); err != nil || !r.positive() {
			return t.failed(r, err)
		}
		t.answered = false
	}
	t.stage, c.needReset = StageMAIL, true
	mail, err := t.step(t.mail)
	if err != nil || mail.code == 421 {
		return t.failed(mail, err)
	}
	if mail.positive() {
		t.stage = StageRCPT
		for i := range t.rcpt {
			r, err := t.step(t.rcpt[i].line)
			if err != nil || r.code == 421 {
				return t.envelopeCut(mail, r, err)
			}
			t.rcpt[i].reply = r
		}
	}
	return t.settleMail(mail)
}

// settleMail gives every recipient the reply to MAIL when that was refused.
func (t *transaction) settleMail(mail reply) *lost {
	if mail.positive() {
		return nil
	}
	t.stage = StageMAIL
	if mail.code/100 == 3 {
		return t.failed(mail, nil)
	}
	for i := range t.rcpt {
		t.rcpt[i].reply = mail
	}
	return nil
}

// content settles the refused recipients and sends the content for the others. It sees to it that a peer that has the
// content of nobody, or waits for it, takes nothing.
func (t *transaction) content() *lost {
	accepted, l := t.settleRefused()
	pipelinedDATA := t.c.ext.pipelining && !t.c.ext.chunking
	switch {
	case l != nil:
		return l
	case t.early: // the reply must be read even when nobody was accepted
		return t.final(accepted)
	case len(accepted) > 0:
		return t.sendContent(accepted, pipelinedDATA)
	case pipelinedDATA:
		return t.dropDATA()
	}
	return nil
}

// settleRefused sets the results of the recipients that the envelope's replies settled, but for those that belong into
// another transaction. When nobody was accepted there are none of those: a transaction of their own would be told the same.
func (t *transaction) settleRefused() (accepted []int, l *lost) {
	some := slices.ContainsFunc(t.rcpt, func(r rcptTo) bool { return r.reply.positive() })
	for _, r := range t.rcpt {
		switch {
		case r.reply.positive():
			accepted = append(accepted, r.index)
		case r.reply.code/100 == 3:
			return nil, t.failed(r.reply, nil)
		case some && t.d.advise(r.reply).Action == SplitRecipients:
		default:
			t.settle([]int{r.index}, r.reply, t.stage)
		}
	}
	return accepted, nil
}

// dropDATA is for a DATA that was pipelined when nobody was accepted in the end. A peer that says 354 all the same gets a
// message of nothing for nobody (RFC 2920 3.1).
func (t *transaction) dropDATA() *lost {
	r, err := t.read(t.c.timeouts.DataStart)
	if err != nil || r.code == 421 {
		return t.failed(r, err)
	}
	if r.code != 354 {
		return nil
	}
	if t.stage == StageMAIL {
		// It refused MAIL and asks for content: who knows whom it would deliver that to. Nothing is ended that is not begun.
		return &lost{stage: StageDATA, reply: deferral(smtp.EnhancedCode{4, 5, 0}, "DATA was accepted after MAIL was refused")}
	}
	if err := t.c.write([][]byte{dotCRLF}); err != nil {
		return t.failed(reply{}, err)
	}
	if r, err = t.read(t.c.timeouts.DataEnd); err != nil || r.code == 421 {
		return t.failed(r, err)
	}
	return nil
}

// sendContent sends the content after the envelope was accepted.
func (t *transaction) sendContent(accepted []int, pipelinedDATA bool) *lost {
	t.stage = StageDATA
	c := t.c
	var bufs [][]byte
	if c.ext.chunking {
		c.out = t.appendBDAT(c.out[:0])
		bufs = append([][]byte{c.out}, t.body.segments...)
	} else {
		r, err := t.dataReply(pipelinedDATA)
		if err != nil || r.code == 421 || r.positive() || r.code/100 == 3 && r.code != 354 {
			return t.failed(r, err)
		}
		if r.code != 354 {
			t.settle(accepted, r, StageDATA)
			return nil
		}
		bufs = t.body.stuffed(nil)
	}
	if err := c.write(bufs); err != nil {
		return t.contentFailed(accepted, err)
	}
	t.committed = true
	return t.final(accepted)
}

func (t *transaction) dataReply(pipelined bool) (reply, error) {
	if pipelined {
		return t.read(t.c.timeouts.DataStart)
	}
	return t.step("DATA")
}

// final reads the reply to the end of the content and settles the accepted recipients by it.
func (t *transaction) final(accepted []int) *lost {
	t.stage = StageEOD
	r, err := t.read(t.c.timeouts.DataEnd)
	if err != nil || r.code == 421 || r.code/100 == 3 {
		return t.failed(r, err)
	}
	t.settle(accepted, r, StageEOD)
	if r.positive() && len(accepted) > 0 {
		t.c.messages++
		t.c.needReset = false
	}
	return nil
}

// contentFailed is for a peer that stopped reading. It may have said why before it closed the connection.
func (t *transaction) contentFailed(accepted []int, err error) *lost {
	r, rerr := t.lastWords()
	if rerr == nil && r.code != 421 && r.code/100 >= 4 {
		t.settle(accepted, r, StageDATA)
		return &lost{stage: StageDATA, reply: r.smtpError()}
	}
	return t.failed(r, firstError(rerr, err))
}

func (t *transaction) writeFailed(err error) *lost {
	r, rerr := t.lastWords()
	if rerr == nil && r.code == 421 {
		return t.failed(r, nil)
	}
	return t.failed(reply{}, err)
}

// lastWords reads a reply that may already be there after a write failed.
func (t *transaction) lastWords() (reply, error) { return t.c.read(time.Second) }

func firstError(readErr, writeErr error) error {
	if readErr == nil {
		return nil
	}
	return writeErr
}

// failed ends the transaction and the connection. Either the error or a reply that closes it, or makes no sense, is given.
func (t *transaction) failed(r reply, err error) *lost {
	l := &lost{stage: t.stage}
	switch {
	case err == nil && r.code == 421: // RFC 5321 3.8: the transaction is rejected, nothing was taken
		l.again, l.here, l.reply = true, true, r.smtpError()
		return l
	case err == nil:
		err = fmt.Errorf("%w: %s makes no sense here", errProtocol, replyString(r.smtpError()))
	}
	// RFC 1047: once the content is out, a lost reply may mean that the message was taken. One case is sent again at once all the
	// same: a kept connection that ends without an octet, although a peer that took the message owes the replies to MAIL and RCPT
	// before that to the content. It closed an idle connection just when it was used. To wait for the next retry would not spare
	// the recipient a duplicate, since that sends the same message; it would only delay the many that were not taken.
	l.again = !t.committed || t.early && !t.answered && isClosed(err)
	l.here = l.again && t.kept && !isTimeout(err)
	l.reply = t.lossReply(err)
	if !l.again {
		t.uncertain(l)
	}
	return l
}

// isClosed reports whether the peer ended the connection, rather than saying something or nothing.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (t *transaction) lossReply(err error) *smtp.SMTPError {
	stage := strings.ToUpper(string(t.stage))
	switch {
	case t.c.wasAborted():
		return deferral(smtp.EnhancedCode{4, 4, 2}, "delivery was stopped in %s", stage)
	case isTimeout(err):
		return deferral(smtp.EnhancedCode{4, 4, 2}, "no answer in time in %s", stage)
	case errors.Is(err, errProtocol): // RFC 3463 3.6: other or undefined protocol status
		return deferral(smtp.EnhancedCode{4, 5, 0}, "protocol error in %s: %v", stage, err)
	}
	return deferral(smtp.EnhancedCode{4, 4, 2}, "connection lost in %s: %v", stage, err) // RFC 3463 3.5: bad connection
}

// uncertain settles all: some were refused before, and the message may have been taken for the others.
func (t *transaction) uncertain(l *lost) {
	for _, r := range t.rcpt {
		switch {
		case t.d.results[r.index].Outcome != "":
		case r.reply.code == 0 || r.reply.positive():
			t.d.set(r.index, t.c, Result{Outcome: Deferred, Reply: l.reply, Local: true, Stage: l.stage, Uncertain: true})
		default:
			t.settle([]int{r.index}, r.reply, StageRCPT)
		}
	}
}

func (t *transaction) settle(indices []int, r reply, stage Stage) {
	se := r.smtpError()
	outcome := outcomeOf(r.code)
	for _, i := range indices {
		t.d.set(i, t.c, Result{Outcome: outcome, Reply: se, Stage: stage,
			Relayed: outcome == Delivered && !t.c.ext.dsn && slices.ContainsFunc(t.d.req.Recipients[i].Notify, isSuccess)})
	}
}

func isSuccess(s string) bool { return strings.EqualFold(s, "SUCCESS") }

func outcomeOf(code int) Outcome {
	switch code / 100 {
	case 2:
		return Delivered
	case 5:
		return Refused
	}
	return Deferred
}

func (t *transaction) read(d time.Duration) (reply, error) {
	r, err := t.c.read(d)
	if err == nil {
		t.answered = true
	}
	return r, err
}

func (t *transaction) step(line string) (reply, error) {
	r, err := t.c.command(line)
	if err == nil {
		t.answered = true
	}
	return r, err
}

// write sends all of bufs, whose elements it changes: by writev on a TCP connection, else through one buffer, so that
// commands and content leave together.
func (c *conn) write(bufs [][]byte) error {
	tcp, direct := c.nc.(*net.TCPConn)
	if !direct && c.bw == nil {
		c.bw = bufio.NewWriterSize(c.nc, 32<<10)
	}
	for len(bufs) > 0 {
		var block net.Buffers
		block, bufs = cutBlock(bufs)
		if err := c.arm(c.timeouts.DataBlock); err != nil {
			return err
		}
		var err error
		if direct {
			_, err = block.WriteTo(tcp)
		} else {
			_, err = block.WriteTo(c.bw)
		}
		if err != nil {
			return err
		}
	}
	if direct {
		return nil
	}
	return c.bw.Flush()
}

// cutBlock takes about writeBlock octets off the front.
func cutBlock(bufs [][]byte) (block, rest [][]byte) {
	n := 0
	for i, b := range bufs {
		if room := writeBlock - n; len(b) > room {
			block = append(slices.Clone(bufs[:i]), b[:room])
			bufs[i] = b[room:]
			return block, bufs[i:]
		}
		n += len(b)
	}
	return bufs, nil
}
