package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/spool"
)

// checkDataDir sees whether data_dir is there or can be made, takes a file, and has room. What it writes for that is gone when it returns.
func checkDataDir(cfg *config.Config) CheckLine {
	const what = "data_dir"
	found, err := nearest(cfg.DataDir)
	if err != nil {
		return line(what, err, "")
	}
	try, note, trouble := tryExisting, "", "cannot be written"
	if found != cfg.DataDir {
		try, note, trouble = tryFolder, ", will be made", "cannot be made"
	}
	if err := try(found); err != nil {
		return line(what, fmt.Errorf("%s %s: %w", cfg.DataDir, trouble, err), "")
	}
	result, room, err := checkRoom(found, cfg.Limits.MessageSize)
	if err != nil {
		return line(what, err, "")
	}
	return CheckLine{result, what, cfg.DataDir + note + ", " + room}
}

// nearest is dir or, where that has to be made, the nearest folder above it that there is.
func nearest(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return "", &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is a link to a folder that does not exist", dir)
		}
		dir = filepath.Dir(dir)
	}
}

func tryExisting(dir string) error {
	if err := tryFile(dir); err != nil {
		return err
	}
	return tryFolders(dir)
}

// tryFolder makes a folder in dir, and takes it away again: whether that can be done is known for sure in no other way. It is not the
// folder that a gateway would make, so that one that starts just now is not disturbed.
func tryFolder(dir string) error {
	made, err := os.MkdirTemp(dir, ".coexist-check-")
	if err != nil {
		return err
	}
	return errors.Join(tryFile(made), os.Remove(made))
}

// tryFile writes a page to a file in dir that has no name any more by then.
func tryFile(dir string) error {
	f, err := os.CreateTemp(dir, ".coexist-check-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.Write(make([]byte, os.Getpagesize())); err != nil {
		return err
	}
	return f.Sync()
}

// tryFolders sees whether the folders in data_dir may be read and written: after a start as root they belong to root. Nothing is written
// there, since a running gateway may look.
func tryFolders(dataDir string) error {
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dataDir, e.Name())
		if !e.IsDir() || e.Name() == "lost+found" {
			continue
		}
		if err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "access", Path: path, Err: err}
		}
	}
	return nil
}

// checkRoom compares what is free with what the spool keeps back, and with the largest message.
func checkRoom(dir string, messageSize int64) (result CheckResult, room string, err error) {
	if own := filepath.Join(dir, "spool"); isDir(own) { // which may be a file system of its own
		dir = own
	}
	free, total, err := spool.OSFS{}.Space(dir)
	if err != nil {
		return "", "", err
	}
	room = fmt.Sprintf("%d MiB free", free>>20)
	switch low := spool.KeptBack(total); {
	case free < low:
		return "", "", fmt.Errorf("%s: %d octets free, %d kept back: no message can be spooled", dir, free, low)
	case free-low < messageSize:
		return CheckWarning, room + ": less than a message of limits.message_size needs", nil
	}
	return CheckFine, room, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
