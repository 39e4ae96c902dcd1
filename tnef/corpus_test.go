package tnef_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// corpusDir finds real samples, which are not part of the project: $COEXIST_TNEF_CORPUS, or shared/corpus/tnef beside a directory
// above this one.
func corpusDir(t testing.TB) string {
	if d := os.Getenv("COEXIST_TNEF_CORPUS"); d != "" {
		return d
	}
	d, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for d != filepath.Dir(d) {
		if c := filepath.Join(d, "shared", "corpus", "tnef"); isDir(c) {
			return c
		}
		d = filepath.Dir(d)
	}
	t.Skip("NOT RUN: no real TNEF samples; set COEXIST_TNEF_CORPUS to a directory of them")
	return ""
}

func isDir(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.IsDir()
}

// corpus calls f with every file below the corpus directory.
func corpus(t testing.TB, f func(name string, data []byte)) {
	dir := corpusDir(t)
	n := 0
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(p, ".tsv") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		n++
		name, _ := filepath.Rel(dir, p)
		f(name, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("%s is empty", dir)
	}
}

// TestCorpusConverts runs every real and fuzzed sample through the whole conversion: no panic, no second, no output that the standard library can't
// parse.
func TestCorpusConverts(t *testing.T) {
	streams := 0
	corpus(t, func(name string, data []byte) {
		if raceEnabled && len(data) > 100<<10 {
			return // nothing here runs at the same time as something else; the large ones only cost time
		}
		start := time.Now()
		if tnef.IsTNEF(data) {
			streams++
			msg := tneftest.Wrap(header, "fallback", data)
			var out bytes.Buffer
			r, err := tnef.ConvertMessage(&out, msg, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if r.Found != 1 || r.Converted+r.Failed != 1 {
				t.Errorf("%s: report %+v", name, r)
			}
			if r.Converted == 1 {
				parseMessage(t, out.Bytes())
			}
			out.Reset()
			switch _, err := tnef.ConvertStream(&out, data, nil); {
			case errors.Is(err, tnef.ErrEmpty) && out.Len() == 0:
			case err != nil:
				t.Errorf("%s: %v", name, err)
			default:
				parseMessage(t, out.Bytes())
			}
		} else if _, err := tnef.ConvertMessage(new(bytes.Buffer), data, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := time.Since(start); d > 2*time.Second && !raceEnabled {
			t.Errorf("%s took %v", name, d)
		}
	})
	t.Logf("%d TNEF streams", streams)
}

// TestCorpusAgainstOthers: every file that the programs tnef and ytnef extract from the samples is extracted here too, octet for octet.
func TestCorpusAgainstOthers(t *testing.T) {
	programs := map[string][]string{"tnef": {"--overwrite", "--number-backups", "-C", "DIR", "FILE"}, "ytnef": {"-f", "DIR", "FILE"}}
	for program, args := range programs {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("NOT RUN: %s is not installed", program)
			}
			total, missing := 0, 0
			corpus(t, func(name string, data []byte) {
				if !tnef.IsTNEF(data) {
					return
				}
				ours := extractedSums(data)
				for file, content := range extractWith(t, program, args, data) {
					if bytes.HasPrefix(content, []byte("BEGIN:V")) {
						continue // ytnef's own rendering of the message's properties, no attachment
					}
					total++
					if !ours[sha256.Sum256(content)] {
						missing++
						t.Errorf("%s: %s extracts %q (%d octets), we don't", name, program, file, len(content))
					}
				}
			})
			t.Logf("%s extracts %d files, %d of them missing here", program, total, missing)
			if total == 0 {
				t.Error("the program extracted nothing: the comparison is void")
			}
		})
	}
}

func extractedSums(data []byte) map[[32]byte]bool {
	sums := map[[32]byte]bool{}
	m, err := tnef.Decode(data, nil)
	if err != nil {
		return sums
	}
	var walk func(m *tnef.Message)
	walk = func(m *tnef.Message) {
		for _, a := range m.Attachments {
			sums[sha256.Sum256(a.Data)] = true
			if x := a.Props.Find(mapi.TagAttachData); x != nil && x.Type == mapi.TypeObject {
				// tnef writes objects with their interface in front.
				sums[sha256.Sum256(append(x.IID[:], a.Data...))] = true
			}
			if a.Message != nil {
				walk(a.Message)
			}
		}
	}
	walk(m)
	return sums
}

func extractWith(t *testing.T, program string, args []string, data []byte) map[string][]byte {
	dir := t.TempDir()
	in := filepath.Join(t.TempDir(), "in.dat")
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = strings.NewReplacer("DIR", dir, "FILE", in).Replace(a)
	}
	// They fail, and crash, on some samples: what counts is what they leave behind.
	_ = exec.Command(program, list...).Run()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			files[e.Name()] = b
		}
	}
	return files
}
