package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is the largest configuration file that is read, in octets. A larger one is something else.
const maxFile = 4 << 20

// Load reads and validates the file at path. The error is an Errors when the file could be read, but not used.
func Load(path string) (*Config, error) {
	data, err := readLimited(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of the configuration: %w", err)
	}
	c, err := Parse(path, data, filepath.Dir(abs))
	if err != nil {
		return nil, err
	}
	c.Path = abs
	return c, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: is larger than %d octets", path, maxFile)
	}
	return data, nil
}

// Parse validates the text data of a configuration file. name is how findings call the file; relative paths are relative
// to dir. The error is always an Errors. Files that the configuration names are read, to see whether they can be used.
func Parse(name string, data []byte, dir string) (*Config, error) {
	d := &decoder{file: name, given: map[string]bool{}, bad: map[string]bool{}}
	if !d.encoding(data) {
		return nil, Errors(d.findings)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	positions := scan(data)
	if positions.deep > 0 {
		return nil, Errors{{name, positions.deep, "", fmt.Sprintf("is nested deeper than %d, expected tables as in the documentation", maxDepth)}}
	}
	d.lines = positions.lines
	values, complete := d.syntax(data)
	c := Default()
	if complete {
		d.table("", values, reflect.ValueOf(c).Elem())
		v := &validator{decoder: d, c: c, dir: dir}
		v.validate()
	}
	sortFindings(d.findings)
	sortFindings(d.warnings)
	if len(d.findings) > 0 {
		return nil, Errors(d.findings)
	}
	c.Warnings = d.warnings
	return c, nil
}

// encoding refuses what is not UTF-8 (TOML 1.0, "Spec").
func (d *decoder) encoding(data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		d.findings = append(d.findings, Finding{d.file, 1, "", "is UTF-16, expected UTF-8"})
		return false
	}
	line := 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			d.findings = append(d.findings, Finding{d.file, line, "", "is not valid UTF-8"})
			return false
		}
		if r == '\n' {
			line++
		}
		i += n
	}
	return true
}

// syntax parses the text. To report more than the first error of syntax, it takes out the line of "key = value" with an
// error and parses again; complete is false where that is not possible and values are not known.
func (d *decoder) syntax(data []byte) (values map[string]any, complete bool) {
	const maxSyntaxErrors = 50
	rest := bytes.Clone(data)
	last := 0
	for range maxSyntaxErrors {
		values = map[string]any{}
		_, err := toml.Decode(string(rest), &values)
		if err == nil {
			return values, true
		}
		line, what := syntaxError(err)
		line = min(max(line, 1), bytes.Count(data, []byte("\n"))+1)
		if last > 0 && line <= last {
			return nil, false // what was taken out was not the cause: what follows would mislead
		}
		key := keyOfLine(rest, line)
		d.findings = append(d.findings, Finding{d.file, line, withoutIndexes(key), what})
		if key == "" {
			return nil, false
		}
		d.bad[key] = true
		blankLine(rest, line)
		last = line
	}
	return nil, false
}

// syntaxError returns the line and text of an error of the TOML library.
func syntaxError(err error) (line int, what string) {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return 1, oneLine(err.Error())
	}
	what = oneLine(parse.Message)
	if strings.HasPrefix(what, "expected value but found") {
		what = `is not a value: words, sizes and durations stand in quotes, as in tls = "off"`
	}
	line = parse.Position.Line
	if header, rest, _ := strings.Cut(what, ", but got "); strings.Contains(header, " table ") && (rest == `'\n' instead` || rest == `'\r' instead`) {
		if rest == `'\n' instead` {
			line-- // the library counts the line end to the next line
		}
		what = "is a header without its end, expected one as in [cloud] or [[listener]]"
	}
	return line, what
}

// keyOfLine returns the path of the key of a "key = value" that begins on the line and may end there; else "".
func keyOfLine(data []byte, line int) string {
	start, end := lineBounds(data, line)
	text := bytes.TrimSpace(data[start:end])
	equals := bytes.IndexByte(text, '=')
	if equals <= 0 || text[0] == '[' || text[0] == '#' || bytes.ContainsAny(text[:equals], "{}(),") {
		return ""
	}
	if openEnded(data[:start]) {
		return ""
	}
	// The scan of everything up to this line knows in which table the key is.
	return scan(append(bytes.Clone(data[:start]), text[:equals]...)).last
}

// openEnded says whether the text ends inside of an array or a string of several lines.
func openEnded(data []byte) bool {
	values := map[string]any{}
	_, err := toml.Decode(string(data), &values)
	return err != nil
}

// blankLine replaces a line by blanks, so that all others keep their number.
func blankLine(data []byte, line int) {
	start, end := lineBounds(data, line)
	for i := start; i < end; i++ {
		data[i] = ' '
	}
}

// lineBounds returns where a line begins and ends, without its line break.
func lineBounds(data []byte, line int) (start, end int) {
	for range line - 1 {
		next := bytes.IndexByte(data[start:], '\n')
		if next < 0 {
			return len(data), len(data)
		}
		start += next + 1
	}
	if next := bytes.IndexByte(data[start:], '\n'); next >= 0 {
		return start, start + next
	}
	return start, len(data)
}
