package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Every program that the documents print as a command is built by make and is in the image.
func TestEveryProgramIsBuilt(t *testing.T) {
	programs, err := os.ReadDir("../cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../Makefile", "../Dockerfile"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range programs {
			if !slices.Contains(strings.Fields(string(text)), "./cmd/"+p.Name()) {
				t.Errorf("%s does not build %s", file, p.Name())
			}
		}
	}
}

// The libraries import nothing of the application, every package has a doc comment, and nothing runs before main.
func TestLayout(t *testing.T) {
	const module = "github.com/coexist-mail/coexist/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Doc  string
			Imports, GoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", name)
		}
		library, _, _ := strings.Cut(name, "/")
		for _, imported := range p.Imports {
			inside, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			other, _, _ := strings.Cut(inside, "/")
			switch library {
			case "tnef", "directory":
				if other != library {
					t.Errorf("%s imports %s", name, inside)
				}
			case "routing":
				if other != "directory" && other != "routing" {
					t.Errorf("%s imports %s", name, inside)
				}
			}
		}
	}
}
