package inbound

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// xclientNames are the attributes of XCLIENT that are understood (Postfix, XCLIENT_README).
const xclientNames = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// xclientAttributes set what a proxy knows of the client it speaks for. A value that is not known comes as "".
var xclientAttributes = map[string]func(c *Client, value string) bool{
	"NAME": func(*Client, string) bool { return true }, // the name of an address is not believed from anybody
	"ADDR": func(c *Client, value string) bool {
		if value == "" {
			return true // the proxy's own address stays
		}
		if rest, ok := cutFold(value, "IPV6:"); ok {
			value = rest
		}
		addr, err := netip.ParseAddr(value)
		if err == nil {
			c.Addr, c.Port = addr.Unmap().WithZone(""), 0
		}
		return err == nil
	},
	"PORT": func(c *Client, value string) bool {
		n, err := strconv.ParseUint(value, 10, 16)
		c.Port = uint16(n)
		return err == nil || value == ""
	},
	"PROTO": func(c *Client, value string) bool {
		value = strings.ToUpper(value)
		c.ESMTP = value == "ESMTP"
		return value == "" || value == "SMTP" || value == "ESMTP"
	},
	"HELO": func(c *Client, value string) bool {
		c.Helo = value
		return value == "" || validHello(value)
	},
	"LOGIN": func(c *Client, value string) bool {
		c.AuthUser = value
		return true
	},
	"DESTADDR": func(*Client, string) bool { return true },
	"DESTPORT": func(*Client, string) bool { return true },
}

// xclientAllowed says whether the other end of the connection, which an earlier XCLIENT does not change, may say who its client is. A load
// balancer that gave a PROXY header passes on whatever its client says, which is nobody to be believed.
func (c *conn) xclientAllowed() bool {
	if c.proxied {
		return false
	}
	for _, n := range c.listener.XClient {
		if n.Contains(c.peer) {
			return true
		}
	}
	return false
}

// xclient answers XCLIENT: the connection goes on as if the client that is named had made it, from the greeting.
func (c *conn) xclient(arg string) {
	switch {
	case len(c.listener.XClient) == 0:
		c.protocolError(fail(500, 5, 5, 1, "Command not known"))
		return
	case !c.xclientAllowed():
		c.protocolError(fail(550, 5, 7, 1, "Not from your address"))
		return
	case c.mail:
		c.protocolError(fail(503, 5, 5, 1, "Not in a transaction"))
		return
	}
	client, refusal := parseXClient(c.client, arg)
	if refusal != nil {
		c.protocolError(refusal)
		return
	}
	if refusal = c.server.move(c, client.Addr); refusal != nil {
		c.reply(refusal)
		return
	}
	c.endSession()
	c.client = client
	if state := c.client.TLS; state != nil { // that of the connection, not of the client: its certificate says nothing
		other := *state
		other.PeerCertificates, other.VerifiedChains = nil, nil
		c.client.TLS = &other
	}
	c.record = c.server.recording(client.Addr)
	c.refused, c.accepted, c.idle, c.authFailures = 0, 0, 0, 0
	c.greet()
}

// parseXClient changes what is known of a client by the attributes in arg. An attribute given twice is an error.
func parseXClient(client Client, arg string) (Client, *smtp.SMTPError) {
	client.AuthUser = ""
	words := strings.Fields(arg)
	if len(words) == 0 {
		return client, fail(501, 5, 5, 4, "Expected XCLIENT NAME=VALUE...")
	}
	seen := map[string]bool{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		set := xclientAttributes[key]
		if !ok || set == nil || seen[key] {
			return client, fail(501, 5, 5, 4, "Bad attribute "+printable(key))
		}
		seen[key] = true
		if strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]") {
			value = ""
		}
		decoded, ok := decodeXtext(value)
		if !ok || !utf8.ValidString(decoded) || !set(&client, decoded) {
			return client, fail(501, 5, 5, 4, "Bad value of "+printable(key))
		}
	}
	return client, nil
}
