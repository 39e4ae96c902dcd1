package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	_ "time/tzdata" // for meetings that name their time zone and don't describe it

	"github.com/coexist-mail/coexist/tnef"
)

type tnefCmd struct {
	Convert tnefConvertCmd `cmd:"" help:"Convert the TNEF in a message, or a bare winmail.dat, to standard MIME."`
	Inspect tnefInspectCmd `cmd:"" help:"Show what is in a winmail.dat: attributes, properties, and what is wrong with it."`
	Extract tnefExtractCmd `cmd:"" help:"Write the files in a winmail.dat to a folder."`
}

type tnefConvertCmd struct {
	File string `arg:"" optional:"" help:"Message or TNEF stream; standard input without it."`
}

// Run writes the converted message, or what came in when there is nothing to convert, or nothing that can be read.
func (c *tnefConvertCmd) Run(s *streams) error {
	data, err := readInput(s, c.File)
	if err != nil {
		return err
	}
	out := counted{w: bufio.NewWriterSize(s.out, 64<<10)}
	var report tnef.Report
	if tnef.IsTNEF(data) {
		report, err = tnef.ConvertStream(&out, data, nil)
	} else {
		report, err = tnef.ConvertMessage(&out, data, nil)
	}
	printWarnings(s, report.Warnings)
	if out.n == 0 && (err != nil || report.Converted == 0) { // nothing is written unless something is converted
		_, _ = out.Write(data)
	}
	if werr := out.w.Flush(); werr != nil {
		return fmt.Errorf("writing the message: %w", werr)
	}
	if err != nil {
		return fmt.Errorf("the TNEF cannot be read, the input was passed on: %w", err)
	}
	if report.Failed > 0 {
		fmt.Fprintf(s.err, "coexist: %d of %d TNEF parts cannot be read\n", report.Failed, report.Found)
		return errFinding
	}
	return nil
}

// counted is an output that knows how much went to it. What it writes is not kept: it may be large.
type counted struct {
	w *bufio.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type tnefInspectCmd struct {
	jsonFlag
	File string `arg:"" optional:"" help:"Message or TNEF stream; standard input without it."`
}

// Run describes every TNEF stream of the input; with --json, an object for each.
func (c *tnefInspectCmd) Run(s *streams) error {
	streams, err := readStreams(s, c.File)
	if err != nil {
		return err
	}
	for _, data := range streams {
		i, err := tnef.Inspect(data, nil)
		if err != nil {
			return fmt.Errorf("inspecting: %w", err)
		}
		if c.JSON {
			err = s.json(i)
		} else {
			_, err = i.WriteTo(s.out)
		}
		if err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

type tnefExtractCmd struct {
	File string `arg:"" optional:"" help:"Message or TNEF stream; standard input without it."`
	Dir  string `help:"Folder for the files; it is made when there is none." default:"." placeholder:"DIR"`
}

// Run writes the files, and prints their names. A file that exists already is not touched.
func (c *tnefExtractCmd) Run(s *streams) error {
	streams, err := readStreams(s, c.File)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o777); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	failed, taken := false, map[string]bool{}
	for _, data := range streams {
		files, err := tnef.Extract(data, nil)
		if err != nil {
			return fmt.Errorf("extracting: %w", err)
		}
		for _, f := range files {
			path := filepath.Join(c.Dir, freeName(taken, f.Name))
			if err := writeNew(path, f.Data); err != nil {
				failed = true
				fmt.Fprintln(s.err, "coexist:", err)
				continue
			}
			fmt.Fprintln(s.out, path)
		}
	}
	if failed {
		return errFinding
	}
	return nil
}

// freeName numbers a file that has the name of one of another stream; within a stream names differ.
func freeName(taken map[string]bool, name string) string {
	ext := filepath.Ext(name)
	free := name
	for n := 2; taken[strings.ToLower(free)]; n++ {
		free = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, ext), n, ext)
	}
	taken[strings.ToLower(free)] = true
	return free
}

// writeNew writes a file that is not there yet: names come from the mail, and must not replace anything.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("writing a file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a file: %w", err)
	}
	return nil
}

// readStreams reads a bare TNEF stream, or those in a message. None at all is a finding.
func readStreams(s *streams, file string) ([][]byte, error) {
	data, err := readInput(s, file)
	if err != nil {
		return nil, err
	}
	streams, err := tnef.Streams(data, nil)
	if err != nil {
		return nil, fmt.Errorf("looking for TNEF: %w", err)
	}
	if len(streams) == 0 {
		return nil, errors.New("the input is neither a TNEF stream nor a message that holds one")
	}
	return streams, nil
}

func printWarnings(s *streams, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(s.err, "coexist: warning:", w)
	}
}

func readInput(s *streams, file string) ([]byte, error) {
	if file == "" || file == "-" {
		data, err := io.ReadAll(s.in)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	return data, nil
}
