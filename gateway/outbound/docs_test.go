package outbound

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of replies in docs/delivery.md")

const (
	docsFile   = "../../docs/delivery.md"
	tableBegin = "<!-- made from outbound.Rules: go test ./gateway/outbound -run TestDocs -update -->\n"
	tableEnd   = "<!-- end -->\n"
)

// TestDocs makes the table of replies in docs/delivery.md from Rules, and fails when it is stale.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegin)
	got, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		t.Fatalf("%s has no table between its marks", docsFile)
	}
	want := "\n" + rulesTable() + "\n"
	if *update && got != want {
		if err := os.WriteFile(docsFile, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is stale; go test ./gateway/outbound -run TestDocs -update\n%s", docsFile, diff)
	}
}

func rulesTable() string {
	var b strings.Builder
	b.WriteString("| rule | from | reply | action | wait | what to do |\n|---|---|---|---|---|---|\n")
	for _, r := range Rules() {
		from := "any side"
		if r.CloudOnly {
			from = "cloud"
		}
		wait := ""
		if r.Delay > 0 {
			wait = fmt.Sprintf("%.0f min", r.Delay.Minutes())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.Name, from, r.conditions(), r.Action, wait, r.Alarm)
	}
	return b.String()
}

// conditions are all that a reply has to meet.
func (r *Rule) conditions() string {
	var all []string
	if len(r.Codes) > 0 {
		all = append(all, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(r.Codes), "[]")), ", "))
	}
	var enhanced []string
	for _, e := range r.Enhanced {
		s := fmt.Sprintf("%d.%d.%d", e.From[0], e.From[1], e.From[2])
		if e.To != e.From {
			s += fmt.Sprintf("-%d", e.To[2])
		}
		enhanced = append(enhanced, s)
	}
	if len(enhanced) > 0 {
		all = append(all, strings.Join(enhanced, ", "))
	}
	if r.Text != "" {
		all = append(all, "text `"+strings.ReplaceAll(r.Text, "|", `\|`)+"`")
	}
	return strings.Join(all, " and ")
}
