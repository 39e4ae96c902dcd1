package calendar

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// A GlobalObjectId ([MS-OXOCAL] 2.2.1.27): 16 octets that tell what it is, the date of an instance, a time, 8 zeros, a size, and data.
const (
	globalIDPrefix = "\x04\x00\x00\x00\x82\x00\xE0\x00\x74\xC5\xB7\x10\x1A\x82\xE0\x08"
	globalIDDate   = 16
	globalIDData   = 40
	// vCalUID stands in front of an identifier that came from elsewhere ([MS-OXCICAL] 2.1.3.1.1.20.26).
	vCalUID = "vCal-Uid\x01\x00\x00\x00"
)

// UID makes the UID of a GlobalObjectId ([MS-OXCICAL] 2.1.3.1.1.20.26): the identifier in it that another system gave, else the whole in
// hexadecimal, without the date of an instance. It is "" when there is nothing.
func UID(globalID []byte) string {
	if !isGlobalID(globalID) {
		return strings.ToUpper(hex.EncodeToString(globalID[:min(len(globalID), 512)]))
	}
	if data := globalID[globalIDData:]; bytes.HasPrefix(data, []byte(vCalUID)) {
		if size := binary.LittleEndian.Uint32(globalID[globalIDData-4:]); uint64(size) <= uint64(len(data)) && size > uint32(len(vCalUID)) {
			data = data[:size]
		}
		data, _, _ = bytes.Cut(data[len(vCalUID):], []byte{0})
		if s := strings.TrimSpace(string(data)); s != "" && utf8.ValidString(s) {
			return s
		}
	}
	id := bytes.Clone(globalID)
	clear(id[globalIDDate : globalIDDate+4])
	return strings.ToUpper(hex.EncodeToString(id[:min(len(id), 4096)]))
}

func isGlobalID(b []byte) bool {
	return len(b) >= globalIDData && string(b[:len(globalIDPrefix)]) == globalIDPrefix
}

// instanceDate is the date of the instance that a GlobalObjectId stands for; zero for a whole series or a single meeting.
func instanceDate(globalID []byte) time.Time {
	if !isGlobalID(globalID) {
		return time.Time{}
	}
	year := int(binary.BigEndian.Uint16(globalID[globalIDDate:]))
	month, day := int(globalID[globalIDDate+2]), int(globalID[globalIDDate+3])
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if year < 1601 || t.Day() != day || int(t.Month()) != month {
		return time.Time{}
	}
	return t
}

// eventUID finds the UID of a meeting: the same one in everything that is sent about it. Without a GlobalObjectId, as in messages of Schedule+, the
// organizer's own id of the appointment serves.
func eventUID(p *mapi.Props) string {
	for _, lid := range []uint32{lidCleanGlobalID, lidGlobalID} {
		if uid := UID(meetingProp(p, lid).Bytes()); uid != "" {
			return uid
		}
	}
	if id, ok := p.Int(mapi.TagOwnerAppointmentID); ok && id != 0 {
		return fmt.Sprintf("%08X-%s", uint32(id), startStamp(p))
	}
	return searchUID(p)
}

// startStamp tells meetings with the same short id apart.
func startStamp(p *mapi.Props) string {
	for _, x := range []*mapi.Property{named(p, lidStartWhole), common(p, lidCommonStart), p.Find(mapi.TagStartDate)} {
		if t, ok := x.Time(); ok {
			return formatUTC(t)
		}
	}
	return "0"
}

func taskUID(p *mapi.Props) string {
	if b := common(p, lidTaskGlobalID).Bytes(); len(b) > 0 {
		return strings.ToUpper(hex.EncodeToString(b[:min(len(b), 512)]))
	}
	return eventUID(p)
}

// searchUID is the last resort: the key of the object itself.
func searchUID(p *mapi.Props) string {
	x := p.Find(mapi.TagSearchKey)
	if b := x.Bytes(); len(b) > 0 {
		return strings.ToUpper(hex.EncodeToString(b[:min(len(b), 512)]))
	}
	if s := strings.TrimSpace(x.Text()); s != "" {
		return s
	}
	return strings.Trim(strings.TrimSpace(p.Text(mapi.TagInternetMessageID)), "<>")
}

// derivedUID makes an identity, for an object that has none, of what stays the same when the same object is converted again (RFC 5545 3.8.4.7 asks
// for one that is unique).
func derivedUID(parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "coexist-" + hex.EncodeToString(h[:16])
}
