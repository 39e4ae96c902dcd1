package spool

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// The errors of a Store, to be tested with errors.Is.
var (
	// ErrNotFound: there is no item of that ID.
	ErrNotFound = errors.New("spool: no such message")
	// ErrExists: Put of an ID that is in the store.
	ErrExists = errors.New("spool: a message with this id exists")
	// ErrClaimed: somebody else holds the lease of the item.
	ErrClaimed = errors.New("spool: the message is being delivered")
	// ErrFull: no space, a read-only or failing file system, or less free than the low-water mark. The client gets 452 4.3.1.
	// The store tries again at the next call, so it recovers by itself.
	ErrFull = errors.New("spool: insufficient storage")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("spool: in use by another process")
	// ErrDamaged: the stored octets are not those that were put.
	ErrDamaged = errors.New("spool: the stored message is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("spool: closed")
	// ErrHeld: the item is held, and must be released first.
	ErrHeld = errors.New("spool: the message is held")
)

// Store keeps items and their bodies. All methods may be called concurrently.
//
// An item is changed only by the holder of its lease, or while nobody has it: Claim takes the lease, Update writes and keeps
// it, Release writes and gives it up, Remove ends it. A lease does not survive its holder: after a crash of the process every
// item is free again.
type Store interface {
	// Put stores an item and its body: both are durable when it returns nil. The item is leased to it.Owner unless that is
	// empty. body must write it.Size octets; it is called once, before Put returns.
	Put(ctx context.Context, it *Item, body io.WriterTo) error
	// Claim leases the item to owner and returns it; ErrClaimed when it is leased, even to the same owner.
	Claim(ctx context.Context, id, owner string) (*Item, error)
	// Update writes the item durably and keeps its lease. it.Owner must be the holder, or empty when there is none.
	Update(ctx context.Context, it *Item) error
	// Release is Update, and gives the lease up when it succeeds.
	Release(ctx context.Context, it *Item) error
	// Remove deletes the item and its body, durably. it.Owner as for Update.
	Remove(ctx context.Context, it *Item) error
	// Quarantine takes the item out of the queue and keeps what there is of it aside for a person. it.Owner as for Update.
	Quarantine(ctx context.Context, it *Item, why string) error
	// Get returns the item without its body.
	Get(ctx context.Context, id string) (*Item, error)
	// Open returns the body, verified: ErrDamaged when its checksum is not that of what was put.
	Open(ctx context.Context, id string) (Body, error)
	// Entries calls f for what a scheduler must know of every item, in no order, until f returns false. f must not call the store.
	Entries(ctx context.Context, f func(Entry) bool) error
	// List calls f for the items that the filter selects, next attempt first, until f returns false.
	List(ctx context.Context, filter Filter, f func(*Item) bool) error
	// Room is nil when a message of size octets (0: unknown) would fit above the low-water mark, else ErrFull.
	Room(size int64) error
	// Stats counts.
	Stats() Stats

	// PutHold, Holds and RemoveHold keep the addresses whose mail waits.
	PutHold(ctx context.Context, h Hold) error
	Holds(ctx context.Context) ([]Hold, error)
	// RemoveHold returns ErrNotFound when the address has no hold.
	RemoveHold(ctx context.Context, address string) error

	Close() error
}

// Body is the stored octets of a message.
type Body interface {
	// Bytes is valid until Close, and must not be changed.
	Bytes() []byte
	Close() error
}

// Entry is what is known of an item without reading it.
type Entry struct {
	ID          string
	Lane        string // see Item.Lane
	State       State  // Waiting or Held, as stored
	Owner       string
	Received    time.Time
	NextAttempt time.Time
	HeldUntil   time.Time
	Attempts    int
	Size        int64
}

// Side is the side of the lane.
func (e Entry) Side() routing.Side { return laneSide(e.Lane) }

func laneSide(lane string) routing.Side {
	side, _, _ := strings.Cut(lane, "/")
	return routing.Side(side)
}

// Filter selects items; a zero field selects all.
type Filter struct {
	State State
	// Side is the side that the item waits for.
	Side routing.Side
	// Sender and Recipient are compared without regard to case; Recipient with every address a recipient has had.
	Sender, Recipient string
	// Limit is the greatest number of items.
	Limit int
}

// Stats is the size of the queue.
type Stats struct {
	Messages, Held, Delivering int
	Bytes                      int64     // of bodies
	Oldest                     time.Time // when the oldest message was received; zero when there is none
	Free                       int64     // octets free on the file system; -1 when unknown
	Damaged                    int       // messages quarantined since the store was opened
}

// Hold keeps the mail of one address waiting, as during the move of its mailbox.
type Hold struct {
	Address string    `json:"address"` // in lower case
	Until   time.Time `json:"until,omitzero"`
	Why     string    `json:"why,omitempty"`
	Since   time.Time `json:"since"`
}

// Active reports whether the hold is in force.
func (h Hold) Active(now time.Time) bool { return h.Until.IsZero() || now.Before(h.Until) }

// Segments is a body in memory in several pieces, as header and rest are. Its WriteTo leaves it as it is.
type Segments [][]byte

// Size is the number of octets.
func (s Segments) Size() int64 {
	n := int64(0)
	for _, b := range s {
		n += int64(len(b))
	}
	return n
}

// WriteTo writes the pieces in order.
func (s Segments) WriteTo(w io.Writer) (int64, error) {
	n := int64(0)
	for _, b := range s {
		m, err := w.Write(b)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
