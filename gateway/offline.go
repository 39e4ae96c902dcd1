package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// offline is a view without a gateway.
type offline struct {
	directory.Source
	kept error // why the view is the snapshot and not that of the source; nil when it is the source's
}

// openOffline is the view that a gateway would start with: the source itself, else the snapshot. Active Directory is not read as a whole: without a snapshot the view
// has what the addresses lead to, if there are any. It writes nothing.
func openOffline(ctx context.Context, cfg *config.Config, addresses ...string) (offline, error) {
	switch cfg.Directory.Source {
	case "ldif":
		file := directory.NewFileSource(directory.FileConfig{Path: cfg.Directory.LDIF})
		err := file.Refresh(ctx)
		if err == nil {
			return offline{file, nil}, nil
		}
		kept := directory.NewFileSource(directory.FileConfig{Path: cfg.Directory.LDIF, Snapshot: snapshotPath(cfg)})
		if kept.View() == nil {
			return offline{file, nil}, nil // its status says what is wrong
		}
		return offline{kept, err}, nil
	case "ad":
		return offlineActiveDirectory(ctx, cfg, addresses)
	}
	return offline{}, fmt.Errorf("directory.source %q is not known", cfg.Directory.Source)
}

// Status is that of the source, and says what is wrong with it also when the view is the snapshot.
func (o offline) Status() directory.Status {
	st := o.Source.Status()
	if o.kept != nil {
		st.State, st.LastError = directory.StateDegraded, o.kept.Error()
	}
	return st
}

// RouteQuery answers `coexist route`: by the running gateway, else by what it would start with. note says which, when it was not the
// gateway.
func RouteQuery(ctx context.Context, cfg *config.Config, from routing.Side, sender string, addresses []string) (ds []routing.Decision, note string, err error) {
	ds, err = admin.NewClient(cfg.Admin.Address).Route(ctx, from, sender, addresses)
	if err == nil {
		return ds, "", nil
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		note = fmt.Sprintf("the running gateway did not answer (%v); ", err)
	}
	source, err := openOffline(ctx, cfg, addresses...)
	if err != nil {
		return nil, note, err
	}
	g := &Gateway{now: time.Now, directory: source}
	g.state.Store(newState(cfg, nil, nil))
	for _, a := range addresses {
		ds = append(ds, g.Route(from, sender, a))
	}
	return ds, note + offlineNote(source), nil
}

func offlineNote(source offline) string {
	st := source.Status()
	note := "no gateway is running; answered from " + st.Source
	switch {
	case source.View() == nil:
		note = "no gateway is running, and there is no view of the directory"
	case source.kept != nil:
		note = "no gateway is running; answered from the last view, kept in data_dir"
	}
	if st.LastError != "" {
		note += " (" + st.LastError + ")"
	}
	return note
}

// DirectoryStatus answers `coexist directory status` in the same way.
func DirectoryStatus(ctx context.Context, cfg *config.Config) (st directory.Status, note string, err error) {
	st, err = admin.NewClient(cfg.Admin.Address).Directory(ctx)
	if err == nil {
		return st, "", nil
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		note = fmt.Sprintf("the running gateway did not answer (%v); ", err)
	}
	source, err := openOffline(ctx, cfg)
	if err != nil {
		return st, note, err
	}
	return source.Status(), note + offlineNote(source), nil
}

// Queue is the spool as the queue commands see it.
type Queue interface {
	List(ctx context.Context) ([]spool.Row, error)
	Show(ctx context.Context, id string) (*spool.Item, error)
	Raw(ctx context.Context, id string, w io.Writer) error
	Do(ctx context.Context, verb, id string) error
	Holds(ctx context.Context) ([]spool.Hold, error)
	AddHold(ctx context.Context, h spool.Hold) error
	ReleaseHold(ctx context.Context, address string) error
	Close() error
}

// lockPatience is how long OpenQueue waits for a spool that somebody else has open: a gateway between opening the spool and answering,
// or another command.
const lockPatience = 5 * time.Second

// OpenQueue is the queue of the running gateway, or else the spool itself.
func OpenQueue(cfg *config.Config) (Queue, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		q, err := openQueue(cfg)
		if !errors.Is(err, spool.ErrLocked) || time.Now().After(end) {
			return q, err
		}
	}
}

