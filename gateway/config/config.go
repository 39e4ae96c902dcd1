// Package config is coexist.toml as a typed struct: read, completed with defaults, and validated in one pass.
//
// The rules are strict, because a gateway that guesses what was meant loses mail: a key that is not known, a value of
// the wrong type, a value that cannot be, a file that is not there. All findings are reported together, each with its
// line, so that one run shows everything that has to be corrected. The comments of the fields below are what
// docs/configuration.md is made from.
package config

import (
	"net/netip"
	"time"
)

// Config is one whole configuration file. A *Config returned by Load is complete, valid and never changed afterwards:
// every path is absolute, every default is filled in, domain names are in lower case and IDNA A-label form, and next
// hops have a port.
type Config struct {
	// The name of this gateway: EHLO, `Received` fields, Reporting-MTA of DSNs. A fully qualified domain name (RFC 5321 2.3.5). Required.
	Hostname string `toml:"hostname"`
	// Folder of the spool, the directory snapshot and the trace. It is made when it does not exist.
	DataDir string `toml:"data_dir"`
	// The shared namespace: the domains in which both systems have mailboxes. Required.
	Domains []string `toml:"domains"`
	// Who gets mail for `<Postmaster>` (RFC 5321 4.5.1). Not found in the directory, the address is taken to be on-prem. Default: postmaster@ the first of `domains`.
	Postmaster string `toml:"postmaster"`
	// Where mail comes in, one `[[listener]]` for each address. At least one is required.
	Listeners []Listener `toml:"listener"`
	// Where recipients are looked up.
	Directory Directory `toml:"directory"`
	// The third-party mail system.
	OnPrem OnPrem `toml:"onprem"`
	// Exchange Online.
	Cloud Cloud `toml:"cloud"`
	// Everybody else.
	Internet Internet `toml:"internet"`
	// How long is waited, and for what.
	Delivery Delivery `toml:"delivery"`
	// What is refused because it is too much.
	Limits Limits `toml:"limits"`
	// The durable store of messages that were accepted and are not delivered yet.
	Spool Spool `toml:"spool"`
	// The HTTP address for operators.
	Admin Admin `toml:"admin"`
	// What mail from the internet is let in.
	Hygiene Hygiene `toml:"hygiene"`
	// What is remembered of messages.
	Trace Trace `toml:"trace"`
	// What is written to standard error.
	Log Log `toml:"log"`

	// Path is the file that was read; empty for a configuration made in code.
	Path string `toml:"-"`
	// Warnings are findings that do not keep the gateway from running, such as a password file that everybody can read.
	Warnings []Finding `toml:"-"`
}

// Listener is one `[[listener]]`: an address on which SMTP is spoken.
type Listener struct {
	// `host:port`. Without a host (`:25`) or as `[::]:25` all addresses, IPv4 and IPv6; as `0.0.0.0:25` all IPv4 addresses. Required.
	Address string `toml:"address"`
	// `off`: no TLS. `starttls`: offered (RFC 3207). `required`: MAIL before STARTTLS is refused with 530 5.7.0. `implicit`: TLS from the first octet (RFC 8314). All but `off` need a certificate. Default: `starttls` with a certificate, else `off`.
	TLS ListenerTLS `toml:"tls"`
	// The certificate, PEM, followed by the intermediate certificates. With `key_file`.
	CertFile string `toml:"cert_file"`
	// The certificate's private key, PEM.
	KeyFile string `toml:"key_file"`
	// Networks of load balancers whose PROXY v1 or v2 header is believed. What comes from them without that header is a proxy that speaks SMTP itself, and may name its client by XCLIENT.
	ProxyProtocol []netip.Prefix `toml:"proxy_protocol"`
}

// ListenerTLS is how a listener does TLS.
type ListenerTLS string

// The values of tls in [[listener]].
const (
	ListenerTLSOff      ListenerTLS = "off"      // no TLS is offered
	ListenerTLSStartTLS ListenerTLS = "starttls" // STARTTLS is offered (RFC 3207)
	ListenerTLSRequired ListenerTLS = "required" // MAIL is refused with 530 5.7.0 before STARTTLS
	ListenerTLSImplicit ListenerTLS = "implicit" // TLS from the first octet (RFC 8314)
)

// SideTLS is how TLS is done towards the next hops of a side.
type SideTLS string

