package gateway

import (
	"crypto/tls"
	"errors"
	"runtime/debug"
)

// Version is the version of the program, from its build information: a tag, or a commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
}

var errConversionBug = errors.New("bug in the conversion")

// tlsName is a protocol version without a space: "TLS1.3".
func tlsName(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	}
	return tls.VersionName(version)
}
