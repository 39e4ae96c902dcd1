package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/audit"
	"github.com/coexist-mail/coexist/routing"
)

// Directory is what can be asked of the gateway's view, beside its status.
type Directory interface {
	// SyncDirectory asks the source for changes now. done is false when that goes on after the answer, because it takes long.
	SyncDirectory(ctx context.Context) (done bool, err error)
	// ExportDirectory writes the view as LDIF.
	ExportDirectory(w io.Writer) error
	// LookupDirectory finds objects by address, DN or objectGUID. An empty list is no error.
	LookupDirectory(name string) ([]LookedUp, error)
	// AuditDirectory gives the findings about the objects of the view.
	AuditDirectory() ([]audit.Finding, error)
}

// LookedUp is an object as the gateway sees it.
type LookedUp struct {
	DN             string              `json:"dn"`
	GUID           string              `json:"guid"`
	Kind           string              `json:"kind"`
	Values         []directory.Meaning `json:"values"`
	Members        []string            `json:"members,omitempty"`         // DNs
	MissingMembers []string            `json:"missing_members,omitempty"` // of members that the view does not hold
	// Route is where mail to the object goes, by its primary address; null when it has no address.
	Route *routing.Decision `json:"route"`
}

// directory adds what is asked of the directory.
func (h *handler) directory(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/directory/sync", h.control(h.syncDirectory))
	mux.HandleFunc("GET /api/directory/export", h.exportDirectory)
	mux.HandleFunc("GET /api/directory/lookup", func(w http.ResponseWriter, r *http.Request) {
		found, err := h.g.LookupDirectory(r.URL.Query().Get("name"))
		h.answer(w, found, err)
	})
	mux.HandleFunc("GET /api/directory/audit", func(w http.ResponseWriter, _ *http.Request) {
		findings, err := h.g.AuditDirectory()
		h.answer(w, findings, err)
	})
}

func (h *handler) answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		h.fail(w, err)
		return
	}
	h.json(w, v)
}

func (h *handler) syncDirectory(w http.ResponseWriter, r *http.Request) {
	done, err := h.g.SyncDirectory(r.Context())
	if err != nil {
		h.fail(w, err)
		return
	}
	h.json(w, map[string]bool{"done": done})
}

func (h *handler) exportDirectory(w http.ResponseWriter, _ *http.Request) {
	began := &began{Writer: w}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := h.g.ExportDirectory(began); err != nil && !began.yes {
		h.fail(w, err)
	}
}

// began knows whether anything was written: then it is too late for another status.
type began struct {
	io.Writer
	yes bool
}

func (b *began) Write(p []byte) (int, error) {
	b.yes = true
	return b.Writer.Write(p)
}

// SyncDirectory makes the gateway ask its source for changes now.
func (c *Client) SyncDirectory(ctx context.Context) (done bool, err error) {
	err = c.do(ctx, http.MethodPost, "/api/directory/sync", nil, func(r io.Reader) error {
		var answer struct{ Done bool }
		if err := json.NewDecoder(r).Decode(&answer); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", c.base, err)
		}
		done = answer.Done
		return nil
	})
	return done, err
}

// ExportDirectory writes the gateway's view as LDIF.
func (c *Client) ExportDirectory(ctx context.Context, w io.Writer) error {
	patient := *c.http
	patient.Timeout = 0 // a large view takes as long as its reader
	p := &Client{base: c.base, http: &patient}
	return p.do(ctx, http.MethodGet, "/api/directory/export", nil, func(r io.Reader) error {
		if n, err := io.Copy(w, r); err != nil {
			return fmt.Errorf("copying the view: %w", err)
		} else if n == 0 {
			return errors.New("the gateway sent nothing")
		}
		return nil
	})
}

// LookupDirectory finds objects by address, DN or objectGUID.
func (c *Client) LookupDirectory(ctx context.Context, name string) (found []LookedUp, err error) {
	err = c.get(ctx, "/api/directory/lookup?"+url.Values{"name": {name}}.Encode(), &found)
	return found, err
}

// AuditDirectory asks for the findings about the objects of the view.
func (c *Client) AuditDirectory(ctx context.Context) (findings []audit.Finding, err error) {
	err = c.get(ctx, "/api/directory/audit", &findings)
	return findings, err
}
