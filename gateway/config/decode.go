package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decoder fills a Config from the maps and slices that the TOML library makes of a text. It goes on after each finding;
// the library's own decoding into structs would stop at the first, and would not tell unknown keys from misplaced ones.
type decoder struct {
	file     string
	lines    positions
	given    map[string]bool // paths that stand in the file
	bad      map[string]bool // paths with a finding: no further check looks at them
	findings []Finding
	warnings []Finding
}

// errorf notes what is wrong at a path.
func (d *decoder) errorf(path, format string, args ...any) {
	d.bad[path] = true
	d.findings = append(d.findings, d.finding(path, fmt.Sprintf(format, args...)))
}

// warnf notes what is doubtful at a path.
func (d *decoder) warnf(path, format string, args ...any) {
	d.warnings = append(d.warnings, d.finding(path, fmt.Sprintf(format, args...)))
}

func (d *decoder) finding(path, what string) Finding {
	return Finding{File: d.file, Line: d.lines.at(path), Key: withoutIndexes(path), What: oneLine(what)}
}

// withoutIndexes turns "listener[1].tls" into "listener.tls": the line says which one.
func withoutIndexes(path string) string {
	for {
		before, rest, found := strings.Cut(path, "[")
		_, after, closed := strings.Cut(rest, "]")
		if !found || !closed || strings.Contains(path, `"`) {
			return path
		}
		path = before + after
	}
}

// oneLine keeps a finding on its line, whatever the file or the operating system put into it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// ok says whether nothing is wrong with path and what is inside of it.
func (d *decoder) ok(path string) bool {
	if d.bad[path] {
		return false
	}
	for bad := range d.bad {
		if strings.HasPrefix(bad, path+"[") || strings.HasPrefix(bad, path+".") {
			return false
		}
	}
	return true
}

// table decodes the keys of one table into the struct v.
func (d *decoder) table(path string, table map[string]any, v reflect.Value) {
	keys := slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.lines.at(join(path, a)), d.lines.at(join(path, b))), strings.Compare(a, b))
	})
	fields := fieldsByKey(v.Type())
	for _, key := range keys {
		at := join(path, key)
		d.given[at] = true
		field, known := fields[key]
		if !known {
			d.errorf(at, "%s", unknownKey(withoutIndexes(path), key, fields))
			continue
		}
		d.value(at, table[key], v.Field(field))
	}
}

// fieldsByKey maps the keys of a table to the fields of its struct.
func fieldsByKey(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "-" {
			fields[key] = i
		}
	}
	return fields
}

// value decodes one value of any type into the field v.
func (d *decoder) value(path string, value any, v reflect.Value) {
	switch target := v.Addr().Interface().(type) {
	case *time.Duration:
		d.duration(path, value, target)
		return
	case *int64:
		d.size(path, value, target)
		return
	case *netip.Prefix:
		d.network(path, value, target)
		return
	case *OneOrMore:
		if one, ok := value.(string); ok {
			d.given[element(path, 0)] = true
			*target = OneOrMore{one}
			return
		}
	}
	switch v.Kind() {
	case reflect.String:
		if s, ok := typed[string](d, path, value, "a string"); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := typed[bool](d, path, value, "true or false, without quotes"); ok {
			v.SetBool(b)
		}
	case reflect.Int:
		d.number(path, value, v)
	case reflect.Struct:
		if table, ok := typed[map[string]any](d, path, value, "a table, ["+path+"], once"); ok {
			d.table(path, table, v)
		}
	case reflect.Slice:
		d.slice(path, value, v)
	}
}

// slice decodes an array, or an array of tables.
func (d *decoder) slice(path string, value any, v reflect.Value) {
	elem := v.Type().Elem()
	var items []any
	switch value := value.(type) {
	case []any:
		items = value
	case []map[string]any:
		for _, item := range value {
			items = append(items, item)
		}
	default:
		want := "an array of strings, in square brackets"
		switch {
		case isTable(elem):
			want = "an array of tables, [[" + path + "]]"
		case v.Type() == reflect.TypeFor[OneOrMore]():
			want = "a string, or " + want
		}
		d.errorf(path, "is %s, expected %s", typeName(value), want)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		d.given[element(path, i)] = true
		if isTable(elem) {
			d.arrayTable(path, i, item, out.Index(i))
			continue
		}
		d.value(element(path, i), item, out.Index(i))
	}
	v.Set(out)
}

// isTable says whether a type is a table of the file, rather than a value that happens to be a struct.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[netip.Prefix]()
}

// arrayTable decodes one element of an array of tables.
func (d *decoder) arrayTable(array string, i int, item any, v reflect.Value) {
	path := element(array, i)
	if table, ok := typed[map[string]any](d, path, item, "a table, [["+array+"]]"); ok {
		d.table(path, table, v)
	}
}

// typed returns value as a T, or notes that it is something else.
func typed[T any](d *decoder, path string, value any, want string) (T, bool) {
	t, ok := value.(T)
	if !ok {
		d.errorf(path, "is %s, expected %s", typeName(value), want)
	}
	return t, ok
}

// typeName is the TOML type of a decoded value, with its article.
func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	default:
		return "an array"
	}
}

func (d *decoder) number(path string, value any, v reflect.Value) {
	n, ok := typed[int64](d, path, value, "a whole number, without quotes")
	if !ok {
		return
	}
	if n < 1 || n > 1<<31-1 {
		d.errorf(path, "is %d, expected a whole number from 1 to %d", n, 1<<31-1)
		return
	}
	v.SetInt(n)
}

// shortDurations are the keys that may be shorter than a second: 0, and fractions where it says so.
var shortDurations = map[string]struct {
	want      string
	fractions bool
}{
	"delivery.ack_after":  {want: `"0s" (always spool first) or at least "1s"`},
	"hygiene.greet_delay": {want: `"0s" (greet at once), or a time such as "500ms"`, fractions: true},
}

func (d *decoder) duration(path string, value any, target *time.Duration) {
	const want = `a duration such as "15s", "10m" or "24h"`
	s, ok := typed[string](d, path, value, want)
	if !ok {
		return
	}
	duration, err := ParseDuration(s)
	if err != nil {
		d.errorf(path, "%q is not a duration, expected %s", s, want)
		return
	}
	if duration < time.Second {
		short, ok := shortDurations[path]
		if !ok {
			short.want = `at least "1s"`
		}
		if !ok || duration < 0 || duration > 0 && !short.fractions {
			d.errorf(path, "%q is too short, expected %s", s, short.want)
			return
		}
	}
	*target = duration
}

func (d *decoder) size(path string, value any, target *int64) {
	const want = `a size such as "150MiB", "10MB" or a number of octets`
	if n, ok := value.(int64); ok {
		if n < 1 {
			d.errorf(path, "is %d, expected at least 1 octet", n)
			return
		}
		*target = n
		return
	}
	s, ok := typed[string](d, path, value, want)
	if !ok {
		return
	}
	n, err := parseSize(s)
	if err != nil {
		d.errorf(path, "%q %s, expected %s", s, err, want)
		return
	}
	*target = n
}

func (d *decoder) network(path string, value any, target *netip.Prefix) {
	s, ok := typed[string](d, path, value, `a network such as "10.20.0.0/16"`)
	if !ok {
		return
	}
	prefix, err := parseNetwork(s)
	if err != nil {
		d.errorf(path, "%q %s", s, err)
		return
	}
	*target = prefix
}
