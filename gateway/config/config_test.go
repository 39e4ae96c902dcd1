package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// minimal is a file with the required keys only; the cases below change it.
const minimal = `hostname = "gw1.contoso.com"
domains  = ["contoso.com"]
# line 3

[[listener]]
address = "127.0.0.1:2525"

[directory]
source = "ldif"
ldif   = "contoso.ldif"

[onprem]
next_hop = ["mail.contoso.local"]

[cloud]
routing_domain = "contoso.mail.onmicrosoft.com"
next_hop = ["contoso-com.mail.protection.outlook.com:25"]
`

// files makes a folder with the files that configurations name: two certificates with keys, a CA, secrets.
func files(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := selfSigned(t, time.Now().Add(time.Hour))
	write("tls.crt", cert, 0o644)
	write("tls.key", key, 0o600)
	write("connector.pem", cert, 0o644)
	write("connector.key", key, 0o600)
	write("open.key", key, 0o644)
	otherCert, otherKey := selfSigned(t, time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC))
	write("expired.crt", otherCert, 0o644)
	write("expired.key", otherKey, 0o600)
	write("bad.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644)
	write("no.pem", "no certificate here\n", 0o644)
	write("bind.secret", "pass word\n", 0o600)
	write("svc.keytab", "\x05\x02", 0o600)
	write("open.secret", "password\n", 0o644)
	write("empty.secret", "\n", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func selfSigned(t testing.TB, notAfter time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "gw1.contoso.com"},
		DNSNames:     []string{"gw1.contoso.com"},
		NotBefore:    notAfter.Add(-48 * time.Hour),
		NotAfter:     notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return cert, key
}

var compareConfigs = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestMinimalGetsTheDefaults(t *testing.T) {
	got, err := Parse("coexist.toml", []byte(minimal), "/etc/coexist")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Hostname:   "gw1.contoso.com",
		DataDir:    "/var/lib/coexist",
		Domains:    []string{"contoso.com"},
		Postmaster: "postmaster@contoso.com",
		Listeners:  []Listener{{Address: "127.0.0.1:2525", TLS: "off"}},
		Directory: Directory{
			Source: "ldif", LDIF: "/etc/coexist/contoso.ldif",
			Refresh: 15 * time.Second, Reconcile: 10 * time.Minute, MaxAge: 24 * time.Hour,
		},
		OnPrem:   OnPrem{System: "smtp", NextHop: []string{"mail.contoso.local:25"}, TLS: "opportunistic", ConvertTNEF: true},
		Cloud:    Cloud{RoutingDomain: "contoso.mail.onmicrosoft.com", NextHop: []string{"contoso-com.mail.protection.outlook.com:25"}, TLS: "verified"},
		Internet: Internet{TLS: "opportunistic", ConvertTNEF: true},
		Delivery: Delivery{
			AckAfter: 5 * time.Second, DelayNotice: 4 * time.Hour, ExpireAfter: 48 * time.Hour, ConnectionsPerHop: 20,
			Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour},
		},
		Limits:  Limits{MessageSize: 157286400, Recipients: 500, Connections: 1000, ConnectionsPerClient: 50, ConnectionsPerNetwork: 200, RefusalsPerClient: 10_000, RefusalsPerNetwork: 40_000, ReceivedHops: 25},
		Spool:   Spool{Backend: "local"},
		Admin:   Admin{Address: "127.0.0.1:8025"},
		Hygiene: Hygiene{Authenticate: "off", GreylistDelay: 2 * time.Minute, MilterDown: "tempfail", MilterTimeout: time.Minute, MilterStage: "message", EarlyTalkers: "tolerate"},
		Trace:   Trace{Keep: 168 * time.Hour},
		Log:     Log{Format: "text", Level: "info"},
	}
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

// TestExample loads the example of the documentation.
func TestExample(t *testing.T) {
	dir := files(t)
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "coexist.toml")
	if err := os.WriteFile(path, example, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	want, got := Default(), *c
	for name, pair := range map[string][2]any{
		"delivery": {want.Delivery, got.Delivery}, "limits": {want.Limits, got.Limits}, "internet": {want.Internet, got.Internet},
		"spool": {want.Spool, got.Spool}, "admin": {want.Admin, got.Admin}, "log": {want.Log, got.Log}, "data_dir": {want.DataDir, got.DataDir},
	} {
		if diff := cmp.Diff(pair[0], pair[1], compareConfigs); diff != "" {
			t.Errorf("%s: the example does not show the default: %s", name, diff)
		}
	}
	if got.Path != path || got.Listeners[0].CertFile != filepath.Join(dir, "tls.crt") || got.Cloud.ClientKeyFile != filepath.Join(dir, "connector.key") {
		t.Errorf("paths are not resolved: %q %q %q", got.Path, got.Listeners[0].CertFile, got.Cloud.ClientKeyFile)
	}
}