func openQueue(cfg *config.Config) (Queue, error) {
	client := admin.NewClient(cfg.Admin.Address)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, asked := client.Directory(ctx)
	if asked == nil {
		return runningQueue{client}, nil
	}
	dir := filepath.Join(cfg.DataDir, "spool")
	if _, err := os.Stat(dir); err != nil {
		return emptyQueue{func() (Queue, error) { return openSpoolQueue(cfg, dir) }}, nil // nothing was ever spooled, and looking must not make a folder
	}
	q, err := openSpoolQueue(cfg, dir)
	if err != nil && !errors.Is(asked, admin.ErrNotRunning) {
		err = fmt.Errorf("%w (%w)", asked, err)
	}
	return q, err
}

// runningQueue asks the gateway.
type runningQueue struct{ *admin.Client }

func (q runningQueue) List(ctx context.Context) ([]spool.Row, error) { return q.Client.Queue(ctx) }
func (q runningQueue) Show(ctx context.Context, id string) (*spool.Item, error) {
	return q.Client.QueueItem(ctx, id)
}
func (q runningQueue) Raw(ctx context.Context, id string, w io.Writer) error {
	return q.Client.QueueRaw(ctx, id, w)
}
func (q runningQueue) Do(ctx context.Context, verb, id string) error {
	return q.Client.QueueDo(ctx, verb, id)
}
func (q runningQueue) Close() error { return nil }

// emptyQueue is the spool of a gateway that never ran.
type emptyQueue struct{ open func() (Queue, error) }

func (emptyQueue) List(context.Context) ([]spool.Row, error) { return []spool.Row{}, nil }
func (emptyQueue) Show(context.Context, string) (*spool.Item, error) {
	return nil, spool.ErrNotFound
}
func (emptyQueue) Raw(context.Context, string, io.Writer) error { return spool.ErrNotFound }
func (emptyQueue) Do(context.Context, string, string) error     { return spool.ErrNotFound }
func (emptyQueue) Close() error                                 { return nil }

func (emptyQueue) Holds(context.Context) ([]spool.Hold, error) { return []spool.Hold{}, nil }
func (emptyQueue) ReleaseHold(context.Context, string) error   { return spool.ErrNotFound }

func (e emptyQueue) AddHold(ctx context.Context, h spool.Hold) error {
	q, err := e.open()
	if err != nil {
		return err
	}
	defer q.Close()
	return q.AddHold(ctx, h)
}

// spoolQueue opens the spool in place of a gateway.
type spoolQueue struct{ adminView }

func openSpoolQueue(cfg *config.Config, dir string) (Queue, error) {
	log := slog.New(slog.DiscardHandler)
	g := &Gateway{now: time.Now, log: log, metrics: newMetrics()}
	g.deliveries, g.cut = context.WithCancel(context.Background())
	g.watch, g.unwatch = context.WithCancel(context.Background())
	g.state.Store(newState(cfg, nil, nil))
	var err error
	if g.store, err = spool.Open(dir, spool.Options{Logger: log}); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	if g.trace, err = trace.Open(filepath.Join(cfg.DataDir, "trace"), trace.Options{Logger: log}); err != nil {
		g.close()
		return nil, fmt.Errorf("opening the trace: %w", err)
	}
	g.scheduler, err = spool.NewScheduler(g.deliveries, spool.SchedulerOptions{Store: g.store, Schedule: schedule(cfg),
		Run: func(context.Context, *spool.Item) spool.Outcome { return spool.Outcome{NotTried: true} }})
	if err != nil {
		g.close()
		return nil, err
	}
	return spoolQueue{adminView{g}}, nil
}

func (q spoolQueue) List(ctx context.Context) ([]spool.Row, error) {
	rows := []spool.Row{}
	err := q.Queue(ctx, func(it *spool.Item) bool {
		rows = append(rows, it.Row())
		return true
	})
	return rows, err
}

func (q spoolQueue) Show(ctx context.Context, id string) (*spool.Item, error) {
	return q.QueueItem(ctx, id)
}
func (q spoolQueue) Raw(ctx context.Context, id string, w io.Writer) error {
	return q.QueueRaw(ctx, id, w)
}
func (q spoolQueue) Do(ctx context.Context, verb, id string) error { return q.QueueDo(ctx, verb, id) }
func (q spoolQueue) Close() error {
	q.close()
	return nil
}
