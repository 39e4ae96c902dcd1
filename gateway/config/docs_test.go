package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const docsFile = "../../docs/configuration.md"

// TestDocs makes docs/configuration.md from the comments and defaults of this package, and fails when it is stale.
func TestDocs(t *testing.T) {
	want := configurationPage(t)
	if *update {
		if err := os.WriteFile(docsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run go test ./gateway/config -run TestDocs -update", docsFile)
	}
}

// TestDocsAreComplete keeps fields without a comment out: they would be rows without a meaning.
func TestDocsAreComplete(t *testing.T) {
	comments := fieldComments(t)
	for _, section := range sections() {
		if comments[section.typ.Name()] == "" {
			t.Errorf("%s has no comment", section.typ.Name())
		}
		for i := range section.typ.NumField() {
			field := section.typ.Field(i)
			if name := section.typ.Name() + "." + field.Name; comments[name] == "" {
				t.Errorf("%s has no comment", name)
			}
		}
	}
}

// section is one table of the file: its heading, its struct, and the struct's defaults.
type section struct {
	name     string
	typ      reflect.Type
	defaults reflect.Value
}

func sections() []section {
	root := reflect.ValueOf(Default()).Elem()
	all := []section{{"", root.Type(), root}}
	for i := range root.NumField() {
		field := root.Type().Field(i)
		key := field.Tag.Get("toml")
		switch {
		case key == "-":
		case field.Type.Kind() == reflect.Struct:
			all = append(all, section{"[" + key + "]", field.Type, root.Field(i)})
		case field.Type == reflect.TypeFor[[]Listener]():
			all = append(all, section{"[[" + key + "]]", field.Type.Elem(), reflect.New(field.Type.Elem()).Elem()})
		}
	}
	return all
}

const pageHead = `# Configuration

<!-- Made from gateway/config/config.go: go test ./gateway/config -run TestDocs -update -->

One TOML file, ` + "`coexist.toml`" + ` unless ` + "`--config`" + ` names another. ` + "`coexist check`" + ` validates it, then reaches for everything that it names.

- Unknown keys, wrong types, impossible values and missing files are refused, all of them at once, each in a line of its own:
  ` + "`coexist.toml:12: onprem.next_hop: what is wrong, what is expected`" + `.
- Relative paths are relative to the file. Passwords and keys are given as files, never inline.
- Durations are written as ` + "`15s`, `10m`, `1h30m` or `2d`" + `, and last at least a second. Sizes are written as ` + "`150MiB`" + ` (1024-based), ` + "`10MB`" + ` (1000-based) or a
  number of octets. Networks are written as ` + "`10.20.0.0/16`, `2001:db8::/32`" + ` or one address.
- Domain names and addresses of hosts may be internationalized; they are compared in lower case, as A-labels.
- A key of the top level stands before the first ` + "`[table]`" + `: TOML counts what follows to that table.
- ` + "`SIGHUP`" + ` makes a running gateway read the file again.

`

// configurationPage is the whole page.
func configurationPage(t *testing.T) []byte {
	t.Helper()
	comments := fieldComments(t)
	var b bytes.Buffer
	b.WriteString(pageHead)
	for _, s := range sections() {
		title, intro := s.name, comments[s.typ.Name()]
		if s.name == "" {
			title, intro = "The top level", ""
		} else {
			title = "`" + title + "`"
			_, intro, _ = strings.Cut(intro, ": ")
			intro = capital(intro)
		}
		fmt.Fprintf(&b, "## %s\n\n", title)
		if intro != "" {
			fmt.Fprintf(&b, "%s\n\n", intro)
		}
		b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
		for i := range s.typ.NumField() {
			row(&b, s, i, comments)
		}
		b.WriteString("\n")
	}
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "## Example\n\nEvery key, with its default where it has one.\n\n```toml\n%s```\n", example)
	return b.Bytes()
}

func row(b *bytes.Buffer, s section, i int, comments map[string]string) {
	field := s.typ.Field(i)
	key := field.Tag.Get("toml")
	if key == "-" || isTable(field.Type) || field.Type == reflect.TypeFor[[]Listener]() {
		return // a table of its own
	}
	meaning := comments[s.typ.Name()+"."+field.Name]
	def := defaultText(s.defaults.Field(i))
	if before, ok := strings.CutSuffix(meaning, " Required."); ok {
		meaning, def = before, "required"
	} else if before, after, ok := strings.Cut(meaning, " Default: "); ok {
		meaning, def = before, strings.TrimSuffix(after, ".")
	} else if before, after, ok := strings.Cut(meaning, " Required with "); ok {
		meaning, def = before, "required with "+strings.TrimSuffix(after, ".")
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, typeText(field.Type), def, strings.ReplaceAll(meaning, "|", `\|`))
}

func typeText(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[[]time.Duration]():
		return "array of durations"
	case reflect.TypeFor[[]netip.Prefix]():
		return "array of networks"
	case reflect.TypeFor[OneOrMore]():
		return "string or array of strings"
	case reflect.TypeFor[int64]():
		return "size"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.Slice:
		return "array of strings"
	default:
		return "string"
	}
}

func defaultText(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return "`" + durationText(value) + "`"
	case []time.Duration:
		var all []string
		for _, d := range value {
			all = append(all, strconv.Quote(durationText(d)))
		}
		return "`[" + strings.Join(all, ", ") + "]`"
	case int64:
		return fmt.Sprintf("`%dMiB`", value>>20)
	}
	if v.Kind() != reflect.Bool && (v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0) {
		return "empty"
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// durationText is a duration as people write it: 10m, not 10m0s.
func durationText(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "m0s") + strings.Repeat("m", strings.Count(s, "m0s"))
	return strings.TrimSuffix(s, "h0m") + strings.Repeat("h", strings.Count(s, "h0m"))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// fieldComments maps "Type" and "Type.Field" of config.go to their comments, in one line each.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		spec := gen.Specs[0].(*ast.TypeSpec)
		comments[spec.Name.Name] = flat(gen.Doc)
		structType, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structType.Fields.List {
			for _, name := range field.Names {
				comments[spec.Name.Name+"."+name.Name] = flat(field.Doc)
			}
		}
	}
	return comments
}

func flat(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
