package milter

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNotAsked is why a filter counts as not available without having been asked: it was found dead a moment ago.
var ErrNotAsked = errors.New("not asked, since it could not be reached")

// breaker keeps mail from waiting for a filter that is dead. It opens when the filter could not be reached several times in a row; then one
// message at a time tries again, now and then.
//
// What counts is the connection and the negotiation. A filter that fails later, in the middle of a message, may fail because of that message:
// else who sends a message that kills a filter could switch it off for those that follow.
type breaker struct {
	limit int           // failures in a row
	pause time.Duration // until the next try
	now   func() time.Time

	mu       sync.Mutex
	failures int
	since    time.Time // of the first of them
	next     time.Time // the next try, while it is open
	trying   bool
}

// allow says whether the filter may be asked. When it may, reached has to follow.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < b.limit {
		return nil
	}
	now := b.now()
	if b.trying || now.Before(b.next) {
		return fmt.Errorf("%w since %s", ErrNotAsked, b.since.UTC().Format(time.RFC3339))
	}
	b.trying = true
	return nil
}

// reached notes whether the filter was reached. given is false where that cannot be said, since the gateway gave up first.
func (b *breaker) reached(err error, given bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	now := b.now()
	switch {
	case !given:
	case err == nil:
		b.failures = 0
	default:
		if b.failures++; b.failures == 1 {
			b.since = now
		}
		b.next = now.Add(b.pause)
	}
}

// up says whether the filter is asked.
func (b *breaker) up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures < b.limit
}
