package config

import (
	"bytes"
	"strconv"
	"strings"
)

// positions knows the line of every key, table and array element of a TOML text, by path: "onprem.clients[1]".
// The TOML library tells the positions of syntax errors only; findings about values need those of keys.
type positions map[string]int

// at returns the line of path, or of the nearest thing around it that stands in the file, at worst 1.
func (p positions) at(path string) int {
	for path != "" {
		if line, ok := p[path]; ok {
			return line
		}
		path = parent(path)
	}
	return 1
}

// parent cuts the last key or index from a path.
func parent(path string) string {
	if strings.HasSuffix(path, "]") {
		if i := strings.LastIndexByte(path, '['); i >= 0 {
			return path[:i]
		}
	}
	if strings.HasSuffix(path, `"`) { // a quoted key may hold dots; such keys are unknown anyway
		if i := strings.Index(path, `."`); i >= 0 {
			return path[:i]
		}
		return ""
	}
	return path[:max(strings.LastIndexByte(path, '.'), 0)]
}

// join puts a key below a table. A key that is not bare (TOML 1.0, "Keys") is quoted.
func join(table, key string) string {
	if !isBareKey(key) {
		key = strconv.Quote(key)
	}
	if table == "" {
		return key
	}
	return table + "." + key
}

// element is the path of one element of an array.
func element(array string, i int) string { return array + "[" + strconv.Itoa(i) + "]" }

func isBareKey(key string) bool {
	for i := 0; i < len(key); i++ {
		if !isBareByte(key[i]) {
			return false
		}
	}
	return key != ""
}

func isBareByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// scanner walks over TOML that the library has found valid. On anything else its lines mean little, but it always ends.
type scanner struct {
	data   []byte
	i      int
	line   int
	lines  positions
	counts map[string]int // elements seen of each array of tables
	last   string         // path of the "key = value" that began last
	depth  int            // of arrays and inline tables around the current position
	deep   int            // the line at which the text was nested deeper than maxDepth, and the scan ended; else 0
}

// maxDepth is how deep keys, arrays and inline tables may be nested. The configuration needs 3; much deeper texts would
// exhaust the stack of parsers that recurse.
const maxDepth = 64

// tooDeep ends the scan.
func (s *scanner) tooDeep() {
	if s.deep == 0 {
		s.deep = s.line
	}
	s.i = len(s.data)
}

// scanPositions finds the line of everything that has a path.
func scanPositions(data []byte) positions { return scan(data).lines }

func scan(data []byte) *scanner {
	s := &scanner{
		data:   bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")),
		line:   1,
		lines:  positions{},
		counts: map[string]int{},
	}
	table := ""
	for s.skipSpace(true); s.i < len(s.data); s.skipSpace(true) {
		start := s.i
		if s.data[s.i] == '[' {
			table = s.header()
		} else {
			s.keyValue(table)
		}
		if s.i == start {
			s.advance()
		}
	}
	return s
}

func (s *scanner) peek() byte {
	if s.i < len(s.data) {
		return s.data[s.i]
	}
	return 0
}

func (s *scanner) advance() {
	if s.peek() == '\n' {
		s.line++
	}
	s.i++
}

// skipSpace skips blanks, and line breaks and comments too where they have no meaning.
func (s *scanner) skipSpace(lines bool) {
	for s.i < len(s.data) {
		switch c := s.data[s.i]; {
		case c == ' ' || c == '\t' || c == '\r':
		case c == '\n' && lines:
		case c == '#' && lines:
			for s.i < len(s.data) && s.data[s.i] != '\n' {
				s.i++
			}
			continue
		default:
			return
		}
		s.advance()
	}
}

// mark notes where path stands first.
func (s *scanner) mark(path string) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = s.line
	}
}

