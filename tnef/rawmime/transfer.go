package rawmime

// Decode appends the content of a body with this Content-Transfer-Encoding to dst: base64, quoted-printable, x-uuencode
// (also uuencode, x-uue, uue), or one that changes nothing. known is false for any other encoding, and nothing is appended.
// Malformed content gives what can be read.
func Decode(dst, body []byte, encoding string) (out []byte, known bool) {
	switch encoding {
	case "base64":
		dst, _ = DecodeBase64(dst, body)
	case "quoted-printable":
		dst, _ = DecodeQP(dst, body)
	case "x-uuencode", "uuencode", "x-uue", "uue":
		dst, _ = DecodeUU(dst, body)
	case "", "7bit", "8bit", "binary":
		dst = append(dst, body...)
	default:
		return dst, false
	}
	return dst, true
}
