package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Mode is what a policy asks of those who send (RFC 8461 5).
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // hosts that do not fit, or whose certificate is not valid, are not used
	Testing Mode = "testing" // mail flows as without a policy
	None    Mode = "none"    // there is no policy any more
)

// MaxAge is the longest max_age: about a year (RFC 8461 3.2). Longer ones count as this.
const MaxAge = 31557600 * time.Second

// Policy is a parsed policy.
type Policy struct {
	Mode   Mode
	MaxAge time.Duration
	// MX are host names in lower case, as A-labels; "*.contoso.com" stands for one more label.
	MX []string
}

// Allows reports whether a host may receive mail of the domain (RFC 8461 4.1). Only a policy with mode Enforce forbids.
func (p Policy) Allows(host string) bool {
	return p.Mode != Enforce || p.matches(strings.ToLower(strings.TrimSuffix(host, ".")))
}

// String is the policy in the form that ParsePolicy reads.
func (p Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\nmode: %s\n", p.Mode)
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\n", p.MaxAge/time.Second)
	return b.String()
}

func (p Policy) matches(host string) bool {
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(p.MX, func(mx string) bool {
		if suffix, wild := strings.CutPrefix(mx, "*."); wild {
			return parent != "" && suffix == parent
		}
		return mx == host
	})
}

// errPolicy is wrapped by every error of ParsePolicy.
var errPolicy = errors.New("not a valid policy")

// ParsePolicy parses a policy (RFC 8461 3.2): lines of "key: value", unknown keys ignored, the first of several counts, mx
// excepted.
func ParsePolicy(text string) (Policy, error) {
	p := Policy{}
	seen := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.Trim(line, " \t\r")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || key == "" || strings.ContainsAny(key, " \t") {
			return p, fmt.Errorf("%w: %q is not key: value", errPolicy, short(line))
		}
		value = strings.Trim(value, " \t")
		if key == "mx" {
			name, err := mxPattern(value)
			if err != nil {
				return p, err
			}
			p.MX = append(p.MX, name)
		} else if _, twice := seen[key]; !twice {
			seen[key] = value
		}
	}
	return p.complete(seen)
}

// complete takes over the fields that stand once, and checks that nothing is missing.
func (p Policy) complete(fields map[string]string) (Policy, error) {
	if v := fields["version"]; v != "STSv1" {
		return p, fmt.Errorf("%w: version %q, not STSv1", errPolicy, short(v))
	}
	p.Mode = Mode(fields["mode"])
	if p.Mode != Enforce && p.Mode != Testing && p.Mode != None {
		return p, fmt.Errorf("%w: mode %q", errPolicy, short(fields["mode"]))
	}
	age := fields["max_age"]
	seconds, err := strconv.ParseUint(age, 10, 64)
	if err != nil || len(age) > 10 {
		return p, fmt.Errorf("%w: max_age %q", errPolicy, short(age))
	}
	p.MaxAge = time.Duration(min(seconds, uint64(MaxAge/time.Second))) * time.Second
	if len(p.MX) == 0 && p.Mode != None {
		return p, fmt.Errorf("%w: it names no mx", errPolicy)
	}
	return p, nil
}

// mxPattern checks a host name or a pattern "*.domain".
func mxPattern(value string) (string, error) {
	name, star := strings.CutPrefix(value, "*.")
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	if _, ok := dns.IsDomainName(ascii); err != nil || !ok || ascii == "" || strings.ContainsAny(ascii, "*_ ") {
		return "", fmt.Errorf("%w: mx %q is not a host name", errPolicy, short(value))
	}
	if star {
		ascii = "*." + ascii
	}
	return strings.ToLower(ascii), nil
}

// recordVersion begins every record.
const recordVersion = "v=STSv1"

// recordID takes the id out of the TXT records of _mta-sts.DOMAIN, each with its strings joined. ok is false when there is
// not exactly one valid record of this version: then no policy is announced (RFC 8461 3.1).
func recordID(records []string) (id string, ok bool) {
	var found []string
	for _, r := range records {
		if rest, is := strings.CutPrefix(r, recordVersion); is && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			found = append(found, rest)
		}
	}
	if len(found) != 1 {
		return "", false
	}
	fields := strings.Split(strings.TrimRight(found[0], " \t"), ";")[1:]
	for i, f := range fields {
		f = strings.Trim(f, " \t")
		if f == "" && i == len(fields)-1 { // the last delimiter is optional
			break
		}
		key, value, is := strings.Cut(f, "=")
		if !is || !isWord(key, 32, "_-.") || value == "" || strings.ContainsAny(value, " \t=") {
			return "", false
		}
		if key == "id" && id == "" {
			if !isWord(value, 32, "") {
				return "", false
			}
			id = value
		}
	}
	return id, id != ""
}

// isWord reports whether s is 1 to most letters and digits, or others after the first.
func isWord(s string, most int, others string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// short is a text from outside, for an error.
func short(s string) string { return s[:min(len(s), 80)] }