// TestCommentedKeysOfTheExample takes the comment signs off the keys of source = "ad".
func TestCommentedKeysOfTheExample(t *testing.T) {
	dir := files(t)
	cert, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ad-ca.pem"), cert, 0o644); err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(example), `"ldif"  `, `"ad"  `, 1)
	for _, key := range []string{"url", "base_dn", "bind_dn", "password_file", "ca_file", "start_tls", "allow_plaintext", "refresh", "reconcile"} {
		text = strings.Replace(text, "# "+key+" =", key+" =", 1)
	}
	c, err := Parse("coexist.toml", []byte(text), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Directory{
		Source: "ad", LDIF: filepath.Join(dir, "contoso.ldif"),
		URL: []string{"ldaps://dc1.contoso.com", "ldaps://dc2.contoso.com"}, BaseDN: OneOrMore{"DC=contoso,DC=com"},
		BindDN: "CN=svc-coexist,OU=Service,DC=contoso,DC=com", PasswordFile: filepath.Join(dir, "bind.secret"), CAFile: filepath.Join(dir, "ad-ca.pem"),
		Refresh: 15 * time.Second, Reconcile: 10 * time.Minute, MaxAge: 24 * time.Hour,
	}
	if diff := cmp.Diff(want, c.Directory); diff != "" {
		t.Error(diff)
	}
}

// TestKeytabOfTheExample takes the comment signs off the keys of source = "ad" with Kerberos.
func TestKeytabOfTheExample(t *testing.T) {
	dir := files(t)
	if err := os.WriteFile(filepath.Join(dir, "svc-coexist.keytab"), []byte("\x05\x02"), 0o600); err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(example), `"ldif"  `, `"ad"  `, 1)
	for _, key := range []string{"url", "base_dn", "principal", "keytab_file"} {
		text = strings.Replace(text, "# "+key+" =", key+" =", 1)
	}
	c, err := Parse("coexist.toml", []byte(text), dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Directory; d.Principal != "svc-coexist@CONTOSO.COM" || d.KeytabFile != filepath.Join(dir, "svc-coexist.keytab") {
		t.Errorf("principal %q, keytab %q", d.Principal, d.KeytabFile)
	}
}

// edit is one change of minimal: the first old becomes new. An empty old adds new at the end.
type edit struct{ old, new string }

func apply(t testing.TB, edits []edit) string {
	t.Helper()
	text := minimal
	for _, e := range edits {
		if e.old == "" {
			text += e.new + "\n"
			continue
		}
		if !strings.Contains(text, e.old) {
			t.Fatalf("%q is not in the text", e.old)
		}
		text = strings.Replace(text, e.old, e.new, 1)
	}
	return text
}

// These add lines: at the top level (line 3), to the listener (line 7), [onprem] (13), [cloud] (16), and at the end (18).
func top(line string) edit      { return edit{"# line 3", line} }
func listener(line string) edit { return edit{"\n\n[directory]", "\n" + line + "\n\n[directory]"} }
func onprem(line string) edit   { return edit{"[onprem]\n", "[onprem]\n" + line + "\n"} }
func cloud(line string) edit    { return edit{"[cloud]\n", "[cloud]\n" + line + "\n"} }
func end(lines string) edit     { return edit{"", lines} }

// ad replaces the source; keys begin at line 9.
func ad(lines string) edit {
	return edit{"source = \"ldif\"\nldif   = \"contoso.ldif\"", "source = \"ad\"\n" + lines}
}

const adKeys = `url = ["ldaps://dc1.contoso.com"]
base_dn = "DC=contoso,DC=com"
`

func TestFindings(t *testing.T) {
	dir := files(t)
	tests := []struct {
		name  string
		edits []edit
		want  string // a line each, without the file name; DIR is the folder
	}{
		{"no hostname", []edit{{`hostname = "gw1.contoso.com"`, ""}}, `1: hostname: is required, expected a name such as "gw1.contoso.com"`},
		{"no table", []edit{{"[onprem]\nnext_hop = [\"mail.contoso.local\"]\n", ""}},
			`1: onprem.next_hop: is required, expected host:port of the on-prem mail system, such as ["mail.contoso.local:25"]`},
		{"key missing in its table", []edit{{`routing_domain = "contoso.mail.onmicrosoft.com"`, ""}},
			`15: cloud.routing_domain: is required, expected a domain such as "contoso.mail.onmicrosoft.com"`},
		{"no ldif", []edit{{`ldif   = "contoso.ldif"`, ""}}, `8: directory.ldif: is required, expected a file such as "contoso.ldif", for source = "ldif"`},
		{"no source", []edit{{`source = "ldif"`, ""}}, `8: directory.source: is required, expected "ldif" or "ad"`},
		{"no address", []edit{{`address = "127.0.0.1:2525"`, ""}}, `5: listener.address: is required, expected host:port such as "0.0.0.0:25"`},
		{"no domains", []edit{{`["contoso.com"]`, "[]"}}, `2: domains: is empty, expected at least one`},
		{"no next hops", []edit{{`["mail.contoso.local"]`, "[]"}}, `13: onprem.next_hop: is empty, expected at least one`},
		{"no listeners", []edit{{"[[listener]]\naddress = \"127.0.0.1:2525\"\n", ""}, top("listener = []")}, `3: listener: is empty, expected at least one`},

		{"misspelt key", []edit{onprem(`nexthop = ["a"]`)}, `13: onprem.nexthop: is not a key, did you mean "next_hop"?`},
		{"key with hyphen", []edit{onprem(`convert-tnef = true`)}, `13: onprem.convert-tnef: is not a key, did you mean "convert_tnef"?`},
		{"capital", []edit{top(`Data_Dir = "x"`)}, `3: Data_Dir: is not a key, did you mean "data_dir"?`},
		{"misspelt table", []edit{end("[deliverry]\nack_after = \"5s\"")}, `18: deliverry: is not a key, did you mean "delivery"?`},
		{"key of another table", []edit{cloud(`ack_after = "5s"`)}, `16: cloud.ack_after: is not a key here, expected it in [delivery]`},
		{"key of the top level too late", []edit{end(`postmaster = "a@contoso.com"`)},
			`18: cloud.postmaster: is not a key here, expected it at the top level, before the first [table]`},
		{"key of nothing", []edit{end("[log]\ncolour = \"red\"")}, `19: log.colour: is not a key, expected one of format, level (the keys of [log])`},
		{"quoted key with a dot", []edit{end("[log]\n\"a.b\" = 1")}, `19: log."a.b": is not a key, expected one of format, level (the keys of [log])`},
		{"inline password", []edit{ad(adKeys + `password = "hunter2"`)},
			`12: directory.password: is not a key, expected password_file: secrets and certificates are given as a file, never inline`},
		{"inline key", []edit{listener("key = \"\"\"\nPEM\n\"\"\"")},
			`7: listener.key: is not a key, expected key_file: secrets and certificates are given as a file, never inline`},

		{"string for number", []edit{end("[limits]\nconnections = \"1000\"")}, `19: limits.connections: is a string, expected a whole number, without quotes`},
		{"fraction for number", []edit{end("[limits]\nconnections = 1.5")}, `19: limits.connections: is a number with a fraction, expected a whole number, without quotes`},
		{"number for string", []edit{{`"gw1.contoso.com"`, "7"}}, `1: hostname: is a number, expected a string`},
		{"date for string", []edit{{`"gw1.contoso.com"`, "2026-01-01"}}, `1: hostname: is a date, expected a string`},
		{"string for boolean", []edit{onprem(`convert_tnef = "yes"`)}, `13: onprem.convert_tnef: is a string, expected true or false, without quotes`},
		{"string for array", []edit{{`["contoso.com"]`, `"contoso.com"`}}, `2: domains: is a string, expected an array of strings, in square brackets`},
		{"number in array", []edit{{`["contoso.com"]`, "[\n\"contoso.com\", # first\n1]"}}, `4: domains: is a number, expected a string`},
		{"number for duration", []edit{end("[delivery]\nack_after = 5")}, `19: delivery.ack_after: is a number, expected a duration such as "15s", "10m" or "24h"`},
		{"table for string", []edit{top("postmaster = {a = 1}")}, `3: postmaster: is a table, expected a string`},
		{"string for table", []edit{top(`log = "text"`)}, `3: log: is a string, expected a table, [log], once`},
		{"array of tables for table", []edit{end("[[log]]\nformat = \"text\"")}, `18: log: is an array of tables, expected a table, [log], once`},
		{"table for array of tables", []edit{{"[[listener]]", "[listener]"}}, `5: listener: is a table, expected an array of tables, [[listener]]`},
		{"array of strings for array of tables", []edit{{"[[listener]]\naddress = \"127.0.0.1:2525\"\n", ""}, top(`listener = ["127.0.0.1:25"]`)},
			`3: listener: is a string, expected a table, [[listener]]`},

		{"zero", []edit{end("[limits]\nrecipients = 0")}, `19: limits.recipients: is 0, expected a whole number from 1 to 2147483647`},
		{"negative", []edit{end("[delivery]\nconnections_per_hop = -1")}, `19: delivery.connections_per_hop: is -1, expected a whole number from 1 to 2147483647`},
		{"huge", []edit{end("[limits]\nreceived_hops = 2147483648")}, `19: limits.received_hops: is 2147483648, expected a whole number from 1 to 2147483647`},
		{"size without unit known", []edit{end("[limits]\nmessage_size = \"150M\"")},
			`19: limits.message_size: "150M" is not a size, expected a size such as "150MiB", "10MB" or a number of octets`},
		{"size zero", []edit{end("[limits]\nmessage_size = 0")}, `19: limits.message_size: is 0, expected at least 1 octet`},
		{"size too large", []edit{end("[limits]\nmessage_size = \"9999999TiB\"")},
			`19: limits.message_size: "9999999TiB" is too large, expected a size such as "150MiB", "10MB" or a number of octets`},
		{"duration without unit", []edit{end("[delivery]\nexpire_after = \"48\"")},
			`19: delivery.expire_after: "48" is not a duration, expected a duration such as "15s", "10m" or "24h"`},
		{"duration too short", []edit{end("[directory2]"), ad(adKeys + `refresh = "10ms"`)},
			"12: directory.refresh: \"10ms\" is too short, expected at least \"1s\"\n20: directory2: is not a key, did you mean \"directory\"?"},
		{"negative ack_after", []edit{end("[delivery]\nack_after = \"-5s\"")},
			`19: delivery.ack_after: "-5s" is too short, expected "0s" (always spool first) or at least "1s"`},
		{"retry of zero in the third line", []edit{end("[delivery]\nretry = [\n  \"1m\",\n  \"0s\",\n]")}, `21: delivery.retry: "0s" is too short, expected at least "1s"`},
		{"no retry", []edit{end("[delivery]\nretry = []")}, `19: delivery.retry: is empty, expected at least one duration`},

		{"bad hostname", []edit{{`"gw1.contoso.com"`, `"gw1 contoso.com"`}}, `1: hostname: "gw1 contoso.com" is not a domain name, expected a domain name such as "contoso.com"`},
		{"hostname is an address", []edit{{`"gw1.contoso.com"`, `"[10.0.0.1]"`}}, `1: hostname: "[10.0.0.1]" is an IP address, expected a domain name such as "contoso.com"`},
		{"domain with empty label", []edit{{`["contoso.com"]`, `["contoso..com"]`}}, `2: domains: "contoso..com" is not a domain name, expected a domain name such as "contoso.com"`},
		{"domain is an address", []edit{{`["contoso.com"]`, `["@contoso.com"]`}}, `2: domains: "@contoso.com" is an address, expected a domain name such as "contoso.com"`},
		{"domain twice", []edit{{`["contoso.com"]`, `["contoso.com", "Contoso.COM"]`}}, `2: domains: "contoso.com" is there twice, expected each once`},
		{"routing domain is shared", []edit{{`["contoso.com"]`, `["contoso.com", "contoso.mail.onmicrosoft.com"]`}},
			`2: domains: "contoso.mail.onmicrosoft.com" is cloud.routing_domain, which only Exchange Online owns: expected domains that both systems share`},
		{"tenant id", []edit{cloud(`tenant_id = "contoso"`)}, `16: cloud.tenant_id: "contoso" is no GUID, expected the tenant's id such as "72f988bf-86f1-41af-91ab-2d7cd011db47"`},
		{"tenant domains", []edit{cloud(`tenant_domains = ["*", "contoso.de"]`)}, `16: cloud.tenant_domains: "*" is not a domain name, expected a domain name such as "contoso.com"`},
		{"stages and early talkers", []edit{end("[hygiene]\nmilter_stage = \"data\"\nearly_talkers = \"kill\"\ngreet_delay = \"31s\"\n")}, `19: hygiene.milter_stage: is "data", expected one of message, recipient` + "\n" +
			`20: hygiene.early_talkers: is "kill", expected one of tolerate, refuse` + "\n" +
			`21: hygiene.greet_delay: 31s is too long, expected 30s at most: clients give up`},
		{"negative greet delay", []edit{end("[hygiene]\ngreet_delay = \"-1s\"")}, `19: hygiene.greet_delay: "-1s" is too short, expected "0s" (greet at once), or a time such as "500ms"`},
		{"hygiene words", []edit{end("[hygiene]\nauthenticate = \"on\"\nmilters = [\"rspamd\"]\nblocklists = [\"a b\"]\n")}, `19: hygiene.authenticate: is "on", expected one of off, report, quarantine, reject` + "\n" +
			`20: hygiene.milters: "rspamd" is no address of a filter, expected host:port or unix:/path` + "\n" +
			`21: hygiene.blocklists: "a b" is not a domain name, expected a domain name such as "contoso.com"`},
		{"tenant domain is shared", []edit{cloud(`tenant_domain = "contoso.com"`)},
			`2: domains: "contoso.com" is cloud.tenant_domain, which only Exchange Online owns: expected domains that both systems share`},
		{"bad postmaster", []edit{top(`postmaster = "postmaster"`)}, `3: postmaster: "postmaster" is not an address, expected an address such as "postmaster@contoso.com"`},
		{"postmaster with name", []edit{top(`postmaster = "Postmaster <a@contoso.com>"`)},
			`3: postmaster: "Postmaster <a@contoso.com>" has no valid local part, expected an address such as "postmaster@contoso.com"`},
		{"word", []edit{onprem(`system = "zimbra"`)}, `13: onprem.system: is "zimbra", expected one of notes, groupwise, smtp`},
		{"tls of a side", []edit{cloud(`tls = "starttls"`)}, `16: cloud.tls: is "starttls", expected one of none, opportunistic, required, verified`},
		{"tls of a listener", []edit{listener(`tls = "none"`)}, `7: listener.tls: is "none", expected one of off, starttls, required, implicit`},
		{"log words", []edit{end("[log]\nformat = \"xml\"\nlevel = \"trace\"")},
			"19: log.format: is \"xml\", expected one of text, json\n20: log.level: is \"trace\", expected one of debug, info, warn, error"},
		{"postgres", []edit{end("[spool]\nbackend = \"postgres\"")}, `19: spool.backend: "postgres" is for a later version, expected "local"`},
		{"spool word", []edit{end("[spool]\nbackend = \"sqlite\"")}, `19: spool.backend: is "sqlite", expected "local"`},
		{"admin address", []edit{end("[admin]\naddress = \"8025\"")}, `19: admin.address: "8025" is not host:port, expected host:port such as "127.0.0.1:8025"`},
		{"admin on a listener", []edit{end("[admin]\naddress = \"127.0.0.1:2525\"")}, `19: admin.address: "127.0.0.1:2525" is taken by the listener of line 6, expected another port`},
		{"data_dir is a file", []edit{top(`data_dir = "tls.crt"`)}, `3: data_dir: "DIR/tls.crt" is a file, expected a folder`},
		{"data_dir is empty", []edit{top(`data_dir = ""`)}, `3: data_dir: is empty, expected a folder such as "/var/lib/coexist"`},

		{"next hop port", []edit{{`"mail.contoso.local"`, `"mail.contoso.local:99999"`}}, `13: onprem.next_hop: "mail.contoso.local:99999" has port "99999", expected a number from 1 to 65535`},
		{"next hop named port", []edit{{`"mail.contoso.local"`, `"mail.contoso.local:smtp"`}}, `13: onprem.next_hop: "mail.contoso.local:smtp" has port "smtp", expected a number from 1 to 65535`},
		{"next hop is a URL", []edit{{`"mail.contoso.local"`, `"smtp://mail.contoso.local"`}}, `13: onprem.next_hop: "smtp://mail.contoso.local" is not host:port, expected host:port such as "mail.contoso.com:25"`},
		{"next hop IPv6", []edit{{`"mail.contoso.local"`, `"2001:db8::1"`}}, `13: onprem.next_hop: "2001:db8::1" is IPv6 without brackets, expected "[2001:db8::1]:25"`},
		{"next hop name in brackets", []edit{{`"mail.contoso.local"`, `"[mail.contoso.local]:25"`}}, `13: onprem.next_hop: "[mail.contoso.local]:25" has a name in brackets, expected host:port such as "mail.contoso.com:25"`},
		{"next hop without host", []edit{{`"mail.contoso.local"`, `":25"`}}, `13: onprem.next_hop: ":25" has no valid host, expected host:port such as "mail.contoso.com:25"`},
		{"next hop with a space", []edit{{`"mail.contoso.local"`, `"mail contoso:25"`}}, `13: onprem.next_hop: "mail contoso:25" has no valid host, expected host:port such as "mail.contoso.com:25"`},
		{"next hop empty", []edit{{`"mail.contoso.local"`, `""`}}, `13: onprem.next_hop: "" is empty, expected host:port such as "mail.contoso.com:25"`},
		{"next hop twice", []edit{{`"mail.contoso.local"`, `"mail.contoso.local", "mail.contoso.local:25"`}}, `13: onprem.next_hop: "mail.contoso.local:25" is there twice, expected each once`},
		{"next hop is the listener", []edit{{`"mail.contoso.local"`, `"127.0.0.1:2525"`}},
			`13: onprem.next_hop: "127.0.0.1:2525" is the gateway's own listener of line 6, a loop: expected another MTA`},
		{"next hop is the listener by name", []edit{{`"127.0.0.1:2525"`, `":2525"`}, {`"mail.contoso.local"`, `"localhost:2525"`}},
			`13: onprem.next_hop: "localhost:2525" is the gateway's own listener of line 6, a loop: expected another MTA`},
		{"internet next hop is the second listener", []edit{end("[[listener]]\naddress = \"0.0.0.0:25\"\n[internet]\nnext_hop = [\"127.0.0.9\"]")},
			`21: internet.next_hop: "127.0.0.9:25" is the gateway's own listener of line 19, a loop: expected another MTA`},

		{"not a network", []edit{onprem(`clients = ["10.20.0.0/33"]`)}, `13: onprem.clients: "10.20.0.0/33" is not a network, expected a network such as "10.20.0.0/16" or an address`},
		{"name for network", []edit{onprem(`clients = ["mail.contoso.local"]`)}, `13: onprem.clients: "mail.contoso.local" is not a network, expected a network such as "10.20.0.0/16" or an address`},
		{"host bits", []edit{onprem(`clients = ["10.20.0.1/16"]`)}, `13: onprem.clients: "10.20.0.1/16" has host bits set, expected the network "10.20.0.0/16" or the address "10.20.0.1"`},
		{"mapped network", []edit{onprem(`clients = ["::ffff:10.0.0.0/104"]`)}, `13: onprem.clients: "::ffff:10.0.0.0/104" is an IPv4 network written as IPv6, expected the IPv4 form`},
		{"zone", []edit{onprem(`clients = ["fe80::1%eth0"]`)}, `13: onprem.clients: "fe80::1%eth0" has a zone, expected a network such as "10.20.0.0/16" or an address without one`},
		{"proxy network", []edit{listener(`proxy_protocol = ["10.1.2.3/8"]`)}, `7: listener.proxy_protocol: "10.1.2.3/8" has host bits set, expected the network "10.0.0.0/8" or the address "10.1.2.3"`},
		{"overlap", []edit{onprem(`clients = ["192.0.2.1", "10.0.0.0/8"]`), cloud("clients = [\n\"10.20.0.0/16\"]")},
			`18: cloud.clients: "10.20.0.0/16" overlaps with "10.0.0.0/8" of onprem.clients, line 13: expected networks of one side only`},
		{"overlap in the other direction", []edit{onprem(`clients = ["2001:db8:1::1"]`), cloud(`clients = ["2001:db8::/32"]`)},
			`17: cloud.clients: "2001:db8::/32" overlaps with "2001:db8:1::1/128" of onprem.clients, line 13: expected networks of one side only`},
		{"client name", []edit{cloud(`client_names = ["mail protection"]`)}, `16: cloud.client_names: "mail protection" is not a domain name, expected a domain name such as "contoso.com"`},

		{"listener without port", []edit{{`"127.0.0.1:2525"`, `"127.0.0.1"`}}, `6: listener.address: "127.0.0.1" is not host:port, expected host:port such as "0.0.0.0:25"`},
		{"listener port", []edit{{`"127.0.0.1:2525"`, `"127.0.0.1:65536"`}}, `6: listener.address: "127.0.0.1:65536" has port "65536", expected a number from 0 to 65535`},
		{"listener twice", []edit{end("[[listener]]\naddress = \"127.0.0.1:2525\"")},
			`19: listener.address: "127.0.0.1:2525" is taken by the listener of line 6 ("127.0.0.1:2525"), expected another address or port`},
		{"listener inside another", []edit{end("[[listener]]\naddress = \"[::]:2525\"")},
			`19: listener.address: "[::]:2525" is taken by the listener of line 6 ("127.0.0.1:2525"), expected another address or port`},
		{"tls without certificate", []edit{listener(`tls = "required"`)}, `7: listener.tls: is "required", expected cert_file and key_file with it`},
		{"starttls without certificate", []edit{listener(`tls = "starttls"`)}, `7: listener.tls: is "starttls", expected cert_file and key_file with it`},
		{"certificate without key", []edit{listener(`cert_file = "tls.crt"`)}, `5: listener.key_file: is required, expected the private key of cert_file`},
		{"key without certificate", []edit{cloud(`client_key_file = "connector.key"`)}, `15: cloud.client_cert_file: is required, expected the certificate of client_key_file`},
		{"no such files", []edit{listener("cert_file = \"no.crt\"\nkey_file = \"no.key\"")},
			"7: listener.cert_file: \"DIR/no.crt\": no such file or directory, expected a file with a PEM certificate\n" +
				"8: listener.key_file: \"DIR/no.key\": no such file or directory, expected a file with a PEM private key"},
		{"folder for file", []edit{listener("cert_file = \"folder\"\nkey_file = \"tls.key\"")}, `7: listener.cert_file: "DIR/folder" is not a file, expected a file with a PEM certificate`},
		{"no certificate inside", []edit{listener("cert_file = \"no.pem\"\nkey_file = \"tls.key\"")}, `7: listener.cert_file: "DIR/no.pem" holds no PEM certificate, expected at least one`},
		{"broken certificate", []edit{listener("cert_file = \"bad.crt\"\nkey_file = \"tls.key\"")}, `7: listener.cert_file: "DIR/bad.crt" holds a certificate that cannot be read: x509: malformed certificate`},
		{"another key", []edit{listener("cert_file = \"tls.crt\"\nkey_file = \"expired.key\"")},
			`8: listener.key_file: "DIR/expired.key" cannot be used with "DIR/tls.crt": private key does not match public key`},
		{"another client key", []edit{cloud("client_cert_file = \"tls.crt\"\nclient_key_file = \"expired.key\"")},
			`17: cloud.client_key_file: "DIR/expired.key" cannot be used with "DIR/tls.crt": private key does not match public key`},
		{"empty name of file", []edit{listener("cert_file = \"\"\nkey_file = \"tls.key\"")}, `7: listener.cert_file: is empty, expected the name of a file`},

		{"ad without its keys", []edit{ad("")}, `8: directory.url: is required, expected domain controllers such as ["ldaps://dc1.contoso.com"], for source = "ad"
8: directory.base_dn: is required, expected a DN such as "DC=contoso,DC=com", for source = "ad"`},
		{"base_dn", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = \"contoso.com\"")}, `11: directory.base_dn: "contoso.com" is not a DN, expected one such as "DC=contoso,DC=com"`},
		{"base_dn of another type", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = 5")}, `11: directory.base_dn: is a number, expected a string, or an array of strings, in square brackets`},
		{"no base_dn", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = []")}, `11: directory.base_dn: is empty, expected at least one DN`},
		{"one base_dn of several", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = [\"OU=Sales,DC=contoso,DC=com\",\n\"contoso.com\", 7]")},
			"12: directory.base_dn: is a number, expected a string"},
		{"a wrong one of several base_dn", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = [\"OU=Sales,DC=contoso,DC=com\",\n\"contoso.com\"]")},
			`12: directory.base_dn: "contoso.com" is not a DN, expected one such as "DC=contoso,DC=com"`},
		{"password and keytab", []edit{ad(adKeys + "bind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"\nprincipal = \"svc@CONTOSO.COM\"\nkeytab_file = \"svc.keytab\"")},
			`12: directory.bind_dn: is for a bind with a password, expected either bind_dn and password_file, or principal and keytab_file
13: directory.password_file: is for a bind with a password, expected either bind_dn and password_file, or principal and keytab_file`},
		{"keytab without principal", []edit{ad(adKeys + `keytab_file = "svc.keytab"`)}, `8: directory.principal: is required, expected the account that the keytab belongs to, such as "svc-coexist@CONTOSO.COM"`},
		{"principal without keytab", []edit{ad(adKeys + `principal = "svc@CONTOSO.COM"`)}, `8: directory.keytab_file: is required, expected the file with the keys of principal`},
		{"principal without realm", []edit{ad(adKeys + "principal = \"svc\"\nkeytab_file = \"svc.keytab\"")}, `12: directory.principal: "svc" is not a principal, expected name@REALM such as "svc-coexist@CONTOSO.COM"`},
		{"no keytab", []edit{ad(adKeys + "principal = \"svc@CONTOSO.COM\"\nkeytab_file = \"no.keytab\"")}, `13: directory.keytab_file: "DIR/no.keytab": no such file or directory, expected a keytab`},
		{"something else as keytab", []edit{ad(adKeys + "principal = \"svc@CONTOSO.COM\"\nkeytab_file = \"bind.secret\"")},
			`13: directory.keytab_file: "DIR/bind.secret" is no keytab, expected one as ktpass or samba-tool domain exportkeytab write it`},
		{"no krb5.conf", []edit{ad(adKeys + "principal = \"svc@CONTOSO.COM\"\nkeytab_file = \"svc.keytab\"\nkrb5_conf = \"no.conf\"")}, `14: directory.krb5_conf: "DIR/no.conf": no such file or directory, expected a krb5.conf`},
		{"keytab over ldap in clear", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nprincipal = \"svc@CONTOSO.COM\"\nkeytab_file = \"svc.keytab\"\nurl = [\"ldap://dc1.contoso.com\"]")},
			`13: directory.url: "ldap://dc1.contoso.com" would take answers that anybody on the way can forge, expected ldaps://, start_tls = true, or allow_plaintext = true`},
		{"bind without password", []edit{ad(adKeys + `bind_dn = "CN=svc,DC=contoso,DC=com"`)}, `8: directory.password_file: is required, expected the file with the password of bind_dn`},
		{"password without bind", []edit{ad(adKeys + `password_file = "bind.secret"`)}, `8: directory.bind_dn: is required, expected the account that password_file belongs to`},
		{"no password file", []edit{ad(adKeys + "bind_dn = \"svc@contoso.com\"\npassword_file = \"no.secret\"")}, `13: directory.password_file: "DIR/no.secret": no such file or directory, expected a file with the password`},
		{"empty password", []edit{ad(adKeys + "bind_dn = \"svc@contoso.com\"\npassword_file = \"empty.secret\"")}, `13: directory.password_file: "DIR/empty.secret" is empty, expected one line with the password`},
		{"no CA file", []edit{ad(adKeys + "ca_file = \"no.pem2\"")}, `12: directory.ca_file: "DIR/no.pem2": no such file or directory, expected a file with PEM certificates`},
		{"no CA inside", []edit{ad(adKeys + "ca_file = \"no.pem\"")}, `12: directory.ca_file: "DIR/no.pem" holds no PEM certificate, expected at least one`},
		{"password in clear", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"\nurl = [\"ldaps://dc1.contoso.com\",\n\"ldap://dc2.contoso.com\"]")},
			`14: directory.url: "ldap://dc2.contoso.com" would send the password in clear, expected ldaps://, start_tls = true, or allow_plaintext = true`},
		{"url scheme", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nurl = [\"dc1.contoso.com\"]")}, `11: directory.url: is not an ldap:// or ldaps:// URL, expected one such as "ldaps://dc1.contoso.com"`},
		{"url with account", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nurl = [\"ldaps://svc:hunter2@dc1.contoso.com\"]")}, `11: directory.url: holds an account, expected bind_dn and password_file instead`},
		{"url with a path", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nurl = [\"ldaps://dc1.contoso.com/DC=contoso\"]")},
			`11: directory.url: "ldaps://dc1.contoso.com/DC=contoso" has more than a host and a port, expected one such as "ldaps://dc1.contoso.com"`},
		{"start_tls with ldaps", []edit{ad(adKeys + "start_tls = true")}, `12: directory.start_tls: is for ldap://, expected false with ldaps:// (which is TLS already)`},

		{"word without quotes", []edit{onprem("tls = none")}, `13: onprem.tls: is not a value: words, sizes and durations stand in quotes, as in tls = "off"`},
		{"syntax and more", []edit{{`"gw1.contoso.com"`, "gw1"}, onprem(`sytem = "notes"`)},
			"1: hostname: is not a value: words, sizes and durations stand in quotes, as in tls = \"off\"\n13: onprem.sytem: is not a key, did you mean \"system\"?"},
		{"quote missing", []edit{{`"gw1.contoso.com"`, `"gw1.contoso.com`}}, `1: hostname: strings cannot contain newlines`},
		{"key twice", []edit{end(`next_hop = ["a"]`)}, `18: cloud.next_hop: Key 'cloud.next_hop' has already been defined.`},
		{"table twice", []edit{end("[onprem]\nsystem = \"notes\"")}, `18: Key 'onprem' has already been defined.`},
		{"bracket missing", []edit{{`["contoso.com"]`, `["contoso.com"`}}, `5: expected a comma (',') or array terminator (']'), but got '['`},
		{"header without its bracket", []edit{{"[onprem]", "[onprem"}}, `12: is a header without its end, expected one as in [cloud] or [[listener]]`},
		{"header of an array without its bracket", []edit{{"[[listener]]", "[[listener]"}}, `5: is a header without its end, expected one as in [cloud] or [[listener]]`},
		{"nested arrays", []edit{top("a = " + strings.Repeat("[", 1_000_000))}, `3: is nested deeper than 64, expected tables as in the documentation`},
		{"nested tables", []edit{top(strings.Repeat("a = {", 200_000))}, `3: is nested deeper than 64, expected tables as in the documentation`},
		{"nested keys", []edit{top("a" + strings.Repeat(".a", 1_000_000) + " = 1")}, `3: is nested deeper than 64, expected tables as in the documentation`},
		{"nested header", []edit{top("[" + strings.Repeat("a.", 1_000_000) + "a]")}, `3: is nested deeper than 64, expected tables as in the documentation`},
		{"not UTF-8", []edit{top("# \xff")}, `3: is not valid UTF-8`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := Parse("coexist.toml", []byte(apply(t, test.edits)), dir)
			var found Errors
			if !errors.As(err, &found) {
				t.Fatalf("got %v and %v, expected Errors", c, err)
			}
			want := "coexist.toml:" + strings.ReplaceAll(strings.ReplaceAll(test.want, "\n", "\ncoexist.toml:"), "DIR", dir)
			if got := found.Error(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if c != nil {
				t.Error("a configuration was returned beside the error")
			}
			windows := strings.ReplaceAll(apply(t, test.edits), "\n", "\r\n")
			if _, err := Parse("coexist.toml", []byte(windows), dir); err == nil || err.Error() != want {
				t.Errorf("with CRLF got\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	dir := files(t)
	tests := []struct {
		name     string
		edits    []edit
		get      func(*Config) any
		want     any
		warnings string
	}{
		{"names are lowered", []edit{{`["contoso.com"]`, `["Contoso.COM", "münchen.example"]`}}, func(c *Config) any { return c.Domains }, []string{"contoso.com", "xn--mnchen-3ya.example"}, ""},
		{"postmaster", []edit{top(`postmaster = "Mail.Admin@Fabrikam.com"`)}, func(c *Config) any { return c.Postmaster }, "Mail.Admin@fabrikam.com", ""},
		{"next hops", []edit{{`"mail.contoso.local"`, `"10.0.0.1", "[2001:db8::1]", "[2001:db8::2]:2525", "mail_1:26", "Mail.Contoso.local."`}},
			func(c *Config) any { return c.OnPrem.NextHop }, []string{"10.0.0.1:25", "[2001:db8::1]:25", "[2001:db8::2]:2525", "mail_1:26", "mail.contoso.local:25"}, ""},
		{"single clients", []edit{onprem(`clients = ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.2", "127.0.0.0/8"]`)}, func(c *Config) any { return c.OnPrem.Clients },
			[]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("127.0.0.0/8")}, ""},
		{"greet delay below a second", []edit{end("[hygiene]\ngreet_delay = \"500ms\"")}, func(c *Config) any { return c.Hygiene.GreetDelay }, 500 * time.Millisecond, ""},
		{"any tenant", []edit{cloud(`tenant_domains = ["*"]`)}, func(c *Config) any { return c.Cloud.TenantDomains[0] }, "*", ""},
		{"ack_after zero", []edit{end("[delivery]\nack_after = \"0s\"")}, func(c *Config) any { return c.Delivery.AckAfter }, time.Duration(0), ""},
		{"days", []edit{end("[delivery]\nexpire_after = \"2d12h\"")}, func(c *Config) any { return c.Delivery.ExpireAfter }, 60 * time.Hour, ""},
		{"shortest durations", []edit{end("[delivery]\nretry = [\"1s\"]\ndelay_notice = \"1s\"\nexpire_after = \"2s\"")}, func(c *Config) any { return c.Delivery.Retry }, []time.Duration{time.Second}, ""},
		{"size in octets", []edit{end("[limits]\nmessage_size = 1_000")}, func(c *Config) any { return c.Limits.MessageSize }, int64(1000), ""},
		{"size in GiB", []edit{end("[limits]\nmessage_size = \"1GiB\"")}, func(c *Config) any { return c.Limits.MessageSize }, int64(1 << 30), ""},
		{"size in MB", []edit{end("[limits]\nmessage_size = \"10 MB\"")}, func(c *Config) any { return c.Limits.MessageSize }, int64(10e6), ""},
		{"relative data_dir", []edit{top(`data_dir = "data"`)}, func(c *Config) any { return c.DataDir }, filepath.Join(dir, "data"), ""},
		{"tls none", []edit{cloud(`tls = "none"`)}, func(c *Config) any { return c.Cloud.TLS }, SideTLSNone, ""},
		{"starttls by default with a certificate", []edit{listener("cert_file = \"tls.crt\"\nkey_file = \"tls.key\"")}, func(c *Config) any { return c.Listeners[0].TLS }, ListenerTLSStartTLS, ""},
		{"off with a certificate", []edit{listener("tls = \"off\"\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"")}, func(c *Config) any { return c.Listeners[0].TLS }, ListenerTLSOff, ""},
		{"two listeners on port 0", []edit{{"2525", "0"}, end("[[listener]]\naddress = \"127.0.0.1:0\"")}, func(c *Config) any { return len(c.Listeners) }, 2, ""},
		{"two listeners of two addresses", []edit{end("[[listener]]\naddress = \"127.0.0.2:2525\"")}, func(c *Config) any { return len(c.Listeners) }, 2, ""},
		{"other port of the same machine", []edit{{`"mail.contoso.local"`, `"127.0.0.1:2526"`}}, func(c *Config) any { return c.OnPrem.NextHop[0] }, "127.0.0.1:2526", ""},
		{"listeners inline", []edit{{"[[listener]]\naddress = \"127.0.0.1:2525\"\n", ""}, top(`listener = [{address = "127.0.0.1:2525"}]`)}, func(c *Config) any { return c.Listeners[0].Address }, "127.0.0.1:2525", ""},
		{"keys of the other source", []edit{{`ldif   = "contoso.ldif"`, "ldif   = \"contoso.ldif\"\nurl = []\npassword_file = \"no.such\"\nca_file = \"no.such\"\nbase_dn=\"\""}},
			func(c *Config) any { return c.Directory.LDIF }, filepath.Join(dir, "contoso.ldif"), ""},
		{"one base_dn", []edit{ad(adKeys + "bind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"")}, func(c *Config) any { return strings.Join(c.Directory.BaseDN, ";") }, "DC=contoso,DC=com", ""},
		{"several base_dn", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = [\"OU=Sales,DC=contoso,DC=com\", \"OU=Shop,DC=contoso,DC=com\"]\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"")},
			func(c *Config) any { return strings.Join(c.Directory.BaseDN, ";") }, "OU=Sales,DC=contoso,DC=com;OU=Shop,DC=contoso,DC=com", ""},
		{"base_dn within another", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = [\"ou=sales,DC=contoso,DC=com\",\n\"DC=contoso,DC=com\"]\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"")},
			func(c *Config) any { return len(c.Directory.BaseDN) }, 2, `11: directory.base_dn: "ou=sales,DC=contoso,DC=com" lies within "DC=contoso,DC=com", and adds nothing`},
		{"base_dn twice", []edit{ad("url = [\"ldaps://dc1.contoso.com\"]\nbase_dn = [\"dc=contoso,DC=com\",\n\"DC=contoso,DC=com\"]\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"")},
			func(c *Config) any { return len(c.Directory.BaseDN) }, 2, `12: directory.base_dn: "DC=contoso,DC=com" lies within "dc=contoso,DC=com", and adds nothing`},
		{"keytab", []edit{ad(adKeys + "principal = \"svc@CONTOSO.COM\"\nkeytab_file = \"svc.keytab\"\nkrb5_conf = \"no.pem\"")}, func(c *Config) any { return c.Directory.KeytabFile }, filepath.Join(dir, "svc.keytab"), ""},
		{"realm in lower case", []edit{ad(adKeys + "principal = \"svc@contoso.com\"\nkeytab_file = \"svc.keytab\"")}, func(c *Config) any { return c.Directory.Principal }, "svc@contoso.com",
			`12: directory.principal: "svc@contoso.com" has a realm in lower case, expected that of an Active Directory domain: "CONTOSO.COM"`},
		{"ldap on loopback", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"\nurl = [\"ldap://127.0.0.1:1389\", \"ldap://[::1]\", \"ldap://localhost\"]")},
			func(c *Config) any { return len(c.Directory.URL) }, 3, ""},
		{"ldap with start_tls", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"\nstart_tls = true\nurl = [\"ldap://dc1.contoso.com\"]")},
			func(c *Config) any { return c.Directory.StartTLS }, true, ""},
		{"ldap in clear, allowed", []edit{ad("base_dn = \"DC=contoso,DC=com\"\nbind_dn = \"svc@contoso.com\"\npassword_file = \"bind.secret\"\nallow_plaintext = true\nurl = [\"ldap://dc1.contoso.com\"]")},
			func(c *Config) any { return c.Directory.AllowPlaintext }, true, ""},
		{"byte order mark", []edit{{"hostname", "\xef\xbb\xbfhostname"}}, func(c *Config) any { return c.Hostname }, "gw1.contoso.com", ""},

		{"open password file", []edit{ad(adKeys + "bind_dn = \"svc@contoso.com\"\npassword_file = \"open.secret\"")}, func(c *Config) any { return c.Directory.BindDN }, "svc@contoso.com",
			`13: directory.password_file: "DIR/open.secret" can be read by everybody (mode 0644), expected 0600 or 0640`},
		{"open key", []edit{listener("cert_file = \"tls.crt\"\nkey_file = \"open.key\"")}, func(c *Config) any { return c.Listeners[0].TLS }, ListenerTLSStartTLS,
			`8: listener.key_file: "DIR/open.key" can be read by everybody (mode 0644), expected 0600 or 0640`},
		{"expired certificate", []edit{listener("cert_file = \"expired.crt\"\nkey_file = \"expired.key\"")}, func(c *Config) any { return c.Listeners[0].TLS }, ListenerTLSStartTLS,
			`7: listener.cert_file: "DIR/expired.crt" expired on 2020-01-02`},
		{"everybody relays", []edit{onprem(`clients = ["0.0.0.0/0"]`)}, func(c *Config) any { return len(c.OnPrem.Clients) }, 1,
			`13: onprem.clients: "0.0.0.0/0" is everybody: the gateway is an open relay, if it can be reached from the internet`},
		{"short name", []edit{{`"gw1.contoso.com"`, `"gw1"`}}, func(c *Config) any { return c.Hostname }, "gw1", `1: hostname: "gw1" is not fully qualified: some servers refuse it in EHLO`},
		{"domain of one label", []edit{{`["contoso.com"]`, `["contoso"]`}}, func(c *Config) any { return c.Postmaster }, "postmaster@contoso", `2: domains: "contoso" has one label only: is it a whole domain name?`},
		{"anonymous", []edit{ad(adKeys)}, func(c *Config) any { return c.Directory.Source }, "ad", `8: directory: has no bind_dn: Active Directory shows next to nothing to anonymous searches`},
		{"names without TLS", []edit{cloud(`client_names = ["Mail.Protection.Outlook.com"]`)}, func(c *Config) any { return c.Cloud.ClientNames[0] }, "mail.protection.outlook.com",
			`16: cloud.client_names: never match: no [[listener]] has a certificate, and without TLS there are no client certificates`},
		{"expires before the retry", []edit{end("[delivery]\nexpire_after = \"30s\"")}, func(c *Config) any { return c.Delivery.ExpireAfter }, 30 * time.Second,
			`19: delivery.expire_after: "30s" is over before the first retry after "1m0s": messages are tried once`},
		{"next hop has the gateway's name", []edit{{`"127.0.0.1:2525"`, `":25"`}, {`"mail.contoso.local"`, `"gw1.contoso.com"`}}, func(c *Config) any { return c.OnPrem.NextHop[0] }, "gw1.contoso.com:25",
			`13: onprem.next_hop: "gw1.contoso.com:25" has the name of this gateway and the port of its listener of line 6: is it a loop?`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := Parse("coexist.toml", []byte(apply(t, test.edits)), dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, test.get(c), compareConfigs); diff != "" {
				t.Error(diff)
			}
			want := ""
			if test.warnings != "" {
				want = "coexist.toml:" + strings.ReplaceAll(test.warnings, "DIR", dir)
			}
			if got := Errors(c.Warnings).Error(); got != want {
				t.Errorf("warnings: got %q, want %q", got, want)
			}
		})
	}
}

// TestAllFindingsAtOnce has something wrong in nearly every line.
func TestAllFindingsAtOnce(t *testing.T) {
	const text = `hostname = "gw1_contoso.com"
domains = ["contoso.com", "contoso .com"]
onprem.system = "exchange"
onprem.clients = ["10.0.0.0/8"]

[[listener]]
address = "0.0.0.0:25"
tls = required

[[listener]]
address = "0.0.0.0:25"

[cloud]
"next_hop" = ["a:b"]
clients = ["10.1.0.0/16"]

[limits]
recipients = -1
`
	_, err := Parse("/etc/coexist/coexist.toml", []byte(text), "/etc/coexist")
	want := []string{
		`1: hostname: "gw1_contoso.com" is not a domain name, expected a domain name such as "contoso.com"`,
		`1: directory.source: is required, expected "ldif" or "ad"`,
		`2: domains: "contoso .com" is not a domain name, expected a domain name such as "contoso.com"`,
		`3: onprem.next_hop: is required, expected host:port of the on-prem mail system, such as ["mail.contoso.local:25"]`,
		`3: onprem.system: is "exchange", expected one of notes, groupwise, smtp`,
		`8: listener.tls: is not a value: words, sizes and durations stand in quotes, as in tls = "off"`,
		`11: listener.address: "0.0.0.0:25" is taken by the listener of line 7 ("0.0.0.0:25"), expected another address or port`,
		`13: cloud.routing_domain: is required, expected a domain such as "contoso.mail.onmicrosoft.com"`,
		`14: cloud.next_hop: "a:b" has port "b", expected a number from 1 to 65535`,
		`15: cloud.clients: "10.1.0.0/16" overlaps with "10.0.0.0/8" of onprem.clients, line 4: expected networks of one side only`,
		`18: limits.recipients: is -1, expected a whole number from 1 to 2147483647`,
	}
	got := strings.Split(err.Error(), "\n")
	for i := range want {
		want[i] = "/etc/coexist/coexist.toml:" + want[i]
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Error(diff)
	}
}

func TestLoad(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "coexist.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, expected that there is no such file", err)
	}
	large := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v, expected that the file is too large", err)
	}
}

func TestReadSecret(t *testing.T) {
	for _, test := range []struct{ name, text, want, fault string }{
		{"line", "secret\n", "secret", ""},
		{"Windows line", "secret\r\n", "secret", ""},
		{"no line break", "secret", "secret", ""},
		{"spaces belong to it", " a b \n", " a b ", ""},
		{"empty", "", "", "is empty"},
		{"line break only", "\r\n", "", "is empty"},
		{"two lines", "a\nb\n", "", "is not one line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadSecret(path)
			if got != test.want || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "65535d": 65535 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "1", "-1d", "1d-1h", "65536d", "1.5d", "1d1", "65535d2500000h", "1dd"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, expected an error", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	dir := files(f)
	example, err := os.ReadFile("testdata/example.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(example), minimal, "", "a", "a=", "[", "[[", "a.b.c = {d = [1, {e = 2}]}", "x = \"\"\"\n\\\"\"\"\"\"\n", "x = '''\n'''''\n",
		"[[listener]]\n[listener.x]\n[[listener]]\ntls = 1", "\"a\\u00e9\" = 1", "a = \"\\", "a = [[[", "hostname = gw\nhostname = gw\n", "\xff", "[onprem]\n[onprem]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("coexist.toml", data, dir)
		if err == nil {
			if c.Hostname == "" || len(c.Listeners) == 0 || len(c.Domains) == 0 || c.Postmaster == "" {
				t.Errorf("not complete: %+v", c)
			}
			return
		}
		var found Errors
		if !errors.As(err, &found) || len(found) == 0 {
			t.Fatalf("got %v, expected Errors", err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, finding := range found {
			if finding.Line < 1 || finding.Line > lines || strings.Contains(finding.String(), "\n") || finding.What == "" {
				t.Errorf("bad finding of %d lines: %+v", lines, finding)
			}
		}
	})
}