// The values of tls in [onprem], [cloud] and [internet].
const (
	SideTLSNone          SideTLS = "none"          // never
	SideTLSOpportunistic SideTLS = "opportunistic" // when offered; certificates are not verified, and clear text follows a failed handshake
	SideTLSRequired      SideTLS = "required"      // always; certificates are not verified
	SideTLSVerified      SideTLS = "verified"      // always, with a certificate that is valid for the next hop's name
)

// OneOrMore is a string, or an array of strings.
type OneOrMore []string

// Directory is `[directory]`: the source of who lives where. Only the keys of the chosen source are used.
type Directory struct {
	// `ldif`: a file, as exported by ldifde or ldapsearch. `ad`: Active Directory. Required.
	Source string `toml:"source"`
	// The file; watched, and read again when it changes. It may come later: until then recipients of the shared namespace are deferred. Required with `source = "ldif"`.
	LDIF string `toml:"ldif"`
	// Domain controllers, `ldaps://host` or `ldap://host`, with `:port` when it is not 636 or 389. Tried in this order. Required with `source = "ad"`.
	URL []string `toml:"url"`
	// The DN below which recipients are searched, or several, all of which every domain controller of `url` holds. Required with `source = "ad"`.
	BaseDN OneOrMore `toml:"base_dn"`
	// The account that searches: a DN, a user principal name, or DOMAIN\name. With `password_file`.
	BindDN string `toml:"bind_dn"`
	// File that holds the account's password. A line break at its end is not part of the password.
	PasswordFile string `toml:"password_file"`
	// The account that searches, for Kerberos: `name@REALM`, as the keytab has it. With `keytab_file`, instead of `bind_dn`.
	Principal string `toml:"principal"`
	// File with the account's keys (a keytab), for SASL GSSAPI. Read for every connection.
	KeytabFile string `toml:"keytab_file"`
	// A krb5.conf, for realms of which the domain controllers of `url` are not the KDCs. Default: none; they are.
	Krb5Conf string `toml:"krb5_conf"`
	// The certificates, PEM, that the domain controllers' certificates are verified with. Default: those of the operating system.
	CAFile string `toml:"ca_file"`
	// Whether `ldap://` connections change to TLS before the bind (RFC 4511 4.14).
	StartTLS bool `toml:"start_tls"`
	// Whether a password may be sent, and answers be believed, over `ldap://` without TLS beyond the loopback interface.
	AllowPlaintext bool `toml:"allow_plaintext"`
	// How often Active Directory is asked for changes.
	Refresh time.Duration `toml:"refresh"`
	// How often the whole directory is compared, where the account cannot see deletions.
	Reconcile time.Duration `toml:"reconcile"`
	// A view that is older no longer rejects unknown recipients: it defers them (451).
	MaxAge time.Duration `toml:"max_age"`
}

// OnPrem is `[onprem]`: the side of the third-party mail system.
type OnPrem struct {
	// `notes`, `groupwise`, or `smtp` for any other.
	System string `toml:"system"`
	// The MTAs that take mail for this side, `host:port`, tried in this order; without a port 25; IPv6 addresses in brackets. Required.
	NextHop []string `toml:"next_hop"`
	// Networks, or single addresses, that may relay as this side. None may overlap with those of `[cloud]`.
	Clients []netip.Prefix `toml:"clients"`
	// TLS towards the next hops. `none`: never. `opportunistic`: when offered, any certificate. `required`: always, any certificate. `verified`: always, with a certificate that is valid for the next hop's name.
	TLS SideTLS `toml:"tls"`
	// Whether TNEF (winmail.dat) becomes standard MIME on the way to this side.
	ConvertTNEF bool `toml:"convert_tnef"`
	// File of users and password hashes (`name:$2y$...` bcrypt, `name:$argon2id$...`, a line each) for devices and applications, not mail systems, that send as this side by SMTP AUTH inside TLS: to people of either side, this one included, and abroad. Empty: AUTH is not offered.
	UsersFile string `toml:"users_file"`
	// Whether the verdict of Exchange Online's spam filter is also written as X-Spam-Flag and X-Spam-Score, which other systems read.
	SpamHeaders bool `toml:"spam_headers"`
}

