package gateway

import (
	"crypto/tls"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coexist-mail/coexist/gateway/outbound"
)

// watchCertificates tells the expiry watch which certificates are in use.
func (g *Gateway) watchCertificates() {
	files := map[string]func() *tls.Certificate{}
	for path, cert := range g.certs {
		files[path] = cert.get
	}
	g.expiry.Watch(files)
}

// certificateEnds is the metric of when certificates end.
type certificateEnds struct {
	expiry *outbound.Expiry
	desc   *prometheus.Desc
}

func newCertificateEnds(e *outbound.Expiry) certificateEnds {
	return certificateEnds{e, prometheus.NewDesc("coexist_certificate_not_after_seconds",
		"When the certificate of a file ends (the earliest of its chain), in seconds since 1970.", []string{"file"}, nil)}
}

func (c certificateEnds) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c certificateEnds) Collect(ch chan<- prometheus.Metric) {
	for file, end := range c.expiry.NotAfter() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(end.Unix()), file)
	}
}
