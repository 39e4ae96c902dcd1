package fakemta

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Message is one accepted message with its envelope. Its JSON form is what Folder writes beside the message.
type Message struct {
	// Number counts the messages of a server, or of a Folder, from 1.
	Number int `json:"number"`
	// Connection counts the connections of a server from 1; Transaction the accepted messages of one connection from 1.
	Connection  int `json:"connection"`
	Transaction int `json:"transaction"`
	// Remote is the client's address and port.
	Remote string `json:"remote"`
	// Helo is the argument of EHLO, or of HELO; Greeting says which.
	Helo     string `json:"helo"`
	Greeting string `json:"greeting"`
	// Sender is the reverse-path without angle brackets; empty for <>. SenderParams are the parameters of MAIL, as sent.
	Sender       string   `json:"sender"`
	SenderParams []string `json:"sender_params"`
	// Recipients are the accepted forward-paths, in order; RecipientParams the parameters of each RCPT, as sent.
	Recipients      []string   `json:"recipients"`
	RecipientParams [][]string `json:"recipient_params"`
	// TLS is nil for a connection in clear.
	TLS *TLS `json:"tls"`
	// Chunked says that the message came by BDAT (RFC 3030).
	Chunked bool `json:"chunked"`
	// BareCR and BareLF tell of a CR without LF, or an LF without CR, in the message (RFC 5321 2.3.8).
	BareCR bool `json:"bare_cr"`
	BareLF bool `json:"bare_lf"`
	// Size is the number of octets of Data, also where Data was discarded.
	Size int64 `json:"size"`
	// Started is when MAIL came; Received when the message was complete.
	Started  time.Time `json:"started"`
	Received time.Time `json:"received"`
	// Data is the message as it was received, without the dots of RFC 5321 4.5.2 and without the final dot.
	Data []byte `json:"-"`
}

// TLS is how a connection was secured.
type TLS struct {
	Version    string `json:"version"` // "TLS 1.3"
	Cipher     string `json:"cipher"`
	ServerName string `json:"server_name"` // what the client asked for (SNI)
	// ClientNames are the DNS names of the client's certificate, and its common name; empty without a certificate.
	ClientNames []string `json:"client_names"`
	// ClientVerified says that the certificate leads to one of tls.Config.ClientCAs.
	ClientVerified bool `json:"client_verified"`
}

func newTLS(state tls.ConnectionState) *TLS {
	t := &TLS{
		Version:        tls.VersionName(state.Version),
		Cipher:         tls.CipherSuiteName(state.CipherSuite),
		ServerName:     state.ServerName,
		ClientNames:    []string{},
		ClientVerified: len(state.VerifiedChains) > 0,
	}
	if len(state.PeerCertificates) > 0 {
		t.ClientNames = certificateNames(state.PeerCertificates[0])
	}
	return t
}

func certificateNames(leaf *x509.Certificate) []string {
	names := append([]string{}, leaf.DNSNames...)
	for _, name := range names {
		if name == leaf.Subject.CommonName {
			return names
		}
	}
	if leaf.Subject.CommonName != "" {
		names = append(names, leaf.Subject.CommonName)
	}
	return names
}
