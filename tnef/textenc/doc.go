// Package textenc turns text in any of Windows' code pages into Go strings.
//
// Mail made by Outlook and Exchange names its encodings by Windows code page
// identifiers (PidTagInternetCodepage, PidTagMessageCodepage, attOemCodepage,
// \ansicpg in RTF) and its fonts by character sets (\fcharset). This package
// knows both lists, and the names that MIME and HTML use for them.
//
// Decoding never fails: what is not valid in the code page becomes U+FFFD, and
// a code page that nobody knows is read as UTF-8 where that fits, else as
// windows-1252.
package textenc
