package tnef

import (
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

const (
	lidVerbStream   = 0x8520 // in PSETID_Common
	maxVerbs        = 50
	verbVote        = 4 // VerbType of a voting option; others stand for Reply, Forward and the like
	votesVersion2   = 0x0104
	votesVersion    = 0x0102
	voteFixedOctets = 29 // of a VoteOption behind its strings
)

// voteMessage says in words which answers the sender has offered buttons for ([MS-OXOMSG] 2.2.1.74).
func voteMessage(_ *builder, m *Message, c *content) {
	options := voteOptions(m.Props.FindNamed(mapi.SetCommon, lidVerbStream).Bytes(), m.Codepage)
	if len(options) > 0 && (c.hasText || c.hasHTML) {
		appendText(c, "Reply with one of: "+strings.Join(options, "; ")+"\r\n")
	}
}

// voteOptions reads PidLidVerbStream: options with 8-bit names, then all the names again in UTF-16.
func voteOptions(b []byte, codepage int) []string {
	c := &cursor{b: b}
	if c.u16() != votesVersion {
		return nil
	}
	count := min(c.u32(), maxVerbs)
	type option struct {
		name string
		vote bool
	}
	var list []option
	for range count {
		verb := c.u32()
		name := decodeString(codepage, c.take(uint32(c.u8())))
		for range 3 { // MsgClsName, Internal1String, DisplayNameRepeat
			c.take(uint32(c.u8()))
		}
		c.take(voteFixedOctets)
		if c.short {
			break
		}
		list = append(list, option{name, verb == verbVote})
	}
	if !c.short && c.u16() == votesVersion2 {
		for i := range list {
			wide := decodeUTF16(c.take(2 * uint32(c.u8())))
			c.take(2 * uint32(c.u8()))
			if c.short {
				break
			}
			list[i].name = wide
		}
	}
	var names []string
	for _, o := range list {
		if name := cleanText(o.name); o.vote && name != "" {
			names = append(names, name)
		}
	}
	return names
}
