package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/loop"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/outbound/mtasts"
	"github.com/coexist-mail/coexist/gateway/recordings"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// Options are what a Gateway uses beside its configuration. Every zero value has a default.
type Options struct {
	Logger *slog.Logger
	// Resolver and MXPort are for tests: where MX records come from, and the port of the hosts that they name (25).
	Resolver outbound.Resolver
	MXPort   uint16
	// PolicyClient fetches MTA-STS policies; nil is one with the system's authorities.
	PolicyClient *http.Client
	// RootCAs verify next hops and client certificates; nil is the system's.
	RootCAs *x509.CertPool
	// Timeouts bound the deliveries, and ClientTimeouts the clients.
	Timeouts       outbound.Timeouts
	ClientTimeouts inbound.Timeouts
	// Record says how the dialogue of a client is recorded; nil is not at all.
	Record func(client netip.Addr) *inbound.Recording
	// Now is the clock.
	Now func() time.Time
}

// Gateway is a running coexist.
type Gateway struct {
	opt         Options
	started     config.Config // what New was given: what a reload cannot change stays as it is here
	log         *slog.Logger
	now         func() time.Time
	state       atomic.Pointer[state]
	directory   directory.Source
	transport   *outbound.Transport
	sts         *mtasts.Cache
	expiry      *outbound.Expiry
	store       *spool.Local
	scheduler   *spool.Scheduler
	trace       *trace.Log
	metrics     *metrics
	server      *inbound.Server
	listeners   []inbound.Listener
	certs       map[string]*certFile // by certificate file
	listenerTLS []listenerTLS
	admin       *http.Server
	adminAddr   net.Listener

	scratchDir string
	memory     *message.Budget // of all messages on their way
	// deliveries is the context of all deliveries; it ends when a shutdown takes too long.
	deliveries context.Context
	cut        context.CancelFunc
	watch      context.Context // of the directory source; it ends with the shutdown
	unwatch    context.CancelFunc
	watching   sync.WaitGroup
	background sync.WaitGroup
	sideHolds  sideHolds
	loops      *loop.Detector
	holds      holds
	direct     atomic.Int64  // messages that are being tried without having been spooled first
	converting chan struct{} // holds a token for each TNEF conversion that runs
	bound      atomic.Bool
	recordings *recordings.Store
}

// New opens spool, trace and directory, and binds the listeners; Run then serves. An error leaves nothing open.
func New(cfg *config.Config, opt Options) (_ *Gateway, err error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	g := &Gateway{opt: opt, started: *cfg, log: opt.Logger, now: opt.Now, metrics: newMetrics(), certs: map[string]*certFile{},
		memory:     message.NewBudget(messageMemory),
		converting: make(chan struct{}, min(max(2, runtime.GOMAXPROCS(0)), maxConverting))}
	g.expiry = outbound.NewExpiry(g.now, g.log)
	g.deliveries, g.cut = context.WithCancel(context.Background())
	g.watch, g.unwatch = context.WithCancel(context.Background())
	filter, err := newFilter(cfg)
	if err != nil {
		return nil, err
	}
	g.state.Store(newState(cfg, filter, opt.RootCAs))
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for _, step := range []func(*config.Config) error{g.openData, g.openDirectory, g.listen, g.openTransport, g.openScheduler, g.openAdmin} {
		if err := step(cfg); err != nil {
			return nil, err
		}
	}
	g.recordings = RecordingsIn(cfg)
	authenticator, err := openUsers(cfg, opt.Logger)
	if err != nil {
		return nil, err
	}
	g.server = inbound.New(inbound.Config{
		Authenticator: authenticator, Record: g.record, Greeting: g.greeting, Known: g.knownClient,
		Hostname: cfg.Hostname, NewSession: g.newSession, Limits: g.limits, Logger: g.log, Timeouts: opt.ClientTimeouts,
		Replied: g.metrics.replied,
		Refused: func(reason string) { g.metrics.refusedClients.WithLabelValues(reason).Inc() },
	})
	g.registerGauges()
	g.metrics.registry.MustRegister(newCertificateEnds(g.expiry))
	g.watchCertificates()
	return g, nil
}

