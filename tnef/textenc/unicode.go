package textenc

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

func decodeUTF16LE(b []byte) string { return decodeUTF16(b, binary.LittleEndian) }
func decodeUTF16BE(b []byte) string { return decodeUTF16(b, binary.BigEndian) }

// decodeUTF16 decodes UTF-16, lone surrogates and an odd last byte becoming
// U+FFFD. A byte order mark that contradicts order wins.
func decodeUTF16(b []byte, order binary.ByteOrder) string {
	if len(b) >= 2 {
		switch {
		case b[0] == 0xFF && b[1] == 0xFE:
			b, order = b[2:], binary.LittleEndian
		case b[0] == 0xFE && b[1] == 0xFF:
			b, order = b[2:], binary.BigEndian
		}
	}
	out := make([]byte, 0, len(b))
	for len(b) >= 2 {
		r := rune(order.Uint16(b))
		b = b[2:]
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			if pair := utf16.DecodeRune(r, rune(order.Uint16(b))); pair != utf8.RuneError {
				r, b = pair, b[2:]
			}
		}
		out = utf8.AppendRune(out, r) // a lone surrogate becomes U+FFFD
	}
	if len(b) == 1 && b[0] != 0 { // half a terminating NUL is no character
		out = utf8.AppendRune(out, utf8.RuneError)
	}
	return string(out)
}

func decodeUTF32LE(b []byte) string { return decodeUTF32(b, binary.LittleEndian) }
func decodeUTF32BE(b []byte) string { return decodeUTF32(b, binary.BigEndian) }

func decodeUTF32(b []byte, order binary.ByteOrder) string {
	if len(b) >= 4 {
		switch {
		case binary.LittleEndian.Uint32(b) == 0xFEFF:
			b, order = b[4:], binary.LittleEndian
		case binary.BigEndian.Uint32(b) == 0xFEFF:
			b, order = b[4:], binary.BigEndian
		}
	}
	out := make([]byte, 0, len(b)/2)
	for len(b) >= 4 {
		r := utf8.RuneError
		if v := order.Uint32(b); v <= 0x10FFFF {
			r = rune(v)
		}
		out, b = utf8.AppendRune(out, r), b[4:]
	}
	if len(b) > 0 {
		out = utf8.AppendRune(out, utf8.RuneError)
	}
	return string(out)
}

// decodeUTF7 decodes UTF-7 (RFC 2152): '+' begins a run of UTF-16BE in base64
// without padding, which '-' (swallowed) or any other character ends; "+-" is a
// plus sign. Bytes above 0x7F are not allowed there; where they occur they are
// taken as the writer's UTF-8 or windows-1252.
func decodeUTF7(b []byte) string {
	if !isASCII(b) {
		b = []byte(decodeUnknown(b))
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if b[i] != '+' {
			out = append(out, b[i])
			i++
			continue
		}
		i++
		if i < len(b) && b[i] == '-' {
			out = append(out, '+')
			i++
			continue
		}
		start := i
		for i < len(b) && base64Value(b[i]) >= 0 {
			i++
		}
		if start == i { // a '+' that begins nothing is most likely meant as itself
			out = append(out, '+')
			continue
		}
		out = append(out, decodeModifiedBase64(b[start:i])...)
		if i < len(b) && b[i] == '-' {
			i++
		}
	}
	return string(out)
}

// decodeModifiedBase64 decodes the inside of an RFC 2152 shifted run: whole
// 16-bit units only, left-over bits being padding.
func decodeModifiedBase64(b []byte) string {
	units := make([]byte, 0, len(b)*3/4+1)
	var acc uint32
	bits := 0
	for _, c := range b {
		acc = acc<<6 | uint32(base64Value(c))
		bits += 6
		if bits >= 8 {
			bits -= 8
			units = append(units, byte(acc>>bits))
		}
	}
	return decodeUTF16(units[:len(units)&^1], binary.BigEndian)
}

// base64Value returns the value of a character of the base64 alphabet, -1 for others.
func base64Value(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return -1
}
