package fakemta

import (
	"slices"
	"strconv"
	"strings"
)

// mailParams and rcptParams are the parameters of MAIL and RCPT, and the extension that each belongs to.
var (
	mailParams = map[string]string{
		"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "AUTH": "AUTH",
		"REQUIRETLS": "REQUIRETLS",
	}
	rcptParams = map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN"}
)

// requireTLS is offered inside TLS only (RFC 8689 2).
const requireTLS = "REQUIRETLS"

// parsePath reads "FROM:<path> parameters". The path is returned without its brackets; parameters are never nil.
func parsePath(prefix, arg string) (address string, params []string, ok bool) {
	params = []string{}
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", params, false
	}
	rest := strings.TrimLeft(arg[len(prefix):], " ")
	end := pathEnd(rest)
	if end < 0 {
		return "", params, false
	}
	address, rest = rest[1:end], rest[end+1:]
	if rest != "" && rest[0] != ' ' {
		return address, params, false
	}
	return address, append(params, strings.Fields(rest)...), true
}

// pathEnd finds the > that closes the path: not one inside of a quoted local part (RFC 5321 4.1.2).
func pathEnd(s string) int {
	if s == "" || s[0] != '<' {
		return -1
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// checkParams returns what is wrong with parameters, "" when nothing: RFC 5321 4.1.1.11 has 555 for what was not offered.
func (c *session) checkParams(known map[string]string, params []string) string {
	for _, param := range params {
		key, value, _ := strings.Cut(strings.ToUpper(param), "=")
		extension, ok := known[key]
		if key == "BODY" && value == "BINARYMIME" {
			extension = "BINARYMIME" // RFC 3030 3
		}
		if !ok || !c.server.offered[extension] || extension == requireTLS && c.tls == nil {
			return key + " is not offered"
		}
		if key == "SIZE" {
			if _, err := strconv.ParseUint(value, 10, 63); err != nil {
				return "SIZE is not a number"
			}
		}
		if key == "BODY" && value != "7BIT" && value != "8BITMIME" && value != "BINARYMIME" {
			return "BODY is not known"
		}
	}
	return ""
}

// isBinary says whether MAIL had BODY=BINARYMIME.
func isBinary(params []string) bool {
	return slices.ContainsFunc(params, func(p string) bool { return strings.EqualFold(p, "BODY=BINARYMIME") })
}

// sizeAndUTF8 returns what MAIL announced; size 0 when nothing.
func sizeAndUTF8(params []string) (size int64, utf8 bool) {
	for _, param := range params {
		key, value, _ := strings.Cut(strings.ToUpper(param), "=")
		switch key {
		case "SIZE":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				size = n
			}
		case "SMTPUTF8":
			utf8 = true
		}
	}
	return size, utf8
}

// parseChunk reads the argument of BDAT.
func parseChunk(arg string) (size int64, last, ok bool) {
	words := strings.Fields(arg)
	if len(words) < 1 || len(words) > 2 {
		return 0, false, false
	}
	n, err := strconv.ParseUint(words[0], 10, 62)
	if err != nil {
		return 0, false, false
	}
	if len(words) == 2 && !strings.EqualFold(words[1], "LAST") {
		return 0, false, false
	}
	return int64(n), len(words) == 2, true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