// header reads [table] or [[array of tables]] and returns the path that the keys below it belong to.
func (s *scanner) header() string {
	s.i++
	array := s.peek() == '['
	if array {
		s.i++
	}
	path := ""
	keys := s.keys()
	for n, key := range keys {
		path = join(path, key)
		last := n == len(keys)-1
		s.mark(path)
		if last && array {
			s.counts[path]++
		}
		if count := s.counts[path]; count > 0 {
			path = element(path, count-1) // [a.b] below [[a]] belongs to the last element of a
			s.mark(path)
		}
	}
	for s.i < len(s.data) && s.data[s.i] != '\n' {
		s.i++
	}
	return path
}

// keyValue reads "key = value" of a table.
func (s *scanner) keyValue(table string) {
	path := table
	for _, key := range s.keys() {
		path = join(path, key)
		s.mark(path)
	}
	s.last = path
	s.skipSpace(false)
	if s.peek() != '=' {
		return
	}
	s.i++
	s.value(path)
}

// keys reads a dotted key.
func (s *scanner) keys() []string {
	var keys []string
	for {
		s.skipSpace(false)
		keys = append(keys, s.key())
		s.skipSpace(false)
		if s.peek() != '.' {
			return keys
		}
		if len(keys) == maxDepth {
			s.tooDeep()
			return keys
		}
		s.i++
	}
}

// key reads one bare or quoted key.
func (s *scanner) key() string {
	start := s.i
	if c := s.peek(); c == '"' || c == '\'' {
		s.quoted()
		text := string(s.data[start:min(s.i, len(s.data))])
		if c == '"' {
			// The escapes of TOML's basic strings are a subset of Go's.
			if plain, err := strconv.Unquote(text); err == nil {
				return plain
			}
		}
		return strings.Trim(text, string(c))
	}
	for s.i < len(s.data) && isBareByte(s.data[s.i]) {
		s.i++
	}
	return string(s.data[start:s.i])
}

// value reads a value of any type, and marks what is inside.
func (s *scanner) value(path string) {
	s.skipSpace(false)
	if s.depth++; s.depth > maxDepth {
		s.tooDeep()
	}
	defer func() { s.depth-- }()
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.array(path)
	case '{':
		s.inlineTable(path)
	default:
		for s.i < len(s.data) && !strings.ContainsRune(",]}#\n", rune(s.data[s.i])) {
			s.i++
		}
	}
}

func (s *scanner) array(path string) {
	s.i++
	for n := 0; ; n++ {
		s.skipSpace(true)
		if s.i >= len(s.data) || s.peek() == ']' {
			s.i++
			return
		}
		s.mark(element(path, n))
		start := s.i
		s.value(element(path, n))
		s.skipSpace(true)
		if s.peek() == ',' || s.i == start {
			s.advance()
		}
	}
}

func (s *scanner) inlineTable(path string) {
	s.i++
	for {
		s.skipSpace(true)
		if s.i >= len(s.data) || s.peek() == '}' {
			s.i++
			return
		}
		start := s.i
		s.keyValue(path)
		s.skipSpace(true)
		if s.peek() == ',' || s.i == start {
			s.advance()
		}
	}
}

// quoted skips a string of any of the four forms.
func (s *scanner) quoted() {
	quote := s.data[s.i]
	triple := []byte{quote, quote, quote}
	if bytes.HasPrefix(s.data[s.i:], triple) {
		s.multiline(quote, triple)
		return
	}
	for s.i++; s.i < len(s.data) && s.data[s.i] != '\n'; s.i++ {
		switch c := s.data[s.i]; {
		case c == quote:
			s.i++
			return
		case c == '\\' && quote == '"' && s.i+1 < len(s.data) && s.data[s.i+1] != '\n':
			s.i++
		}
	}
}

func (s *scanner) multiline(quote byte, triple []byte) {
	for s.i += 3; s.i < len(s.data); s.advance() {
		switch c := s.data[s.i]; {
		case bytes.HasPrefix(s.data[s.i:], triple):
			s.i += 3
			for n := 0; n < 2 && s.peek() == quote; n++ { // up to two quotes may stand right before the delimiter
				s.i++
			}
			return
		case c == '\\' && quote == '"' && s.i+1 < len(s.data):
			s.advance()
		}
	}
}
