package routing

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// The package is a library of its own: of this module it knows the directory and nothing else.
func TestImports(t *testing.T) {
	const module = "github.com/coexist-mail/coexist/"
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if strings.HasPrefix(path, module) && path != module+"directory" && path != module+"routing" {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
