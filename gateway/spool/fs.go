package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is what the store asks of the file system for body files. OSFS is the real one; tests inject faults.
type FS interface {
	// Create makes a new file for writing; it fails when the name exists.
	Create(name string) (File, error)
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	MkdirAll(name string) error
	// Space gives the octets that are free for this process, and the size of the file system.
	Space(name string) (free, total int64, err error)
}

// File is an open file of an FS.
type File interface {
	io.ReadWriteCloser
	Sync() error
	Stat() (fs.FileInfo, error)
	Fd() uintptr
}

// OSFS is the file system of the machine. Files are readable by their owner only: they are other people's mail.
type OSFS struct{}

// Create implements FS.
func (OSFS) Create(name string) (File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Open implements FS.
func (OSFS) Open(name string) (File, error) { return os.Open(name) }

// Rename implements FS.
func (OSFS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OSFS) Remove(name string) error { return os.Remove(name) }

// ReadDir implements FS.
func (OSFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// MkdirAll implements FS.
func (OSFS) MkdirAll(name string) error { return os.MkdirAll(name, 0o700) }

// SyncDir implements FS.
func (OSFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Space implements FS.
func (OSFS) Space(name string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return 0, 0, &fs.PathError{Op: "statfs", Path: name, Err: syscall.EROFS}
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// diskErrors are those that pass when an admin makes room or mends the disk: the client shall try again.
var diskErrors = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EFBIG, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE}

// asFull marks an error of the disk as ErrFull and leaves others as they are.
func asFull(err error) error {
	if err == nil || errors.Is(err, ErrFull) {
		return err
	}
	for _, e := range diskErrors {
		if errors.Is(err, e) {
			return &fullError{err}
		}
	}
	return err
}

// fullError is ErrFull with its cause.
type fullError struct{ cause error }

func (e *fullError) Error() string        { return ErrFull.Error() + ": " + e.cause.Error() }
func (e *fullError) Unwrap() error        { return e.cause }
func (e *fullError) Is(target error) bool { return target == ErrFull }
