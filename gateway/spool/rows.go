package spool

import (
	stdheap "container/heap"
	"slices"
	"time"
)

// where says which list a node is in.
type where byte

const (
	inTimers where = iota
	inReady
	inRun
	inHeld // held without an end: in no list
)

// node is an item in the schedule.
type node struct {
	id       string
	due      int64 // nanoseconds since 1970
	received int64
	lane     *lane
	done     chan struct{} // closed when what runs has finished
	pos      int32         // in its heap
	where    where
	fresh    bool // never tried
	held     bool // wakes to be tried when its hold ends
}

// lane is the items of one side, or of one domain of the internet.
type lane struct {
	name           string
	fresh, backlog heap
	running        int
	members        int  // nodes, running ones too; an empty lane is forgotten
	inRing         bool // takes turns: it has items that are due
	backlogTurn    bool
}

// row is where a due node waits for its turn.
func (n *node) row() *heap {
	if n.fresh {
		return &n.lane.fresh
	}
	return &n.lane.backlog
}

// again is the node's entry with another time.
func (n *node) again(at time.Time) *Entry {
	e := &Entry{ID: n.id, Lane: n.lane.name, State: Waiting, NextAttempt: at, Received: time.Unix(0, n.received)}
	if !n.fresh {
		e.Attempts = 1
	}
	if n.held {
		e.State, e.HeldUntil = Held, at
	}
	return e
}

func entryOf(it *Item) *Entry {
	return &Entry{
		ID: it.ID, Lane: it.Lane(), State: it.State, Owner: it.Owner, Received: it.Received,
		NextAttempt: it.NextAttempt, HeldUntil: it.HeldUntil, Attempts: it.Attempts, Size: it.Size,
	}
}

// place puts an item that nobody runs into the list it belongs to. The caller holds mu.
func (s *Scheduler) place(e Entry) {
	l := s.lanes[e.Lane]
	if l == nil {
		l = &lane{name: e.Lane, fresh: heap{less: oldestFirst}, backlog: heap{less: oldestFirst}}
		s.lanes[e.Lane] = l
	}
	l.members++
	n := &node{
		id: e.ID, lane: l, due: unixNano(e.NextAttempt), received: unixNano(e.Received),
		fresh: e.Attempts == 0, held: e.State == Held,
	}
	s.nodes[n.id] = n
	if n.held && e.HeldUntil.IsZero() {
		n.where = inHeld
		return
	}
	if n.held {
		n.due = unixNano(e.HeldUntil)
	}
	n.where = inTimers
	s.timers.push(n)
}

// forget ends what place began. The caller holds mu.
func (s *Scheduler) forget(n *node) {
	delete(s.nodes, n.id)
	if n.lane.members--; n.lane.members == 0 {
		delete(s.lanes, n.lane.name)
	}
}

// ready puts a node whose time has come into the row of its lane. The caller holds mu.
func (s *Scheduler) ready(n *node) {
	n.where = inReady
	n.row().push(n)
	if !n.lane.inRing {
		n.lane.inRing = true
		s.ring = append(s.ring, n.lane)
	}
}

// unplace takes a node out of its list. The caller holds mu.
func (s *Scheduler) unplace(n *node) {
	switch n.where {
	case inTimers:
		s.timers.remove(n)
	case inReady:
		n.row().remove(n)
	}
}

// next takes the node whose turn it is, or nil. The caller holds mu.
func (s *Scheduler) next() *node {
	for range len(s.ring) {
		s.turn %= len(s.ring)
		l := s.ring[s.turn]
		if l.fresh.len()+l.backlog.len() == 0 {
			l.inRing = false
			s.ring = slices.Delete(s.ring, s.turn, s.turn+1)
			continue
		}
		s.turn++
		if l.running < s.opt.MaxPerLane && !s.closed[laneSide(l.name)] {
			return l.next()
		}
	}
	return nil
}

// next alternates between new mail and the backlog. There must be an item.
func (l *lane) next() *node {
	first, second := &l.fresh, &l.backlog
	if l.backlogTurn {
		first, second = second, first
	}
	if first.len() == 0 {
		first = second
	}
	l.backlogTurn = first == &l.fresh
	return first.pop()
}

// heap is a binary heap of nodes that know their place.
type heap struct {
	nodes []*node
	less  func(a, b *node) bool
}

func dueFirst(a, b *node) bool { return a.due < b.due || a.due == b.due && oldestFirst(a, b) }

func oldestFirst(a, b *node) bool {
	return a.received < b.received || a.received == b.received && a.id < b.id
}

func (h *heap) len() int       { return len(h.nodes) }
func (h *heap) top() *node     { return h.nodes[0] }
func (h *heap) push(n *node)   { stdheap.Push((*heapOps)(h), n) }
func (h *heap) pop() *node     { return stdheap.Pop((*heapOps)(h)).(*node) }
func (h *heap) remove(n *node) { stdheap.Remove((*heapOps)(h), int(n.pos)) }

// heapOps is what container/heap asks for, kept off the methods above.
type heapOps heap

func (h *heapOps) Len() int           { return len(h.nodes) }
func (h *heapOps) Less(i, j int) bool { return h.less(h.nodes[i], h.nodes[j]) }

func (h *heapOps) Swap(i, j int) {
	h.nodes[i], h.nodes[j] = h.nodes[j], h.nodes[i]
	h.nodes[i].pos, h.nodes[j].pos = int32(i), int32(j)
}

func (h *heapOps) Push(x any) {
	n := x.(*node)
	n.pos = int32(len(h.nodes))
	h.nodes = append(h.nodes, n)
}

func (h *heapOps) Pop() any {
	last := len(h.nodes) - 1
	n := h.nodes[last]
	h.nodes[last] = nil
	h.nodes = h.nodes[:last]
	return n
}
