// Package audit looks for what breaks the coexistence of two mail systems that share a domain: in a view of the directory, and in what is known of the domain controllers.
// Each [Finding] names the object, the rule and the command that sets it right. docs/directory-audit.md tells of the rules.
package audit