// Cloud is `[cloud]`: the side of Exchange Online.
type Cloud struct {
	// The tenant's first domain, such as `contoso.onmicrosoft.com`.
	TenantDomain string `toml:"tenant_domain"`
	// The domain of the addresses that only Exchange Online owns, such as `contoso.mail.onmicrosoft.com`. Required.
	RoutingDomain string `toml:"routing_domain"`
	// The MTAs that take mail for this side: the tenant's MX host. As in `[onprem]`. Required.
	NextHop []string `toml:"next_hop"`
	// Networks, or single addresses, that may relay as this side.
	Clients []netip.Prefix `toml:"clients"`
	// Names in a verified client certificate that make its client this side, such as `mail.protection.outlook.com`. Letter case does not matter.
	ClientNames []string `toml:"client_names"`
	// TLS towards the next hops, as in `[onprem]`.
	TLS SideTLS `toml:"tls"`
	// The certificate, PEM, that is presented to Exchange Online: its inbound connector knows the gateway by it. With `client_key_file`.
	ClientCertFile string `toml:"client_cert_file"`
	// That certificate's private key, PEM.
	ClientKeyFile string `toml:"client_key_file"`
	// Whether TNEF (winmail.dat) becomes standard MIME on the way to this side.
	ConvertTNEF bool `toml:"convert_tnef"`
	// Whether mail that a client of this side gives must name the tenant in the fields that Exchange Online stamps: its addresses and its certificate are shared by all tenants. Mail of others is treated as from the internet.
	CheckTenant bool `toml:"check_tenant"`
	// Accepted domains of the tenant beside `domains`, `tenant_domain` and `routing_domain`: mail from Exchange Online that names another tenant is not relayed to foreign domains. `*`: any tenant may relay.
	TenantDomains []string `toml:"tenant_domains"`
	// The tenant's id, a GUID, compared in addition to its domains.
	TenantID string `toml:"tenant_id"`
	// With check_tenant: mail that names no tenant counts as the tenant's own.
	TrustUnstated bool `toml:"trust_unstated"`
}

// Internet is `[internet]`: recipients in neither system.
type Internet struct {
	// Relays that take mail for the internet, as in `[onprem]`. Empty: the MX hosts of the recipient's domain.
	NextHop []string `toml:"next_hop"`
	// TLS towards the next hops, as in `[onprem]`.
	TLS SideTLS `toml:"tls"`
	// Whether TNEF (winmail.dat) becomes standard MIME on the way to this side.
	ConvertTNEF bool `toml:"convert_tnef"`
}

// Delivery is `[delivery]`: how often and how long a message is tried.
type Delivery struct {
	// How long a sender waits, after the end of its message, for the answers of the next hops before the message is spooled and acknowledged. `0s`: always spool first.
	AckAfter time.Duration `toml:"ack_after"`
	// The waits between two attempts; the last one repeats.
	Retry []time.Duration `toml:"retry"`
	// After how long the sender is told that a message still waits (a delay DSN, RFC 3464).
	DelayNotice time.Duration `toml:"delay_notice"`
	// After how long a message is given up and returned.
	ExpireAfter time.Duration `toml:"expire_after"`
	// Connections at a time to one next hop. At least 1.
	ConnectionsPerHop int `toml:"connections_per_hop"`
}

// Limits is `[limits]`: what is refused because it is too much.
type Limits struct {
	// The largest message, as announced by SIZE (RFC 1870). A number of octets, or a size such as `150MiB` or `10MB`.
	MessageSize int64 `toml:"message_size"`
	// RCPT commands of one message. Members of groups do not count.
	Recipients int `toml:"recipients"`
	// SMTP connections at a time, all clients together.
	Connections int `toml:"connections"`
	// SMTP connections at a time from one address.
	ConnectionsPerClient int `toml:"connections_per_client"`
	// SMTP connections at a time from one network: 256 IPv4 addresses (/24), or an IPv6 /48. The networks in `clients` of both sides, and loopback, are not limited. Default: four times `connections_per_client`.
	ConnectionsPerNetwork int `toml:"connections_per_network"`
	// What one address, or IPv6 /64, may gather before its connections are refused for a while (421): a refused recipient or a senseless command counts 1, a failed AUTH 10, an accepted recipient after a refused one -1; half of it is forgotten in five minutes. Clients of both sides gather nothing.
	RefusalsPerClient int `toml:"refusals_per_client"`
	// The same for a network, as in `connections_per_network`.
	RefusalsPerNetwork int `toml:"refusals_per_network"`
	// A message with more `Received` fields is in a loop (RFC 5321 6.3) and refused.
	ReceivedHops int `toml:"received_hops"`
}

// Spool is `[spool]`: the durable store of messages that were accepted and are not delivered yet.
type Spool struct {
	// `local`: below `data_dir`. (`postgres` is for a later version, and refused until then.)
	Backend string `toml:"backend"`
	// File that holds the connection URL of `postgres`.
	URLFile string `toml:"url_file"`
}

