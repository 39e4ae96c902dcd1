//go:build !linux

package spool

// pagedOctets is empty where the kernel trims mappings by itself or has no way to ask for it.
type pagedOctets struct{}

func (*pagedOctets) add(*Local, int64) {}

func (s *Local) releasePages() {}

func (s *Local) releaseMapping() {}
