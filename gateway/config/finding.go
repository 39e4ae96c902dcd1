package config

import (
	"fmt"
	"slices"
	"strings"
)

// Finding is one thing that is wrong with a configuration file.
type Finding struct {
	File string // the file, as it was named to Load or Parse
	Line int    // from 1; of the key, or of the table that lacks one
	Key  string // with its table: "onprem.next_hop"; empty for errors of syntax
	What string // what is wrong, and what is expected
}

// String is the finding in one line: "coexist.toml:12: onprem.next_hop: what is wrong, what is expected".
func (f Finding) String() string {
	if f.Key == "" {
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Key, f.What)
}

// Errors are all the findings that make a configuration unusable, in the order of their lines.
type Errors []Finding

// Error returns the findings, one line each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// sortFindings orders by line; findings of one line keep the order in which they were found.
func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int { return a.Line - b.Line })
}
