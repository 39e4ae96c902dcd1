package audit

import (
	"fmt"
	"io"
	"slices"
)

// Ignore leaves out the findings of some rules. It is an error if there is no rule of a name.
func Ignore(findings []Finding, names []string) ([]Finding, error) {
	for _, name := range names {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.Name == name }) {
			return nil, fmt.Errorf("there is no rule %q; docs/directory-audit.md has them all", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return slices.Contains(names, f.Rule) }), nil
}

// few is how many findings of a rule are written out when not all are asked for.
const few = 10

// Report writes findings for people: rule by rule, the errors first, and of each rule all findings or a few.
func Report(w io.Writer, findings []Finding, all bool) error {
	for _, level := range []Level{Error, Warning} {
		for i := range rules {
			if rules[i].Level != level {
				continue
			}
			if err := reportRule(w, &rules[i], findings, all); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d findings\n", len(findings))
	return err
}

func reportRule(w io.Writer, r *Rule, findings []Finding, all bool) error {
	findings = slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Rule != r.Name })
	if len(findings) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s, %s, %d times: %s\n  %s\n", r.Name, r.Level, len(findings), r.Text, r.Why)
	shown := findings
	if !all && len(findings) > few {
		shown = findings[:few]
	}
	for _, f := range shown {
		text += fmt.Sprintf("  %s\n    %s\n    fix: %s\n", f.Object, f.What, f.Fix)
	}
	if left := len(findings) - len(shown); left > 0 {
		text += fmt.Sprintf("  and %d more: --all or --json shows them\n", left)
		if r.all != "" {
			text += "    fix for all: " + r.all + "\n"
		}
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
