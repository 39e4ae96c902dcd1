// Package message holds a message on its way through the gateway: its envelope, its octets, and edits of its header that
// leave every other octet as it came.
package message

// Envelope is what the SMTP session says about a message (RFC 5321 2.3.1), apart from its octets.
type Envelope struct {
	// ReversePath is the argument of MAIL FROM without angle brackets, in wire form (local part quoted where RFC 5321 4.1.2
	// asks for it). Empty is the null reverse-path <>.
	ReversePath string      `json:"reverse_path"`
	Recipients  []Recipient `json:"recipients,omitempty"`
	// Body is the BODY parameter: "", "7BIT", "8BITMIME" (RFC 6152) or "BINARYMIME" (RFC 3030).
	Body string `json:"body,omitempty"`
	// UTF8 is true when the client gave SMTPUTF8 (RFC 6531).
	UTF8 bool `json:"utf8,omitempty"`
	// EnvelopeID is the decoded ENVID (RFC 3461 4.4), Return is FULL, HDRS or empty (RFC 3461 4.3).
	EnvelopeID string `json:"envelope_id,omitempty"`
	Return     string `json:"return,omitempty"`
	// RequireTLS is true when the client gave REQUIRETLS: the message goes over verified TLS to hosts that keep to this, or not at all
	// (RFC 8689 2).
	RequireTLS bool `json:"require_tls,omitempty"`
	// TLSOptional is true when the message says "TLS-Required: No" and the client did not give REQUIRETLS: what the recipient's domain
	// asks of TLS does not count (RFC 8689 3).
	TLSOptional bool `json:"tls_optional,omitempty"`
}

// IsBinary says whether the octets of the message may be any, line endings included (RFC 3030 3).
func (e *Envelope) IsBinary() bool { return e.Body == "BINARYMIME" }

// Recipient is one RCPT TO with its DSN parameters.
type Recipient struct {
	// Address is the forward-path without angle brackets, in wire form.
	Address string `json:"address"`
	// Notify holds NEVER, or any of SUCCESS, FAILURE and DELAY (RFC 3461 4.1); empty when the client gave none.
	Notify []string `json:"notify,omitempty"`
	// ORcptType and ORcpt are the decoded ORCPT (RFC 3461 4.2): "rfc822" and the address; empty when the client gave none.
	ORcptType string `json:"orcpt_type,omitempty"`
	ORcpt     string `json:"orcpt,omitempty"`
}
