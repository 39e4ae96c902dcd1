package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certFile is a certificate with its key in files, read again when they change: certificates are renewed by programs that do not know
// of us.
type certFile struct {
	certPath, keyPath string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   string
	checked time.Time
}

// certCheck is how often the files are looked at.
const certCheck = 10 * time.Second

func loadCertFile(certPath, keyPath string, log *slog.Logger) (*certFile, error) {
	c := &certFile{certPath: certPath, keyPath: keyPath, log: log}
	return c, c.load()
}

func (c *certFile) load() error {
	stamp := c.fileStamp()
	cert, err := tls.LoadX509KeyPair(c.certPath, c.keyPath)
	if err != nil {
		return fmt.Errorf("reading certificate %s: %w", c.certPath, err)
	}
	c.cert, c.stamp, c.checked = &cert, stamp, time.Now()
	return nil
}

func (c *certFile) fileStamp() string {
	stamp := ""
	for _, path := range []string{c.certPath, c.keyPath} {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprintf("%d %d ", info.ModTime().UnixNano(), info.Size())
		}
	}
	return stamp
}

// get is the certificate of this moment. Files that cannot be used leave the old one in place.
func (c *certFile) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certCheck {
		return c.cert
	}
	c.checked = time.Now()
	if c.fileStamp() == c.stamp {
		return c.cert
	}
	if err := c.load(); err != nil {
		c.log.Error("the changed certificate cannot be used, the old one stays", "error", err)
	} else {
		c.log.Info("certificate read again", "file", c.certPath, "not_after", c.cert.Leaf.NotAfter)
	}
	return c.cert
}
