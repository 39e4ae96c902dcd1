package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/coexist-mail/coexist/gateway/bounce"
	"github.com/coexist-mail/coexist/gateway/hygiene"
	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// metrics are the counters of one gateway, in a registry of its own.
type metrics struct {
	registry       *prometheus.Registry
	received       *prometheus.CounterVec
	receivedBytes  *prometheus.CounterVec
	recipients     *prometheus.CounterVec
	refusedRcpts   *prometheus.CounterVec
	refusedClients *prometheus.CounterVec
	attemptSeconds *prometheus.HistogramVec
	tnef           *prometheus.CounterVec
	dsns           *prometheus.CounterVec
	refusals       *prometheus.CounterVec
	spoolErrors    prometheus.Counter
	ackSeconds     prometheus.Histogram

	mu          sync.Mutex
	refusalKeys map[refusalKey]bool // those that are counted apart
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "coexist_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		refusalKeys:    map[refusalKey]bool{},
		received:       counter("received_messages_total", "Messages read whole, by the side they came from.", "side"),
		receivedBytes:  counter("received_bytes_total", "Octets of those messages.", "side"),
		recipients:     counter("recipients_total", "Attempts to deliver to a recipient, by side and outcome: delivered, deferred, refused.", "side", "outcome"),
		refusedRcpts:   counter("refused_recipients_total", "Recipients refused by the router and the filters, by reason and the side that sent.", "reason", "side"),
		refusedClients: counter("refused_clients_total", "Connections, commands and messages refused by the listener, by reason.", "reason"),
		refusals:       counter("refusals_total", "Replies that refused something or put it off, whoever decided it, by reply code and enhanced status code.", "code", "status"),
		tnef:           counter("tnef_total", "Messages with TNEF on their way to a side that wants it converted, by message class and outcome: found, converted, failed.", "class", "outcome"),
		dsns:           counter("dsn_total", "Delivery status notifications sent, by kind.", "kind"),
		spoolErrors:    prometheus.NewCounter(prometheus.CounterOpts{Name: "coexist_spool_errors_total", Help: "Messages that could not be spooled, answered with 452."}),
		ackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "coexist_acknowledge_seconds", Help: "From the envelope to the reply that ends a message.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		attemptSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coexist_attempt_seconds", Help: "Time of a delivery attempt, by side.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"side"}),
	}
	m.registry.MustRegister(m.received, m.receivedBytes, m.recipients, m.refusedRcpts, m.refusedClients, m.refusals, m.attemptSeconds, m.tnef, m.dsns,
		m.spoolErrors, m.ackSeconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, side := range []string{string(routing.OnPrem), string(routing.Cloud), string(routing.Internet)} {
		m.received.WithLabelValues(side)
		for _, outcome := range []outbound.Outcome{outbound.Delivered, outbound.Deferred, outbound.Refused} {
			m.recipients.WithLabelValues(side, string(outcome))
		}
	}
	for _, side := range routing.Sides {
		for _, reason := range refusalReasons() {
			m.refusedRcpts.WithLabelValues(string(reason), string(side))
		}
	}
	for _, class := range append([]string{otherClass}, tnefClasses...) {
		m.tnef.WithLabelValues(strings.ToLower(class), "found")
		m.tnef.WithLabelValues(strings.ToLower(class), "converted")
	}
	m.tnef.WithLabelValues(unknownClass, "found")
	m.tnef.WithLabelValues(unknownClass, "failed")
	return m
}

func (m *metrics) refused(reason routing.Reason, side routing.Side) {
	m.refusedRcpts.WithLabelValues(string(reason), string(side)).Inc()
}

func (m *metrics) attempted(side routing.Side, outcome outbound.Outcome, took time.Duration) {
	m.recipients.WithLabelValues(string(side), string(outcome)).Inc()
	m.attemptSeconds.WithLabelValues(string(side)).Observe(took.Seconds())
}

// tnefClasses are the message classes that are counted apart ([MS-OXCMSG] 2.2.1.3), each with those below it, the narrower
// before the wider. Senders choose classes, and could make up any number.
var tnefClasses = []string{
	"IPM.Note.SMIME", "IPM.Note",
	"IPM.Schedule.Meeting.Request", "IPM.Schedule.Meeting.Canceled", "IPM.Schedule.Meeting.Resp.Pos", "IPM.Schedule.Meeting.Resp.Tent",
	"IPM.Schedule.Meeting.Resp.Neg", "IPM.Schedule.Meeting", "IPM.Appointment",
	"IPM.TaskRequest", "IPM.Task", "IPM.Contact", "IPM.DistList", "IPM.Activity", "IPM.StickyNote", "IPM.Post", "IPM.Document", "REPORT",
}