// openData opens what is in data_dir.
func (g *Gateway) openData(cfg *config.Config) error {
	g.scratchDir = filepath.Join(cfg.DataDir, "tmp")
	if err := os.MkdirAll(g.scratchDir, 0o700); err != nil {
		return fmt.Errorf("making data_dir: %w", err)
	}
	var err error
	if g.store, err = spool.Open(filepath.Join(cfg.DataDir, "spool"), spool.Options{Logger: g.log, Now: g.opt.Now}); err != nil {
		return fmt.Errorf("opening the spool: %w", err)
	}
	if g.trace, err = trace.Open(filepath.Join(cfg.DataDir, "trace"), trace.Options{Keep: cfg.Trace.Keep, Logger: g.log}); err != nil {
		return fmt.Errorf("opening the trace: %w", err)
	}
	if g.loops, err = openLoops(cfg, g.opt.Now); err != nil {
		return fmt.Errorf("opening the key of the trace field: %w", err)
	}
	return nil
}

func (g *Gateway) openDirectory(cfg *config.Config) (err error) {
	g.directory, err = OpenDirectory(cfg, g.log)
	return err
}

func snapshotPath(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "directory.snapshot") }

// OpenDirectory makes the source of the view that a configuration asks for. It succeeds without a view: that may come later.
func OpenDirectory(cfg *config.Config, log *slog.Logger) (directory.Source, error) {
	switch cfg.Directory.Source {
	case "ldif":
		return directory.NewFileSource(directory.FileConfig{Path: cfg.Directory.LDIF, Snapshot: snapshotPath(cfg), Log: log}), nil
	case "ad":
		return openActiveDirectory(cfg, log), nil
	}
	return nil, fmt.Errorf("directory.source %q is not known", cfg.Directory.Source)
}

func (g *Gateway) openTransport(cfg *config.Config) error {
	o, err := g.transportOptions(cfg)
	if err != nil {
		return err
	}
	if o.Resolver == nil {
		o.Resolver = outbound.NewResolver(outbound.ResolverOptions{Clock: g.now})
	}
	g.sts = mtasts.New(mtasts.Options{LookupTXT: o.Resolver.LookupTXT, Client: g.opt.PolicyClient,
		Path: filepath.Join(cfg.DataDir, "mta-sts.jsonl"), Clock: g.now, Logger: g.log})
	o.Policy = outbound.MTASTS(g.sts)
	g.transport = outbound.New(o)
	return nil
}

func (g *Gateway) transportOptions(cfg *config.Config) (outbound.Options, error) {
	o := outbound.Options{
		Hostname: cfg.Hostname, ConnectionsPerHop: cfg.Delivery.ConnectionsPerHop, Logger: g.log, Clock: g.opt.Now,
		Downgrade: outbound.SevenBit, Resolver: g.opt.Resolver, MXPort: g.opt.MXPort, Timeouts: g.opt.Timeouts,
		Sides: map[routing.Side]outbound.Side{
			routing.OnPrem:   {Name: routing.OnPrem, Hops: cfg.OnPrem.NextHop, TLS: cfg.OnPrem.TLS, RootCAs: g.opt.RootCAs},
			routing.Cloud:    {Name: routing.Cloud, Hops: cfg.Cloud.NextHop, TLS: cfg.Cloud.TLS, RootCAs: g.opt.RootCAs},
			routing.Internet: {Name: routing.Internet, Hops: cfg.Internet.NextHop, TLS: cfg.Internet.TLS, RootCAs: g.opt.RootCAs},
		},
		HopChanged: func(h outbound.HopStats) {
			if h.Circuit == "closed" {
				g.recovered(h.Side)
			}
		},
	}
	for _, l := range g.listeners {
		if ap, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			o.Self.Listeners = append(o.Self.Listeners, ap)
		}
	}
	if cfg.Cloud.ClientCertFile != "" {
		cert, err := g.certificate(cfg.Cloud.ClientCertFile, cfg.Cloud.ClientKeyFile)
		if err != nil {
			return o, err
		}
		cloud := o.Sides[routing.Cloud]
		cloud.ClientCert = cert.get
		o.Sides[routing.Cloud] = cloud
	}
	return o, nil
}

