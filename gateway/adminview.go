package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/bounce"
	"github.com/coexist-mail/coexist/gateway/hygiene"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/recordings"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef"
)

// adminView is the gateway as the admin address shows it.
type adminView struct{ *Gateway }

// Ready tells whether mail can be taken.
func (g adminView) Ready() (string, error) {
	switch view, age := g.directory.View(), g.directory.Age(g.now()); {
	case !g.bound.Load():
		return "", errors.New("the listeners are not bound, or shutting down")
	case view == nil:
		return "", errors.New(strings.TrimSuffix("no view of the directory is loaded: "+g.directory.Status().LastError, ": "))
	case g.state.Load().cfg.Directory.MaxAge > 0 && age > g.state.Load().cfg.Directory.MaxAge:
		return fmt.Sprintf("ready; the view of the directory is stale: %s old, unknown recipients are deferred", age.Round(time.Second)), nil
	}
	return "ready", nil
}

// DirectoryStatus is what `coexist directory status` prints.
func (g *Gateway) DirectoryStatus() directory.Status { return g.directory.Status() }

// Recordings are those of dialogues with clients.
func (g adminView) Recordings() *recordings.Store { return g.recordings }

// FlushTrace writes the events that are still in memory.
func (g adminView) FlushTrace() { g.trace.Flush() }

// Queue lists the queue.
func (g adminView) Queue(ctx context.Context, f func(*spool.Item) bool) error {
	return g.store.List(ctx, spool.Filter{}, f)
}

// QueueItem is one message of the queue.
func (g adminView) QueueItem(ctx context.Context, id string) (*spool.Item, error) {
	return g.store.Get(ctx, id)
}

// QueueRaw writes the octets of a queued message.
func (g adminView) QueueRaw(ctx context.Context, id string, w io.Writer) error {
	body, err := g.store.Open(ctx, id)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = w.Write(body.Bytes())
	return err
}

// QueueDo does a verb to a message of the queue.
func (g adminView) QueueDo(ctx context.Context, verb, id string) error {
	var err error
	switch verb {
	case "retry":
		g.sideHolds.probeNow()
		err = g.scheduler.Retry(ctx, id)
	case "hold":
		err = g.scheduler.Hold(ctx, id, time.Time{}, "held by an administrator")
	case "release":
		err = g.scheduler.Release(ctx, id)
	case "drop":
		err = g.scheduler.Drop(ctx, id, g.dropNotice(ctx))
	case "drop-silently":
		err = g.scheduler.Drop(ctx, id, nil)
	default:
		return admin.ErrVerb
	}
	if err == nil {
		g.trace.Append(trace.Event{Time: g.now(), ID: id, Event: verbEvents[verb], Reason: "queue " + verb})
	}
	return err
}

var verbEvents = map[string]trace.Kind{"retry": trace.Retried, "hold": trace.Held, "release": trace.Released, "drop": trace.Dropped, "drop-silently": trace.Dropped}

// dropNotice makes the DSN of a message that an administrator drops.
func (g adminView) dropNotice(ctx context.Context) func(*spool.Item) error {
	return func(it *spool.Item) error {
		body, err := g.store.Open(ctx, it.ID)
		if err != nil {
			return err
		}
		defer body.Close()
		var which []int
		for i := range it.Recipients {
			if r := &it.Recipients[i]; !r.Settled() {
				which = append(which, i)
				r.LastReply, r.LocalReply, r.NextHop = "550 5.7.0 Removed from the queue by the administrator", true, ""
			}
		}
		return g.sendDSN(g.state.Load(), it, body.Bytes(), notice{kind: bounce.Failure, which: which})
	}
}

