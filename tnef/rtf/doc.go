// Package rtf reads the RTF bodies of Outlook and Exchange messages: it
// decompresses PidTagRtfCompressed ([MS-OXRTFCP]), takes HTML or plain text
// that was encapsulated in RTF out again, exactly ([MS-OXRTFEX]), and renders
// real RTF as HTML and as readable plain text.
//
// Every function takes hostile input: none panics, work is linear in the size
// of the input, and output and nesting are capped.
package rtf

// Kind says what an RTF document was made from.
type Kind int

// The kinds of RTF document ([MS-OXRTFEX] 2.1.3.1).
const (
	RealRTF  Kind = iota // neither \fromhtml1 nor \fromtext: RTF is the native body
	FromHTML             // \fromhtml1: an encapsulated HTML body
	FromText             // \fromtext: an encapsulated plain text body
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case FromHTML:
		return "FromHTML"
	case FromText:
		return "FromText"
	}
	return "RealRTF"
}

// Options tunes Convert; the zero value is ready for use.
type Options struct {
	// Codepage is used where the document names none (no \ansicpg): commonly
	// PidTagInternetCodepage or PidTagMessageCodepage. 0 means 1252.
	Codepage int
	// Charset is what the meta elements of encapsulated HTML are made to
	// declare (see SetMetaCharset): "utf-8", since that is what it is converted
	// to. "" leaves them as they were.
	Charset string
	// MaxOutput caps HTML, Text and the data of Pictures together, in bytes;
	// pictures get half of it at most, and the cap is kept to within one piece
	// of text or row of a table. About twice as much is allocated on the way.
	// 0 means 64 MiB.
	MaxOutput int
	// ContentID names the picture with the given index (from 0), without angle
	// brackets. nil gives "imageNNN.<checksum>@rtf".
	ContentID func(index int, data []byte) string
}

// Picture is an image that was embedded with \pict.
type Picture struct {
	ContentID string // as the HTML refers to it (cid:), without angle brackets
	Type      string // media type: image/png, image/jpeg, image/bmp, image/wmf, image/emf or image/x-pict
	Name      string // a file name: image001.png
	Data      []byte
}

// Object is the place of an attachment in the text: an \objattph placeholder
// ([MS-OXRTFEX] 2.2.3.4).
type Object struct {
	HTML int // byte offset in Result.HTML; 0 when that is empty
	Text int // byte offset in Result.Text; 0 when that is empty
}

// Result is what Convert found.
type Result struct {
	Kind Kind
	// HTML is UTF-8: the original document for FromHTML, a rendering (a whole
	// document, that declares UTF-8) for RealRTF, "" for FromText.
	HTML string
	// Text is UTF-8 with CRLF line ends: the original text for FromText, a
	// rendering for RealRTF, "" for FromHTML (see HTMLToText).
	Text string
	// Pictures are those that HTML refers to, in order (RealRTF only).
	Pictures []Picture
	// Objects are the places of attachments in order: the n-th belongs to the
	// n-th attachment by PidTagRenderingPosition, among those that are neither
	// hidden nor at 0xFFFFFFFF. Where the numbers differ, [MS-OXRTFEX] 2.2.3.4
	// wants the places ignored.
	Objects []Object
	// Warnings tell what was wrong with the document, each thing once.
	Warnings []string
}