// recovered makes the mail of a side due when one of its next hops takes connections again.
func (g *Gateway) recovered(side routing.Side) {
	g.log.Info("next hop recovered", "side", side, "due", g.kick(side))
}

func (g *Gateway) openScheduler(cfg *config.Config) (err error) {
	g.scheduler, err = spool.NewScheduler(g.deliveries, spool.SchedulerOptions{
		Store: g.store, Run: g.runQueued, Schedule: schedule(cfg), MaxConcurrent: maxConcurrent(cfg), MaxPerLane: maxPerLane(cfg),
		Logger: g.log, Now: g.opt.Now,
	})
	if err != nil {
		return err
	}
	return g.loadHolds(g.deliveries)
}

func schedule(cfg *config.Config) spool.Schedule {
	return spool.Schedule{Retry: cfg.Delivery.Retry, Jitter: 0.1}
}

// More attempts run than there are connections: while some wait for the disk to record what they did, others use the connections.
func maxPerLane(cfg *config.Config) int    { return 5 * cfg.Delivery.ConnectionsPerHop }
func maxConcurrent(cfg *config.Config) int { return 3 * maxPerLane(cfg) }

// certificate is a certificate file, read once and watched.
func (g *Gateway) certificate(certPath, keyPath string) (*certFile, error) {
	if c := g.certs[certPath]; c != nil && c.keyPath == keyPath {
		return c, nil
	}
	c, err := loadCertFile(certPath, keyPath, g.log)
	if err == nil {
		g.certs[certPath] = c
	}
	return c, err
}

func (g *Gateway) limits() inbound.Limits {
	l := g.state.Load().cfg.Limits
	return inbound.Limits{
		MessageSize: l.MessageSize, Recipients: l.Recipients, Connections: l.Connections, ConnectionsPerClient: l.ConnectionsPerClient,
		ConnectionsPerNetwork: l.ConnectionsPerNetwork, ClientScore: l.RefusalsPerClient, NetworkScore: l.RefusalsPerNetwork,
	}
}

// knownClient says whether an address is in the networks of one of the sides.
func (g *Gateway) knownClient(a netip.Addr) bool {
	cfg := g.state.Load().cfg
	return contains(cfg.OnPrem.Clients, a) || contains(cfg.Cloud.Clients, a)
}

func (g *Gateway) openAdmin(cfg *config.Config) error {
	l, err := net.Listen("tcp", cfg.Admin.Address)
	if err != nil {
		return fmt.Errorf("listening at admin.address: %w", err)
	}
	g.adminAddr = l
	metrics := promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{})
	g.admin = admin.Server(admin.NewHandler(adminView{g}, metrics, g.log))
	return nil
}

// Addrs are the bound addresses of the listeners, in the order of the configuration.
func (g *Gateway) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(g.listeners))
	for i, l := range g.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// AdminAddr is the bound admin address.
func (g *Gateway) AdminAddr() net.Addr { return g.adminAddr.Addr() }

