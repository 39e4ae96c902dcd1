// Package admin is the gateway's HTTP side: health, metrics, and what the commands ask of a running gateway.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/recordings"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
)

// Gateway is what the handler shows and steers.
type Gateway interface {
	// Ready is nil once the listeners are bound and a view is loaded, else the reason why not. The text tells of trouble that
	// does not stop mail, as an old view.
	Ready() (text string, err error)
	Route(from routing.Side, sender, recipient string) routing.Decision
	DirectoryStatus() directory.Status
	Directory
	// Queue calls f for each queued message, next attempt first, until f returns false.
	Queue(ctx context.Context, f func(*spool.Item) bool) error
	QueueItem(ctx context.Context, id string) (*spool.Item, error)
	QueueRaw(ctx context.Context, id string, w io.Writer) error
	// FlushTrace puts the events so far where a reader of the trace sees them.
	FlushTrace()
	Holds(ctx context.Context) ([]spool.Hold, error)
	AddHold(ctx context.Context, h spool.Hold) error
	ReleaseHold(ctx context.Context, address string) error
	// Recordings are those of dialogues with clients.
	Recordings() *recordings.Store
	// QueueDo does a verb to one message: retry, hold, release, drop, or drop-silently (no DSN).
	QueueDo(ctx context.Context, verb, id string) error
}

// controlHeader must be on every request that changes something. A browser does not send it to another site without asking first, so
// that a web page cannot steer a gateway on the administrator's machine.
const controlHeader = "X-Coexist-Control"

// NewHandler serves /healthz, /readyz, /metrics and /api/. metrics may be nil.
func NewHandler(g Gateway, metrics http.Handler, log *slog.Logger) http.Handler {
	h := &handler{g: g, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", h.ready)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	mux.HandleFunc("GET /api/route", h.route)
	mux.HandleFunc("GET /api/directory", func(w http.ResponseWriter, _ *http.Request) { h.json(w, g.DirectoryStatus()) })
	h.directory(mux)
	mux.HandleFunc("GET /api/queue", h.queue)
	mux.HandleFunc("GET /api/queue/{id}", h.queueItem)
	mux.HandleFunc("GET /api/queue/{id}/raw", h.queueRaw)
	mux.HandleFunc("POST /api/queue/{id}/{verb}", h.control(h.queueDo))
	mux.HandleFunc("GET /api/trace/flush", func(w http.ResponseWriter, _ *http.Request) {
		g.FlushTrace()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /api/holds", h.holds)
	mux.HandleFunc("POST /api/holds", h.control(h.addHold))
	mux.HandleFunc("DELETE /api/holds/{address}", h.control(h.releaseHold))
	h.recordings(mux)
	return mux
}

// control lets only requests through that a browser does not make for another site.
func (h *handler) control(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(controlHeader) == "" {
			http.Error(w, "the header "+controlHeader+" is missing", http.StatusForbidden)
			return
		}
		do(w, r)
	}
}

func (h *handler) holds(w http.ResponseWriter, r *http.Request) {
	list, err := h.g.Holds(r.Context())
	if err != nil {
		h.fail(w, err)
		return
	}
	if list == nil {
		list = []spool.Hold{}
	}
	h.json(w, list)
}

func (h *handler) addHold(w http.ResponseWriter, r *http.Request) {
	var hold spool.Hold
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&hold); err != nil {
		http.Error(w, "reading the hold: "+err.Error(), http.StatusBadRequest)
		return
	}
	if at := strings.LastIndexByte(hold.Address, '@'); at <= 0 || at == len(hold.Address)-1 {
		http.Error(w, fmt.Sprintf("%q is no address", hold.Address), http.StatusBadRequest)
		return
	}
	if err := h.g.AddHold(r.Context(), hold); err != nil {
		h.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) releaseHold(w http.ResponseWriter, r *http.Request) {
	if err := h.g.ReleaseHold(r.Context(), r.PathValue("address")); err != nil {
		h.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

type handler struct {
	g   Gateway
	log *slog.Logger
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request) {
	text, err := h.g.Ready()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, text)
}

func (h *handler) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.log.Debug("writing an answer", "error", err)
	}
}

func (h *handler) route(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	decisions := []routing.Decision{}
	for _, a := range q["address"] {
		decisions = append(decisions, h.g.Route(routing.Side(q.Get("from")), q.Get("sender"), a))
	}
	h.json(w, decisions)
}

func (h *handler) queue(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	sep := "["
	err := h.g.Queue(r.Context(), func(it *spool.Item) bool {
		row, err := json.Marshal(it.Row())
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", sep, row)
		}
		sep = ","
		return err == nil
	})
	if err != nil && sep == "[" {
		h.fail(w, err)
		return
	}
	if sep == "[" {
		fmt.Fprint(w, sep)
	}
	fmt.Fprintln(w, "]")
}

func (h *handler) queueItem(w http.ResponseWriter, r *http.Request) {
	it, err := h.g.QueueItem(r.Context(), r.PathValue("id"))
	if err != nil {
		h.fail(w, err)
		return
	}
	h.json(w, it)
}

func (h *handler) queueRaw(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := h.g.QueueRaw(r.Context(), r.PathValue("id"), w); err != nil {
		h.fail(w, err)
	}
}

func (h *handler) queueDo(w http.ResponseWriter, r *http.Request) {
	if err := h.g.QueueDo(r.Context(), r.PathValue("verb"), r.PathValue("id")); err != nil {
		h.fail(w, err)
		return
	}
	h.log.Info("queue", "verb", r.PathValue("verb"), "id", r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
}

// ErrVerb is the error of QueueDo for a verb that is none.
var ErrVerb = errors.New("no such verb: retry, hold, release, drop or drop-silently is expected")

func (h *handler) fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, spool.ErrNotFound), errors.Is(err, recordings.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrVerb), errors.Is(err, recordings.ErrRequest):
		status = http.StatusBadRequest
	case errors.Is(err, spool.ErrHeld), errors.Is(err, spool.ErrClaimed), errors.Is(err, recordings.ErrNotRunning), errors.Is(err, recordings.ErrTooMany):
		status = http.StatusConflict
	}
	http.Error(w, err.Error(), status)
}

// Server makes the HTTP server of a handler, with limits that a stray client cannot stretch.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
}
