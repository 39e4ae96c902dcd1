package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/coexist-mail/coexist/tnef"
)

type tnefCmd struct {
	Convert tnefConvertCmd `cmd:"" help:"Convert the TNEF in a message, or a bare winmail.dat, to standard MIME."`
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
	var out bytes.Buffer
	var report tnef.Report
	if tnef.IsTNEF(data) {
		report, err = tnef.ConvertStream(&out, data, nil)
	} else {
		report, err = tnef.ConvertMessage(&out, data, nil)
	}
	for _, w := range report.Warnings {
		fmt.Fprintln(s.err, "coexist: warning:", w)
	}
	result := out.Bytes()
	if err != nil || report.Converted == 0 {
		result = data
	}
	if _, werr := s.out.Write(result); werr != nil {
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

func readInput(s *streams, file string) ([]byte, error) {
	if file == "" || file == "-" {
		return io.ReadAll(s.in)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	return data, nil
}
