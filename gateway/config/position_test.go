package config

import (
	"os"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

const oddTOML = `# comment = 1
a = "x # no comment \" = 2" # comment
b.c = 'single\' # comment
b."d e" = """
line = 1
\""" still
"""""
[ t . u ] # comment
v = '''
w = 1
''''
x = [ # comment
  1, "]", # ]
  [ 2,
    3 ], ]
y = { z = 1, "q.r" = { s = [1, 2] } }
"\u00e9" = 2026-01-01T00:00:00Z

[[l]]
k = 1
[[l]]
[l.m]
n = true
[[l.o]]
[[l.o]]
p = 0x1F
`

func TestPositions(t *testing.T) {
	want := positions{
		"a": 2, "b": 3, "b.c": 3, `b."d e"`: 4, "t": 8, "t.u": 8, "t.u.v": 9,
		"t.u.x": 12, "t.u.x[0]": 13, "t.u.x[1]": 13, "t.u.x[2]": 14, "t.u.x[2][0]": 14, "t.u.x[2][1]": 15,
		"t.u.y": 16, "t.u.y.z": 16, `t.u.y."q.r"`: 16, `t.u.y."q.r".s`: 16, `t.u.y."q.r".s[0]`: 16, `t.u.y."q.r".s[1]`: 16, `t.u."é"`: 17,
		"l": 19, "l[0]": 19, "l[0].k": 20, "l[1]": 21, "l[1].m": 22, "l[1].m.n": 23, "l[1].o": 24, "l[1].o[0]": 24, "l[1].o[1]": 25, "l[1].o[1].p": 26,
	}
	if diff := cmp.Diff(want, scanPositions([]byte(oddTOML))); diff != "" {
		t.Error(diff)
	}
	checkPositions(t, []byte(oddTOML))
}

// TestPositionsOfWhatIsNotThere finds the nearest thing around it.
func TestPositionsOfWhatIsNotThere(t *testing.T) {
	lines := scanPositions([]byte("\n[a]\n\n[[b]]\n[[b]]\n\"x.y\" = 1\n"))
	for path, want := range map[string]int{
		"": 1, "z": 1, "z.y": 1, "a": 2, "a.b": 2, "a.b.c": 2, "b[1].c": 5, "b[7].c": 4, `b[1]."x.y"`: 6, `b[1]."p.q"`: 5, `"x.y"`: 1,
	} {
		if got := lines.at(path); got != want {
			t.Errorf("%s: got line %d, want %d", path, got, want)
		}
	}
}

// checkPositions compares the scanner with the TOML library: whatever the library finds must have a position.
func checkPositions(t *testing.T, data []byte) {
	t.Helper()
	s := scan(data)
	values := map[string]any{}
	if _, err := toml.Decode(string(data), &values); err != nil || s.deep > 0 {
		return
	}
	var check func(path string, value any)
	check = func(path string, value any) {
		if line, ok := s.lines[path]; path != "" && (!ok || line < 1) {
			t.Errorf("%q has no position in %q", path, data)
		}
		switch value := value.(type) {
		case map[string]any:
			for key, inner := range value {
				check(join(path, key), inner)
			}
		case []map[string]any:
			for i, inner := range value {
				check(element(path, i), inner)
			}
		case []any:
			for i, inner := range value {
				check(element(path, i), inner)
			}
		}
	}
	check("", values)
}

func FuzzPositions(f *testing.F) {
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(example), minimal, oddTOML, "a = \"\"\"\"\"\"", "a = ''''''''", "a.'b'.\"c\" = {}", "[a]\r\n'b' = [\r\n1]\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		checkPositions(t, data)
	})
}