// Admin is `[admin]`: health, readiness and metrics over HTTP.
type Admin struct {
	// `host:port`. There is no password: bind it to loopback or a management network.
	Address string `toml:"address"`
}

// Hygiene is `[hygiene]`: what mail from the internet is let in. Everything is off unless it is set.
type Hygiene struct {
	// DNS server as `host:port` for blocklists and authentication. Empty: the system's.
	Resolver string `toml:"resolver"`
	// Networks of clients that are neither looked up in blocklists nor greylisted.
	Exempt []netip.Prefix `toml:"exempt"`
	// SPF, DKIM and DMARC: `off`; `report` writes them as Authentication-Results (RFC 8601); `quarantine` also holds what a domain's DMARC policy wants set aside or refused; `reject` also refuses what it wants refused.
	Authenticate string `toml:"authenticate"`
	// DNS blocklists, as zones such as `zen.example.org`. Listed clients are refused with 550 5.7.1.
	Blocklists []string `toml:"blocklists"`
	// Whether what a network, a sender and a recipient have in common for the first time is put off with 451 4.7.1.
	Greylist bool `toml:"greylist"`
	// How long it is put off.
	GreylistDelay time.Duration `toml:"greylist_delay"`
	// Content filters that speak the milter protocol, asked in this order: `host:port` or `unix:/path`.
	Milters []string `toml:"milters"`
	// What happens while a filter cannot be asked: `tempfail` (451) or `accept`.
	MilterDown string `toml:"milter_down"`
	// How long a filter may take for one answer.
	MilterTimeout time.Duration `toml:"milter_timeout"`
	// When the filters are asked: `message`, once it has been read; `recipient`, also at each RCPT, so that they may refuse single recipients.
	MilterStage string `toml:"milter_stage"`
	// How long clients that are neither side's must be silent before they are greeted, up to 30 s. `0s`: not at all.
	GreetDelay time.Duration `toml:"greet_delay"`
	// What becomes of such a client that talks before it is its turn (RFC 5321 4.3.1): `tolerate`, counted and served; `refuse`, 554 5.5.1 and the end.
	EarlyTalkers string `toml:"early_talkers"`
}

// Trace is `[trace]`: what became of messages, for `coexist trace`.
type Trace struct {
	// How long events are kept.
	Keep time.Duration `toml:"keep"`
}

// Log is `[log]`: what is written to standard error.
type Log struct {
	// `text` or `json`.
	Format string `toml:"format"`
	// `debug`, `info`, `warn` or `error`.
	Level string `toml:"level"`
}

// Default returns the configuration that a file without any key would have, were no key required.
// postmaster and the tls of listeners have defaults that depend on other keys: Parse fills them in.
func Default() *Config {
	return &Config{
		DataDir: "/var/lib/coexist",
		Directory: Directory{
			Refresh:   15 * time.Second,
			Reconcile: 10 * time.Minute,
			MaxAge:    24 * time.Hour,
		},
		OnPrem:   OnPrem{System: "smtp", TLS: SideTLSOpportunistic, ConvertTNEF: true},
		Cloud:    Cloud{TLS: SideTLSVerified},
		Internet: Internet{TLS: SideTLSOpportunistic, ConvertTNEF: true},
		Delivery: Delivery{
			AckAfter: 5 * time.Second,
			Retry: []time.Duration{
				time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour,
			},
			DelayNotice:       4 * time.Hour,
			ExpireAfter:       48 * time.Hour,
			ConnectionsPerHop: 20,
		},
		Limits: Limits{
			MessageSize:           150 << 20,
			Recipients:            500,
			Connections:           1000,
			ConnectionsPerClient:  50,
			ConnectionsPerNetwork: 200,
			RefusalsPerClient:     10_000,
			RefusalsPerNetwork:    40_000,
			ReceivedHops:          25,
		},
		Spool:   Spool{Backend: "local"},
		Admin:   Admin{Address: "127.0.0.1:8025"},
		Hygiene: Hygiene{Authenticate: "off", GreylistDelay: 2 * time.Minute, MilterDown: "tempfail", MilterTimeout: time.Minute, MilterStage: "message", EarlyTalkers: "tolerate"},
		Trace:   Trace{Keep: 7 * 24 * time.Hour},
		Log:     Log{Format: "text", Level: "info"},
	}
}
