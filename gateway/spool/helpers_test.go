package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

var bg = context.Background()

// epoch is a time that reads well in failures.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func newItem(id string, size int64) *Item {
	return &Item{
		ID: id, Kind: Mail, Received: epoch, Source: routing.Internet, Size: size, State: Waiting, NextAttempt: epoch.Add(time.Minute),
		Envelope:  message.Envelope{ReversePath: "megan@fabrikam.com", Body: "8BITMIME"},
		MessageID: "<" + id + "@fabrikam.com>",
		Recipients: []Recipient{
			{Asked: "adele@contoso.com", Query: "adele@contoso.com", Address: "adele@contoso.mail.onmicrosoft.com", Side: routing.Cloud, State: RecipientWaiting},
			{Asked: "Sales@contoso.com", Query: "alex@contoso.com", Side: routing.OnPrem, State: RecipientWaiting, Notify: []string{"FAILURE", "DELAY"}},
		},
	}
}

// octets makes a body that is told apart by its seed: its first eight octets are a checksum over the rest.
func octets(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := 8; i < size; i++ {
		b[i] = byte(r.Uint32())
	}
	if size >= 8 {
		copy(b, fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[8:])))
	}
	return b
}

func whole(b []byte) bool {
	return len(b) >= 8 && string(b[:8]) == fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[8:]))
}

func open(t testing.TB, dir string, opt Options) *Local {
	t.Helper()
	if opt.MinFree == 0 {
		opt.MinFree = -1
	}
	opt.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(t testing.TB, s Store, it *Item, body []byte) {
	t.Helper()
	it.Size = int64(len(body))
	if err := s.Put(bg, it, Segments{body}); err != nil {
		t.Fatalf("put %s: %v", it.ID, err)
	}
}

func wantBody(t testing.TB, s Store, id string, want []byte) {
	t.Helper()
	b, err := s.Open(bg, id)
	if err != nil {
		t.Fatalf("open %s: %v", id, err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("body of %s: %d octets differ from the %d put", id, len(b.Bytes()), len(want))
	}
	if err := b.Close(); err != nil {
		t.Errorf("close body: %v", err)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func ids(t testing.TB, s Store, f Filter) []string {
	t.Helper()
	var got []string
	if err := s.List(bg, f, func(it *Item) bool { got = append(got, it.ID); return true }); err != nil {
		t.Fatal(err)
	}
	return got
}
