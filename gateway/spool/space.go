package spool

import (
	"fmt"
	"sync"
	"time"
)

// defaultMinFree is the low-water mark of file systems over 640 MiB.
const defaultMinFree = 32 << 20

// KeptBack is the low-water mark, in octets, of a file system of the given size: with less free, nothing is put.
func KeptBack(total int64) int64 { return min(defaultMinFree, total/20) }

// spaceCache asks the file system for its free space at most once a second.
type spaceCache struct {
	mu   sync.Mutex
	at   time.Time
	have int64
	all  int64
	err  error
}

func (c *spaceCache) get(s *Local) (free, total int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := s.now(); c.at.IsZero() || now.Sub(c.at) >= time.Second || now.Before(c.at) {
		c.have, c.all, c.err = s.fs.Space(s.dir)
		c.at = now
	}
	return c.have, c.all, c.err
}

func (c *spaceCache) free(s *Local) (int64, error) {
	free, _, err := c.get(s)
	return free, err
}

// forget makes the next question go to the file system, as after a write that failed.
func (c *spaceCache) forget() {
	c.mu.Lock()
	c.at = time.Time{}
	c.mu.Unlock()
}

// Room implements Store.
func (s *Local) Room(size int64) error {
	free, total, err := s.space.get(s)
	if err != nil {
		return fmt.Errorf("free space of the spool: %w", asFull(err))
	}
	low := s.minFree
	if low == 0 {
		low = KeptBack(total)
	}
	s.reserve.fill(s, free-max(low, 0)-size, total)
	if s.reserve.missing(total) {
		return fmt.Errorf("%w: %d octets free", ErrFull, free)
	}
	if low >= 0 && free-size < low {
		return fmt.Errorf("%w: %d octets free, %d wanted, %d kept back", ErrFull, free, size, low)
	}
	return nil
}
