package rawmime

import "bytes"

// DecodeUU appends the octets of the first uuencoded file in src to dst (POSIX uuencode, historical form). found is false
// when there is no "begin" line. Data cut short give what is there.
func DecodeUU(dst, src []byte) (out []byte, found bool) {
	for len(src) > 0 {
		line, _, rest := cutLine(src)
		src = rest
		if isUUBegin(line) {
			found = true
			break
		}
	}
	for len(src) > 0 && found {
		line, _, rest := cutLine(src)
		src = rest
		line = bytes.TrimRight(line, "\r")
		if bytes.Equal(bytes.TrimSpace(line), []byte("end")) {
			break
		}
		if len(line) == 0 {
			continue
		}
		dst = appendUULine(dst, line)
	}
	return dst, found
}

// isUUBegin recognises `begin 644 winmail.dat`.
func isUUBegin(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	if !ok || len(rest) < 3 {
		return false
	}
	for _, c := range rest[:3] {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}

// appendUULine decodes a line: a count, then four characters for three octets. Trailing spaces, which stand for zeros, may be lost.
func appendUULine(dst, line []byte) []byte {
	n := int(line[0]-' ') & 63
	line = line[1:]
	at := func(i int) byte {
		if i < len(line) {
			return (line[i] - ' ') & 63
		}
		return 0
	}
	for i := 0; n > 0; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		q := [3]byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | d}
		dst = append(dst, q[:min(n, 3)]...)
		n -= 3
	}
	return dst
}
