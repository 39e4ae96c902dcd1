package tnef

import (
	"fmt"
	"mime"
	"path"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Limits of file names: that of Windows, in UTF-16 units, and that of other systems, in octets, with room for a number.
const (
	maxFileName   = 255
	maxNameOctets = 255 - len(" (1000)")
)

// safeName makes a file name from what a sender wrote: without path, controls, bidirectional overrides, characters that Windows forbids, and
// names that mean something to an operating system. It is "" when nothing is left.
func safeName(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	// A path of either kind of system: the last element counts.
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200E, r == 0x200F, r == 0xFEFF:
			return -1 // exe.fdp shown as pdf.exe
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		case r == 0x2028, r == 0x2029:
			return ' '
		}
		return r
	}, s)
	s = strings.Trim(s, " ")
	s = strings.TrimRight(s, ". ") // Windows drops them: "..", "con."
	s = shortenName(s)
	if isDeviceName(s) {
		s = "_" + s
	}
	return s
}

// shortenName cuts what Windows would not take for a name, but for the extension.
func shortenName(s string) string {
	return cutName(s, maxFileName, func(r rune) int { return max(1, utf16.RuneLen(r)) })
}

// cutName cuts a name of more than limit units, and keeps its extension, of US-ASCII.
func cutName(s string, limit int, units func(rune) int) string {
	ext := path.Ext(s)
	if len(ext) > 20 || !isPlain(ext) {
		ext = ""
	}
	n, cut := len(ext), -1
	stem := s[:len(s)-len(ext)]
	for i, r := range stem {
		if n += units(r); n > limit {
			cut = i
			break
		}
	}
	if cut < 0 {
		return s
	}
	return strings.TrimRight(stem[:cut], ". ") + ext
}

// isDeviceName: names that Windows reserves, with any extension.
func isDeviceName(s string) bool {
	base, _, _ := strings.Cut(strings.ToLower(s), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "con", "prn", "aux", "nul", "conin$", "conout$", "clock$":
		return true
	}
	return len(base) == 4 && (base[:3] == "com" || base[:3] == "lpt") && base[3] >= '0' && base[3] <= '9'
}

// uniqueNames gives names that no two files share, without regard to case: report.pdf, report (2).pdf.
type uniqueNames map[string]int

func (u uniqueNames) add(name string) string {
	key := strings.ToLower(name)
	if _, taken := u[key]; !taken {
		u[key] = 1
		return name
	}
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for {
		u[key]++
		next := fmt.Sprintf("%s (%d)%s", stem, u[key], ext)
		if _, taken := u[strings.ToLower(next)]; !taken {
			u[strings.ToLower(next)] = 1
			return next
		}
	}
}

// mediaTypes are types by extension that every installation agrees on; the operating system's tables are not asked, so that results
// do not depend on the host.
var mediaTypes = map[string]string{
	".7z": "application/x-7z-compressed", ".aac": "audio/aac", ".avi": "video/x-msvideo", ".bmp": "image/bmp", ".csv": "text/csv",
	".doc": "application/msword", ".docm": "application/vnd.ms-word.document.macroEnabled.12",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".emf":  "image/emf", ".eml": "message/rfc822", ".eps": "application/postscript", ".gif": "image/gif", ".gz": "application/gzip",
	".heic": "image/heic", ".htm": "text/html", ".html": "text/html", ".ico": "image/vnd.microsoft.icon", ".ics": "text/calendar", ".jfif": "image/jpeg",
	".jpe": "image/jpeg", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".json": "application/json", ".log": "text/plain",
	".m4a": "audio/mp4", ".mdb": "application/x-msaccess", ".mov": "video/quicktime", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".mpp": "application/vnd.ms-project", ".msg": "application/vnd.ms-outlook", ".odp": "application/vnd.oasis.opendocument.presentation",
	".ods": "application/vnd.oasis.opendocument.spreadsheet", ".odt": "application/vnd.oasis.opendocument.text",
	".one": "application/onenote", ".p7m": "application/pkcs7-mime", ".p7s": "application/pkcs7-signature",
	".p12": "application/x-pkcs12", ".pdf": "application/pdf", ".png": "image/png", ".ppt": "application/vnd.ms-powerpoint",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation", ".ps": "application/postscript", ".rpmsg": "application/x-microsoft-rpmsg-message",
	".pub": "application/x-mspublisher", ".rtf": "application/rtf", ".svg": "image/svg+xml", ".tar": "application/x-tar",
	".tif": "image/tiff", ".tiff": "image/tiff", ".txt": "text/plain", ".vcf": "text/vcard", ".vsd": "application/vnd.visio",
	".vsdx": "application/vnd.ms-visio.drawing", ".wav": "audio/wav", ".webp": "image/webp", ".wma": "audio/x-ms-wma",
	".wmf": "image/wmf", ".wmv": "video/x-ms-wmv", ".xls": "application/vnd.ms-excel",
	".xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12", ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xml": "application/xml", ".xps": "application/vnd.ms-xpsdocument",
	".zip": "application/zip",
}

// extensions is the reverse, for attachments that have a type and no name.
var extensions = map[string]string{
	"application/pdf": ".pdf", "application/rtf": ".rtf", "application/zip": ".zip", "image/bmp": ".bmp", "image/emf": ".emf", "image/gif": ".gif",
	"image/jpeg": ".jpg", "image/png": ".png", "image/svg+xml": ".svg", "image/tiff": ".tif", "image/wmf": ".wmf", "message/rfc822": ".eml",
	"text/calendar": ".ics", "text/csv": ".csv", "text/html": ".htm", "text/plain": ".txt", "text/vcard": ".vcf", "text/x-vcard": ".vcf",
	"application/vnd.ms-excel": ".xls", "application/msword": ".doc", "application/vnd.ms-powerpoint": ".ppt", "audio/wav": ".wav", "audio/mpeg": ".mp3",
}

// typeByName is the media type of a file name, "application/octet-stream" when it is not known.
func typeByName(name string) string {
	if t, ok := mediaTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return "application/octet-stream"
}

// cleanType returns a media type that can stand in a Content-Type field, without its parameters, or "".
func cleanType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	if err != nil && t == "" {
		return ""
	}
	main, sub, ok := strings.Cut(t, "/")
	if !ok || !isToken(main) || !isToken(sub) {
		return ""
	}
	return t
}
