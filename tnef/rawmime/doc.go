// Package rawmime reads Internet messages (RFC 5322, RFC 2045 to 2049) as octets: header fields and MIME parts are found with
// their offsets, so that a program can change one field or one part and leave every other octet as it came.
//
// Nothing is refused for being malformed. Lines end with CRLF, LF or CR, whichever stands there; lines in a header that are no
// field are reported as such; parameters are taken in every form that is in use (RFC 2231, RFC 2047 words in quoted strings, bare
// text). What could be used to exhaust a program is capped, and a cap that is hit is an error: such a message is best passed on
// untouched. All scanning is linear in the size of the message, and the slices given out are parts of the input.
//
// The package also has the transfer encodings (base64, quoted-printable, uuencode), tolerant when they decode.
package rawmime
