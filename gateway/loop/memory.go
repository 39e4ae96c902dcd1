package loop

import (
	"container/list"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// key stands for a message and a recipient.
type key [16]byte

func identity(messageID, recipient string) (k key) {
	sum := sha256.Sum256([]byte(messageID + "\x00" + strings.ToLower(recipient)))
	copy(k[:], sum[:])
	return k
}

// seen is what is remembered of a message for a recipient: only what went from one side to the other and came back counts. The
// same message from the same side, again and again, is a sender that repeats itself or numbers its messages badly.
type seen struct {
	key      key
	from, to routing.Side
	returns  uint32 // how often it came back from where it was sent
	last     time.Time
}

// returned says whether a message that now comes from a side was sent there before. One that stayed on its side could just as
// well be new.
func (s seen) returned(from routing.Side) bool { return s.to == from && s.from != s.to }

// memory holds the messages that passed lately, up to a number: the one that passed longest ago gives way.
type memory struct {
	max int
	ttl time.Duration

	mu    sync.Mutex
	order *list.List // of seen; the oldest in front
	byKey map[key]*list.Element
}

func newMemory(limit int, ttl time.Duration) *memory {
	return &memory{max: limit, ttl: ttl, order: list.New(), byKey: make(map[key]*list.Element)}
}

func (m *memory) get(k key, now time.Time) (seen, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byKey[k]
	if !ok {
		return seen{}, false
	}
	s := e.Value.(seen)
	return s, now.Sub(s.last) <= m.ttl
}

func (m *memory) passed(k key, p Passage, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	s := seen{key: k, from: p.From, to: p.To, last: now}
	if e, ok := m.byKey[k]; ok {
		before := e.Value.(seen)
		s.returns = before.returns
		if before.returned(p.From) {
			s.returns++
		}
		e.Value = s
		m.order.MoveToBack(e)
		return
	}
	if len(m.byKey) >= m.max {
		m.remove(m.order.Front())
	}
	m.byKey[k] = m.order.PushBack(s)
}

// forget drops what is out of date.
func (m *memory) forget(now time.Time) {
	for e := m.order.Front(); e != nil && now.Sub(e.Value.(seen).last) > m.ttl; e = m.order.Front() {
		m.remove(e)
	}
}

func (m *memory) remove(e *list.Element) {
	delete(m.byKey, e.Value.(seen).key)
	m.order.Remove(e)
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byKey)
}
