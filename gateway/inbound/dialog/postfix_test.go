package dialog_test

import (
	"testing"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// startPostfix starts a Postfix of the test's own that relays for contoso.com, and tells clients apart as the gateway does. It returns
// its address and version.
func startPostfix(t *testing.T) (addr, version string) {
	t.Helper()
	peertest.Need(t, "postfix")
	sink, err := fakemta.Start(fakemta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	cert, key := peertest.Certificate(t, t.TempDir(), "gw1.contoso.com")
	p := peertest.StartPostfix(t, peertest.PostfixOptions{
		Hostname: "gw1.contoso.com", Relay: sink.Addr(),
		Tables: map[string]string{"recipients": "adelev@contoso.com x\nmeganb@contoso.com x\npostmaster@contoso.com x\n"},
		Settings: []string{
			"myorigin = contoso.com", "mynetworks = 127.0.1.0/24", "relay_domains = contoso.com",
			"relay_recipient_maps = hash:$config_directory/recipients",
			"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination",
			"smtpd_tls_cert_file = " + cert, "smtpd_tls_key_file = " + key, "smtpd_tls_security_level = may",
			"message_size_limit = 1048576", "smtpd_client_connection_count_limit = 0", "smtpd_reject_unlisted_sender = no", "smtpd_error_sleep_time = 0",
		},
	})
	return p.Addr, "Postfix " + p.Version
}