// registerGauges shows the state of spool, view and next hops.
func (g *Gateway) registerGauges() {
	m := g.metrics
	m.gauge("connections", "Open SMTP connections of clients.", func() float64 { return float64(g.server.Connections()) })
	m.gauge("spool_messages", "Messages in the spool.", func() float64 { return float64(g.store.Stats().Messages) })
	m.gauge("spool_bytes", "Octets in the spool.", func() float64 { return float64(g.store.Stats().Bytes) })
	m.gauge("spool_held_messages", "Messages held in the spool.", func() float64 { return float64(g.store.Stats().Held) })
	m.gauge("spool_oldest_seconds", "Age of the oldest message in the spool.", func() float64 {
		if oldest := g.store.Stats().Oldest; !oldest.IsZero() {
			return g.now().Sub(oldest).Seconds()
		}
		return 0
	})
	m.gauge("view_loaded", "1 when a view of the directory is loaded.", func() float64 {
		if g.directory.View() == nil {
			return 0
		}
		return 1
	})
	m.gauge("view_objects", "Objects in the view of the directory.", func() float64 {
		if v := g.directory.View(); v != nil {
			return float64(v.Stats().Total())
		}
		return 0
	})
	m.gauge("view_addresses", "Addresses in the view of the directory.", func() float64 {
		if v := g.directory.View(); v != nil {
			return float64(v.Stats().Addresses)
		}
		return 0
	})
	m.gauge("view_age_seconds", "Time since the directory was last read with success.", func() float64 {
		if g.directory.View() == nil {
			return 0
		}
		return g.directory.Age(g.now()).Seconds()
	})
	m.registry.MustRegister(milterFigures{func() []hygiene.SideStats { return g.state.Load().filter.Milters() }})
	for _, side := range []routing.Side{routing.OnPrem, routing.Cloud, routing.Internet} {
		m.gauge(string(side)+"_held", "1 while mail to the side is held for a fault of configuration.", func() float64 {
			if g.sideHolds.get(side) != "" {
				return 1
			}
			return 0
		})
		m.gauge(string(side)+"_hops_down", "Next hops of the side that cannot be connected to.", func() float64 { return float64(g.hopsDown(side)) })
	}
}

func (g *Gateway) hopsDown(side routing.Side) (n int) {
	for _, h := range g.transport.Stats() {
		if h.Side == side && h.Circuit == "open" {
			n++
		}
	}
	return n
}

// Transport is the state of the next hops, for tests and tools.
func (g *Gateway) Transport() []outbound.HopStats { return g.transport.Stats() }

// noteReceived logs and counts a message that was read whole.
func (g *Gateway) noteReceived(it *spool.Item, sub *inbound.Submission) {
	g.metrics.received.WithLabelValues(string(it.Source)).Inc()
	g.metrics.receivedBytes.WithLabelValues(string(it.Source)).Add(float64(it.Size))
	tlsVersion := ""
	if sub.Client.TLS != nil {
		tlsVersion = tlsName(sub.Client.TLS.Version)
	}
	g.log.Debug("received", "id", it.ID, "from", it.Envelope.ReversePath, "source", it.Source, "client", it.Client, "helo", it.HELO,
		"tls", tlsVersion, "size", it.Size, "recipients", len(it.Recipients), "message_id", it.MessageID)
	for i := range it.Recipients {
		r := &it.Recipients[i]
		g.trace.Append(trace.Event{Time: it.Received, ID: it.ID, Event: trace.Received, Sender: it.Envelope.ReversePath, Recipient: r.Asked,
			Side: string(r.Side), MessageID: it.MessageID, Size: it.Size, Reason: "from " + string(it.Source) + " " + it.Client})
	}
}

// noteTNEF logs and counts a conversion.
func (g *Gateway) noteTNEF(it *spool.Item, side routing.Side, report tnef.Report, err error) {
	if err == nil && report.Found == 0 {
		return
	}
	outcome := "converted"
	if err != nil || report.Converted == 0 {
		outcome = "failed"
	}
	g.metrics.convertedTNEF(outcome, report.Classes)
	line := []any{"id", it.ID, "side", side, "classes", strings.Join(report.Classes, ","), "warnings", strings.Join(report.Warnings, "; ")}
	if err != nil { // else whoever greps for errors finds every conversion
		line = append(line, "error", err)
	}
	g.log.Info("tnef "+outcome, line...)
	g.trace.Append(trace.Event{Time: g.now(), ID: it.ID, Event: trace.Converted, Sender: it.Envelope.ReversePath, Side: string(side), MessageID: it.MessageID,
		Reason: strings.TrimSpace("tnef " + outcome + " " + strings.Join(report.Classes, ","))})
}

func stack() string { return string(debug.Stack()) }

// oneLine puts a reply of several lines on one.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
