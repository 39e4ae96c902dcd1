package spool

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserveMax is the size of the reserve, or a tenth of the file system if that is less: enough pages for a commit of removals.
const reserveMax = 1 << 20

// reserve is space set aside in a file. bbolt writes changed pages to new places, so even removing a message takes space; when the
// disk is full (others write to it too, whatever the low-water mark), the file is cut and the commit made in its place. Nothing is
// put until it is whole again, or the database has as much in free pages.
type reserve struct {
	whole atomic.Bool
	spent atomic.Bool  // cut for a commit, and not whole since
	pages atomic.Int64 // octets in free pages of the database
}

func (s *Local) reservePath() string { return filepath.Join(s.dir, "reserve") }

// fill sets the space aside, if there is room for it above the low-water mark.
func (r *reserve) fill(s *Local, free, total int64) {
	size := reserveSize(total)
	if r.whole.Load() || size <= 0 || free < size {
		return
	}
	if err := allocate(s.reservePath(), size); err != nil {
		s.log.Debug("setting space aside", "error", err)
		_ = os.Truncate(s.reservePath(), 0)
		return
	}
	r.whole.Store(true)
	r.spent.Store(false)
}

// missing reports whether a Put might take the space that a removal needs.
func (r *reserve) missing(total int64) bool {
	return r.spent.Load() && r.pages.Load() < reserveSize(total)
}

func reserveSize(total int64) int64 { return min(reserveMax, total/10) }

// spend gives the space free, and reports whether there was any.
func (r *reserve) spend(s *Local) bool {
	if !r.whole.Load() {
		return false
	}
	if err := os.Truncate(s.reservePath(), 0); err != nil {
		s.log.Error("giving the reserved space free", "error", err)
		return false
	}
	r.whole.Store(false)
	r.spent.Store(true)
	s.log.Error("the disk of the spool is full: nothing is taken until there is room; deliveries go on")
	return true
}

// allocate makes a file that really takes size octets.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		_, err = f.WriteAt(make([]byte, size), 0)
	}
	return errors.Join(err, f.Close())
}
