package inbound

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Authenticator knows users and their passwords.
type Authenticator interface {
	// Authenticate says whether the password is the user's, and who that is: what goes into Client.AuthUser. The error is for
	// trouble that passes, as a file that cannot be read: the client is told to try again. It is called from many goroutines.
	Authenticate(user, password string) (identity string, ok bool, err error)
}

// authFailureScore is what a failed AUTH adds to the client's score.
const authFailureScore = 10

var (
	errAuthCancelled = errors.New("cancelled")
	errAuthBase64    = errors.New("not base64")
)

// mechanisms are the SASL mechanisms: each gets the initial response, nil for none, and returns user and password.
var mechanisms = map[string]func(*conn, []byte) (user, password string, err error){
	"PLAIN": (*conn).authPlain,
	"LOGIN": (*conn).authLogin,
}

// mechanismNames are the same, as EHLO shows them (RFC 4954 3).
const mechanismNames = "PLAIN LOGIN"

// auth answers AUTH (RFC 4954 4).
func (c *conn) auth(arg string) {
	name, initial, hasInitial := strings.Cut(strings.TrimSpace(arg), " ")
	mechanism := mechanisms[strings.ToUpper(name)]
	switch {
	case c.server.config.Authenticator == nil:
		c.protocolError(fail(502, 5, 5, 1, "AUTH is not offered"))
	case c.client.TLS == nil:
		c.protocolError(fail(538, 5, 7, 11, "AUTH needs TLS: STARTTLS first")) // RFC 4954 6
	case c.client.AuthUser != "":
		c.protocolError(fail(503, 5, 5, 1, "You are authenticated already"))
	case c.mail:
		c.protocolError(fail(503, 5, 5, 1, "Not in a transaction"))
	case name == "":
		c.protocolError(fail(501, 5, 5, 4, "Expected AUTH and a mechanism: "+mechanismNames))
	case mechanism == nil:
		c.protocolError(fail(504, 5, 5, 4, "The mechanism is not one of "+mechanismNames))
	default:
		var first []byte
		var err error
		if hasInitial {
			first, err = decodeSASL([]byte(strings.TrimSpace(initial)))
		}
		var user, password string
		if err == nil {
			user, password, err = mechanism(c, first)
		}
		c.authenticate(user, password, err)
	}
}

// authenticate answers by what the exchange gave.
func (c *conn) authenticate(user, password string, err error) {
	switch {
	case errors.Is(err, errAuthCancelled):
		c.protocolError(fail(501, 5, 0, 0, "Cancelled")) // RFC 4954 4
		return
	case errors.Is(err, errAuthBase64):
		c.protocolError(fail(501, 5, 5, 2, "That is not base64"))
		return
	case errors.Is(err, errLineTooLong):
		c.protocolError(fail(500, 5, 5, 6, "Line too long"))
		return
	case err != nil:
		c.fatal(err)
		c.ending = true
		return
	}
	identity, ok, err := c.server.config.Authenticator.Authenticate(user, password)
	switch {
	case err != nil:
		c.server.config.Logger.Error("cannot authenticate", "client", c.client.Addr, "error", err)
		c.reply(fail(454, 4, 7, 0, "Cannot authenticate now, try again later"))
	case !ok:
		c.authFailed(user)
	default:
		c.authenticated(identity)
	}
}

// authFailed answers a wrong password, and a user who does not exist in the same words.
func (c *conn) authFailed(user string) {
	c.server.config.Refused("auth")
	c.server.config.Logger.Warn("authentication failed", "client", c.client.Addr, "user", printable(user))
	_, tooMuch := c.gather(authFailureScore)
	c.authFailures++
	if c.limits.RefusalDelay > 0 {
		c.pause(min(time.Duration(authFailureScore*c.authFailures)*c.limits.RefusalDelay, maxRefusalDelay))
	}
	c.reply(fail(535, 5, 7, 8, "Authentication failed"))
	if exceeds(c.authFailures, c.limits.AuthFailures) || tooMuch {
		c.reply(fail(421, 4, 7, 0, "Too many failed authentications, closing the connection"))
	}
}

// authenticated begins the session anew, of a client that is known now.
func (c *conn) authenticated(identity string) {
	client := c.client
	client.AuthUser = identity
	session, err := c.server.config.NewSession(client)
	if err != nil {
		c.replyError(err)
		return
	}
	c.endSession()
	c.client = client
	c.setSession(session)
	c.reply(fail(235, 2, 7, 0, "Authenticated"))
}

// challenge sends a 334 and reads the response.
func (c *conn) challenge(text string) ([]byte, error) {
	c.text(334, base64.StdEncoding.EncodeToString([]byte(text)))
	c.secret = true
	line, err := c.readLine(false)
	c.secret = false
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, errAuthCancelled
	}
	return decodeSASL(line)
}

// decodeSASL decodes a response; "=" is an empty one (RFC 4954 4).
func decodeSASL(line []byte) ([]byte, error) {
	if string(line) == "=" {
		return []byte{}, nil
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(out, line)
	if err != nil || bytes.ContainsAny(line, "\r\n") {
		return nil, errAuthBase64
	}
	return out[:n], nil
}

// authPlain is RFC 4616: authorization identity, NUL, user, NUL, password. Acting as somebody else is not possible: such a request
// ends as one with a wrong password.
func (c *conn) authPlain(response []byte) (user, password string, err error) {
	if response == nil {
		if response, err = c.challenge(""); err != nil {
			return "", "", err
		}
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[0] != "" && parts[0] != parts[1] {
		return "", "", nil
	}
	return parts[1], parts[2], nil
}

// authLogin is what old devices speak: draft-murchison-sasl-login.
func (c *conn) authLogin(response []byte) (user, password string, err error) {
	name := response
	if name == nil {
		if name, err = c.challenge("Username:"); err != nil {
			return "", "", err
		}
	}
	secret, err := c.challenge("Password:")
	return string(name), string(secret), err
}