// Run serves until Shutdown, and returns nil then.
func (g *Gateway) Run() error {
	var wg sync.WaitGroup
	g.watching.Go(func() { g.directory.Run(g.watch) })
	g.watching.Go(func() { g.maintainFilter(g.watch) })
	g.watching.Go(func() { g.expiry.Run(g.watch) })
	g.watching.Go(func() { g.tendMemory(g.watch) })
	g.awaitView()
	g.scheduler.Start()
	errs := make(chan error, len(g.listeners)+1)
	for _, l := range g.listeners {
		wg.Go(func() { errs <- g.server.Serve(l) })
		g.log.Info("listening", "address", l.Addr().String(), "tls", l.TLS != nil)
	}
	g.bound.Store(true)
	wg.Go(func() {
		if err := g.admin.Serve(g.adminAddr); !errors.Is(err, http.ErrServerClosed) {
			errs <- fmt.Errorf("serving the admin address: %w", err)
		}
	})
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// firstView is how long clients wait for a greeting while the directory is read for the first time: better than a 451.
const firstView = 5 * time.Second

// awaitView returns when there is a view, when it is known that there is none, or when the time is over.
func (g *Gateway) awaitView() {
	for end := time.Now().Add(firstView); time.Now().Before(end) && g.watch.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if g.directory.View() != nil || g.directory.Status().LastError != "" {
			return
		}
	}
}

// drainGrace is how long deliveries that were cut may take to notice.
const drainGrace = 5 * time.Second

// Shutdown stops taking mail at once (421), lets what is in flight finish, and leaves the rest in the spool. When ctx ends it cuts
// what is left, and returns ctx's error.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.log.Info("shutting down", "connections", g.server.Connections(), "queued", g.store.Stats().Messages)
	g.bound.Store(false)
	drained := make(chan error, 1)
	go func() { drained <- g.scheduler.Drain(ctx, drainGrace) }()
	stop := context.AfterFunc(ctx, g.cut)
	defer stop()
	err := g.server.Shutdown(ctx)
	err = errors.Join(err, <-drained)
	settled := make(chan struct{})
	go func() { g.background.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-ctx.Done():
		<-settled // deliveries were cut, so this is soon
	}
	g.admin.Close()
	g.close()
	g.log.Info("shut down")
	return err
}

// close closes what is open.
func (g *Gateway) close() {
	g.cut()
	for _, l := range g.listeners {
		l.Close()
	}
	if g.adminAddr != nil {
		g.adminAddr.Close()
	}
	if g.transport != nil {
		g.transport.Close()
	}
	if g.sts != nil {
		g.sts.Close()
	}
	if g.recordings != nil {
		g.recordings.Close()
	}
	g.unwatch()
	g.watching.Wait()
	if g.directory != nil {
		if err := g.directory.Close(); err != nil {
			g.log.Error("closing the directory", "error", err)
		}
	}
	if g.store != nil {
		if err := g.store.Close(); err != nil {
			g.log.Error("closing the spool", "error", err)
		}
	}
	if g.trace != nil {
		if err := g.trace.Close(); err != nil {
			g.log.Error("closing the trace", "error", err)
		}
	}
}

// Reload takes a new configuration: routes, next hops, certificates and limits count from now on, and no connection is dropped.
// Hostname, data_dir, listeners, directory, admin and log stay as they were when the gateway started; the keys in which cfg differs from
// that, and which need a restart, are returned.
func (g *Gateway) Reload(cfg *config.Config) (restart []string, err error) {
	restart = needRestart(&g.started, cfg)
	effective := *cfg
	effective.Hostname, effective.DataDir = g.started.Hostname, g.started.DataDir // one name, not a new one in half of the places
	cfg = &effective
	g.certs = map[string]*certFile{}
	o, err := g.transportOptions(cfg)
	if err != nil {
		return nil, err
	}
	if err := g.reloadListeners(cfg); err != nil {
		return nil, err
	}
	filter, err := g.reloadFilter(cfg)
	if err != nil {
		return nil, err
	}
	g.state.Store(newState(cfg, filter, g.opt.RootCAs))
	g.holds.resolved.Store(nil)
	g.transport.Reload(o)
	g.watchCertificates()
	g.scheduler.Reload(schedule(cfg), maxConcurrent(cfg), maxPerLane(cfg))
	return restart, nil
}

// tlsConfig is how a listener does TLS.
func tlsConfig(cfg *config.Config, cert *certFile) *tls.Config {
	t := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil },
	}
	if len(cfg.Cloud.ClientNames) > 0 {
		t.ClientAuth = tls.RequestClientCert // verified by state.isCloudCertificate; others may come without
	}
	return t
}
