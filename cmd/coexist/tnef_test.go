package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// TestExtractFromSeveral: files of the same name in several streams of a message are all written.
func TestExtractFromSeveral(t *testing.T) {
	part := func(name, data string) string {
		s := tneftest.Stream{Attachments: []tneftest.Attachment{{Title: name, Data: []byte(data)}}}
		return tneftest.Part(s.Bytes())
	}
	dir := t.TempDir()
	message := filepath.Join(dir, "message.eml")
	if err := os.WriteFile(message, tneftest.Mixed("", part("a.txt", "1"), part("A.TXT", "2"), part("a.txt", "3"), part("b", "4"), part("b", "5")), 0o600); err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(dir, "files")
	var out, errs bytes.Buffer
	extract := &tnefExtractCmd{File: message, Dir: files}
	if err := extract.Run(&streams{out: &out, err: &errs}); err != nil || errs.Len() > 0 {
		t.Fatalf("%v %s", err, errs.String())
	}
	for name, want := range map[string]string{"a.txt": "1", "A (2).TXT": "2", "a (3).txt": "3", "b": "4", "b (2)": "5"} {
		if got, err := os.ReadFile(filepath.Join(files, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}
