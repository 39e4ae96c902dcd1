package spool

import (
	"os"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// pagedLimit is how many octets go through the database's mapping before its pages are let go.
const pagedLimit = 64 << 20

// pagedOctets keeps the resident size of the process down: bbolt reads through a mapping, and every page of the database that was
// ever touched counts as memory of the process. Letting go of them costs nothing but a soft fault at the next use, for they
// stay in the page cache.
type pagedOctets struct{ n atomic.Int64 }

func (p *pagedOctets) add(s *Local, n int64) {
	if p.n.Add(n) < pagedLimit {
		return
	}
	p.n.Store(0)
	s.releasePages()
}

// releasePages drops the page-table entries of the mapping. The mapping is shared and only read, so nothing is lost; the
// read transaction keeps it in place meanwhile.
func (s *Local) releasePages() {
	if err := s.view(func(*bolt.Tx) error { s.releaseMapping(); return nil }); err != nil {
		s.log.Debug("letting go of database pages", "error", err)
	}
}

// releaseMapping is releasePages for a caller that is in a transaction.
func (s *Local) releaseMapping() {
	err := func() error {
		st, err := os.Stat(s.dbPath())
		if err != nil {
			return err
		}
		page := int64(os.Getpagesize())
		length := (st.Size() + page - 1) / page * page
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(length), unix.MADV_DONTNEED); errno != 0 {
			return errno
		}
		return nil
	}()
	if err != nil {
		s.log.Debug("letting go of database pages", "error", err)
	}
}