// otherClass is the label of the classes that are not in the table, and unknownClass that of a message of which no class could be read.
const (
	otherClass   = "other"
	unknownClass = "unknown"
)

// tnefClass is the label of a message by the classes of its TNEF streams: of the first, since each message counts once.
func tnefClass(classes []string) string {
	if len(classes) == 0 {
		return unknownClass
	}
	for _, c := range tnefClasses {
		if mapi.ClassIs(classes[0], c) {
			return strings.ToLower(c)
		}
	}
	return otherClass
}

// convertedTNEF counts a message with TNEF.
func (m *metrics) convertedTNEF(outcome string, classes []string) {
	class := tnefClass(classes)
	m.tnef.WithLabelValues(class, "found").Inc()
	m.tnef.WithLabelValues(class, outcome).Inc()
}

func (m *metrics) acknowledged(took time.Duration) { m.ackSeconds.Observe(took.Seconds()) }

func (m *metrics) dsn(kind bounce.Kind) { m.dsns.WithLabelValues(string(kind)).Inc() }

// gauge registers a value that is asked for when it is scraped.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "coexist_" + name, Help: help}, value))
}

// refusalReasons are the reasons for which a recipient may be refused. They are there from the start, so that an alarm may count on them.
func refusalReasons() []routing.Reason {
	reasons := []routing.Reason{routing.Unknown, routing.RelayDenied, routing.Ambiguous, routing.EmptyGroup, routing.NoTarget, routing.UTurn,
		routing.NoView, routing.StaleView, routing.Loop}
	for _, r := range hygiene.Reasons {
		reasons = append(reasons, routing.Reason(r))
	}
	return reasons
}

// maxRefusals bounds the pairs of codes that are counted apart: next hops choose those that are passed on, and could make up any number.
const maxRefusals = 300

// refusalKey is a reply code and an enhanced status code.
type refusalKey struct {
	code     int
	enhanced smtp.EnhancedCode
}

// replied counts a reply that refuses.
func (m *metrics) replied(code int, enhanced smtp.EnhancedCode) {
	key := refusalKey{code, enhanced}
	m.mu.Lock()
	if m.refusalKeys[key] || len(m.refusalKeys) < maxRefusals {
		m.refusalKeys[key] = true
	} else {
		key = refusalKey{}
	}
	m.mu.Unlock()
	if key.code == 0 {
		m.refusals.WithLabelValues("other", "other").Inc()
		return
	}
	m.refusals.WithLabelValues(strconv.Itoa(code), fmt.Sprintf("%d.%d.%d", enhanced[0], enhanced[1], enhanced[2])).Inc()
}

// milterFigures are the figures of the content filters, asked for when they are scraped.
type milterFigures struct{ filters func() []hygiene.SideStats }

var (
	milterAsked   = prometheus.NewDesc("coexist_milter_requests_total", "Questions to a content filter, by outcome.", []string{"milter", "side", "outcome"}, nil)
	milterUp      = prometheus.NewDesc("coexist_milter_up", "0 while a content filter is not asked, since it could not be reached.", []string{"milter", "side"}, nil)
	milterSeconds = prometheus.NewDesc("coexist_milter_seconds", "Time of the answers of a content filter.", []string{"milter", "side"}, nil)
)

// Describe implements prometheus.Collector.
func (milterFigures) Describe(ch chan<- *prometheus.Desc) {
	ch <- milterAsked
	ch <- milterUp
	ch <- milterSeconds
}

// Collect implements prometheus.Collector.
func (m milterFigures) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, s := range m.filters() {
		side := string(s.Side)
		if seen[side+" "+s.Address] { // configured twice
			continue
		}
		seen[side+" "+s.Address] = true
		for _, o := range milter.Outcomes {
			ch <- prometheus.MustNewConstMetric(milterAsked, prometheus.CounterValue, float64(s.Count[o]), s.Address, side, string(o))
		}
		up := 0.0
		if s.Up {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(milterUp, prometheus.GaugeValue, up, s.Address, side)
		ch <- prometheus.MustNewConstSummary(milterSeconds, s.Asked, s.Seconds, nil, s.Address, side)
	}
}
