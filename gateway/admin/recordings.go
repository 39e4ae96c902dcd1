package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coexist-mail/coexist/gateway/recordings"
)

// recordings serves the recordings of dialogues. Each request needs the control header, those that only read too: what clients said is in
// the answers.
func (h *handler) recordings(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/recordings", h.control(func(w http.ResponseWriter, _ *http.Request) { h.json(w, h.g.Recordings().List()) }))
	mux.HandleFunc("POST /api/recordings", h.control(h.startRecording))
	mux.HandleFunc("GET /api/recordings/{id}", h.control(h.recording))
	mux.HandleFunc("POST /api/recordings/{id}/stop", h.control(h.stopRecording))
	mux.HandleFunc("DELETE /api/recordings/{id}", h.control(h.removeRecording))
}

func (h *handler) startRecording(w http.ResponseWriter, r *http.Request) {
	var request recordings.Request
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		http.Error(w, "reading the request: "+err.Error(), http.StatusBadRequest)
		return
	}
	info, err := h.g.Recordings().Start(request)
	if err != nil {
		h.fail(w, err)
		return
	}
	h.log.Info("recording started", "id", info.ID, "clients", fmt.Sprint(info.Clients), "until", info.Until, "bodies", info.Bodies)
	h.json(w, info)
}

func (h *handler) stopRecording(w http.ResponseWriter, r *http.Request) {
	info, err := h.g.Recordings().Stop(r.PathValue("id"))
	if err != nil {
		h.fail(w, err)
		return
	}
	h.log.Info("recording stopped", "id", info.ID)
	h.json(w, info)
}

func (h *handler) recording(w http.ResponseWriter, r *http.Request) {
	f, err := h.g.Recordings().Open(r.PathValue("id"))
	if err != nil {
		h.fail(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := io.Copy(w, f); err != nil {
		h.log.Debug("writing a recording", "error", err)
	}
}

func (h *handler) removeRecording(w http.ResponseWriter, r *http.Request) {
	if err := h.g.Recordings().Remove(r.PathValue("id")); err != nil {
		h.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// StartRecording makes a running gateway record.
func (c *Client) StartRecording(ctx context.Context, r recordings.Request) (info recordings.Info, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return info, fmt.Errorf("encoding the request: %w", err)
	}
	err = c.do(ctx, http.MethodPost, "/api/recordings", bytes.NewReader(body), into(&info))
	return info, err
}

// StopRecording ends a recording: recordings.ErrNotFound when there is none, recordings.ErrNotRunning when it has ended.
func (c *Client) StopRecording(ctx context.Context, id string) (info recordings.Info, err error) {
	err = c.do(ctx, http.MethodPost, recordingPath(id)+"/stop", nil, into(&info))
	return info, err
}

// Recordings lists the recordings, the newest first.
func (c *Client) Recordings(ctx context.Context) (list []recordings.Info, err error) {
	err = c.do(ctx, http.MethodGet, "/api/recordings", nil, into(&list))
	return list, err
}

// Recording writes the text of a recording; recordings.ErrNotFound when there is none.
func (c *Client) Recording(ctx context.Context, id string, w io.Writer) error {
	return c.do(ctx, http.MethodGet, recordingPath(id), nil, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// RemoveRecording deletes a recording; recordings.ErrNotFound when there is none.
func (c *Client) RemoveRecording(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, recordingPath(id), nil, func(io.Reader) error { return nil })
}

func recordingPath(id string) string { return recordingsPath + url.PathEscape(id) }

const recordingsPath = "/api/recordings/"

func into(v any) func(io.Reader) error {
	return func(r io.Reader) error {
		if err := json.NewDecoder(r).Decode(v); err != nil {
			return errors.Join(errors.New("reading the answer: is it coexist?"), err)
		}
		return nil
	}
}
