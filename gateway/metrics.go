package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/coexist-mail/coexist/gateway/bounce"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/routing"
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
	spoolErrors    prometheus.Counter
	ackSeconds     prometheus.Histogram
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "coexist_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		received:       counter("received_messages_total", "Messages read whole, by the side they came from.", "side"),
		receivedBytes:  counter("received_bytes_total", "Octets of those messages.", "side"),
		recipients:     counter("recipients_total", "Attempts to deliver to a recipient, by side and outcome: delivered, deferred, refused.", "side", "outcome"),
		refusedRcpts:   counter("refused_recipients_total", "Recipients refused by the router, by its reason and the side that sent.", "reason", "side"),
		refusedClients: counter("refused_clients_total", "Connections, commands and messages refused by the listener, by reason.", "reason"),
		tnef:           counter("tnef_total", "Messages with TNEF on their way to a side that wants it converted, by outcome: found, converted, failed.", "outcome"),
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
	m.registry.MustRegister(m.received, m.receivedBytes, m.recipients, m.refusedRcpts, m.refusedClients, m.attemptSeconds, m.tnef, m.dsns,
		m.spoolErrors, m.ackSeconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, side := range []string{string(routing.OnPrem), string(routing.Cloud), string(routing.Internet)} {
		m.received.WithLabelValues(side)
		for _, outcome := range []outbound.Outcome{outbound.Delivered, outbound.Deferred, outbound.Refused} {
			m.recipients.WithLabelValues(side, string(outcome))
		}
	}
	for _, outcome := range []string{"found", "converted", "failed"} {
		m.tnef.WithLabelValues(outcome)
	}
	return m
}

func (m *metrics) refused(reason routing.Reason, side routing.Side) {
	m.refusedRcpts.WithLabelValues(string(reason), string(side)).Inc()
}

func (m *metrics) attempted(side routing.Side, outcome outbound.Outcome, took time.Duration) {
	m.recipients.WithLabelValues(string(side), string(outcome)).Inc()
	m.attemptSeconds.WithLabelValues(string(side)).Observe(took.Seconds())
}

func (m *metrics) acknowledged(took time.Duration) { m.ackSeconds.Observe(took.Seconds()) }

func (m *metrics) dsn(kind bounce.Kind) { m.dsns.WithLabelValues(string(kind)).Inc() }

// gauge registers a value that is asked for when it is scraped.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "coexist_" + name, Help: help}, value))
}
