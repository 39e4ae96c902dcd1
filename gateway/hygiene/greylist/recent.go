package greylist

import (
	"container/list"
	"time"
)

// entry is what is known of a triplet or network.
type entry struct {
	key         key
	first, last time.Time
	count       uint32 // of a network: triplets let in
}

// recent is a bounded set of entries, in the order in which they were put.
type recent struct {
	max   int
	order *list.List // of entry; the oldest in front
	byKey map[key]*list.Element
}

func newRecent(limit int) *recent {
	return &recent{max: limit, order: list.New(), byKey: make(map[key]*list.Element)}
}

func (r *recent) len() int { return len(r.byKey) }

func (r *recent) get(k key) (entry, bool) {
	e, ok := r.byKey[k]
	if !ok {
		return entry{}, false
	}
	return e.Value.(entry), true
}

// put adds e, or replaces what has its key, as the newest.
func (r *recent) put(e entry) {
	if old, ok := r.byKey[e.key]; ok {
		old.Value = e
		r.order.MoveToBack(old)
		return
	}
	if len(r.byKey) >= r.max {
		r.remove(r.order.Front().Value.(entry).key)
	}
	r.byKey[e.key] = r.order.PushBack(e)
}

func (r *recent) remove(k key) {
	if e, ok := r.byKey[k]; ok {
		r.order.Remove(e)
		delete(r.byKey, k)
	}
}

// all lists the entries from the oldest to the newest, without those whose last use is before since.
func (r *recent) all(since time.Time) []entry {
	entries := make([]entry, 0, r.order.Len())
	for e := r.order.Front(); e != nil; e = e.Next() {
		if v := e.Value.(entry); !v.last.Before(since) {
			entries = append(entries, v)
		}
	}
	return entries
}
