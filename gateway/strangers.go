package gateway

import (
	"net/netip"
	"path/filepath"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/recordings"
)

// greeting is how long a client must be silent before it is greeted, and what becomes of it if it is not. The two systems, and the clients
// of hygiene.exempt, are known by their addresses; who is known by a certificate or a password waits like a stranger.
func (g *Gateway) greeting(client netip.Addr) (time.Duration, inbound.EarlyTalkers) {
	cfg := g.state.Load().cfg
	for _, known := range [][]netip.Prefix{cfg.OnPrem.Clients, cfg.Cloud.Clients, cfg.Hygiene.Exempt} {
		if contains(known, client) {
			return 0, inbound.TolerateEarlyTalkers
		}
	}
	if cfg.Hygiene.EarlyTalkers == "refuse" {
		return cfg.Hygiene.GreetDelay, inbound.RefuseEarlyTalkers
	}
	return cfg.Hygiene.GreetDelay, inbound.TolerateEarlyTalkers
}

// RecordingsIn has the recordings of the gateway that a configuration is for, whether one runs or not.
func RecordingsIn(cfg *config.Config) *recordings.Store {
	return recordings.New(filepath.Join(cfg.DataDir, "recordings"), nil)
}

// record is how the dialogue of a client is recorded: as an administrator asked for, or as the options say.
func (g *Gateway) record(client netip.Addr) *inbound.Recording {
	if r := g.recordings.For(client); r != nil || g.opt.Record == nil {
		return r
	}
	return g.opt.Record(client)
}
