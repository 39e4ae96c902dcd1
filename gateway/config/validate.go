package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// validator checks what the types do not say. Checks that compare keys leave out those that already have a finding.
type validator struct {
	*decoder
	c   *Config
	dir string // of the file; relative paths are relative to it
}

func (v *validator) validate() {
	v.required()
	v.words()
	v.names()
	v.listeners()
	v.directory()
	v.sides()
	v.delivery()
	v.spool()
	v.hygiene()
	v.limits()
	v.admin()
}

// guid is the form of a tenant's id.
var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// maxGreetDelay is short beside the five minutes that a client has to wait for a greeting (RFC 5321 4.5.3.2.1).
const maxGreetDelay = 30 * time.Second

func (v *validator) hygiene() {
	h := &v.c.Hygiene
	v.word("hygiene.authenticate", h.Authenticate, "off", "report", "quarantine", "reject")
	v.word("hygiene.milter_down", h.MilterDown, "tempfail", "accept")
	v.word("hygiene.milter_stage", h.MilterStage, "message", "recipient")
	v.word("hygiene.early_talkers", h.EarlyTalkers, "tolerate", "refuse")
	if v.ok("hygiene.greet_delay") && h.GreetDelay > maxGreetDelay {
		v.errorf("hygiene.greet_delay", "%v is too long, expected %v at most: clients give up", h.GreetDelay, maxGreetDelay)
	}
	if v.ok("hygiene.resolver") && h.Resolver != "" {
		if err := parseListen(h.Resolver); err != nil {
			v.errorf("hygiene.resolver", "%q %s", h.Resolver, strings.ReplaceAll(err.Error(), "0.0.0.0:25", "127.0.0.1:53"))
		}
	}
	for i := range h.Blocklists {
		v.domain(element("hygiene.blocklists", i), &h.Blocklists[i])
	}
	for i, m := range h.Milters {
		path := element("hygiene.milters", i)
		if socket, unix := strings.CutPrefix(m, "unix:"); unix && strings.HasPrefix(socket, "/") {
			continue
		}
		if _, _, err := net.SplitHostPort(m); err != nil && v.ok(path) {
			v.errorf(path, "%q is no address of a filter, expected host:port or unix:/path", m)
		}
	}
	if domains := v.c.Cloud.TenantDomains; len(domains) != 1 || domains[0] != "*" {
		v.domainList("cloud.tenant_domains", domains)
	}
	if id := v.c.Cloud.TenantID; id != "" && v.ok("cloud.tenant_id") && !guid.MatchString(id) {
		v.errorf("cloud.tenant_id", "%q is no GUID, expected the tenant's id such as \"72f988bf-86f1-41af-91ab-2d7cd011db47\"", id)
	}
}

// required are the keys without a default, and what is expected of each. Keys of listeners and of the directory's
// source are checked with those.
var required = []struct{ path, want string }{
	{"hostname", `a name such as "gw1.contoso.com"`},
	{"domains", `the shared namespace, such as ["contoso.com"]`},
	{"listener", `at least one [[listener]]`},
	{"directory.source", `"ldif" or "ad"`},
	{"onprem.next_hop", `host:port of the on-prem mail system, such as ["mail.contoso.local:25"]`},
	{"cloud.routing_domain", `a domain such as "contoso.mail.onmicrosoft.com"`},
	{"cloud.next_hop", `host:port of Exchange Online, such as ["contoso-com.mail.protection.outlook.com:25"]`},
}

func (v *validator) required() {
	for _, r := range required {
		v.require(r.path, r.want)
	}
	for _, list := range []struct {
		path string
		n    int
	}{
		{"domains", len(v.c.Domains)},
		{"listener", len(v.c.Listeners)},
		{"onprem.next_hop", len(v.c.OnPrem.NextHop)},
		{"cloud.next_hop", len(v.c.Cloud.NextHop)},
	} {
		if v.given[list.path] && v.ok(list.path) && list.n == 0 {
			v.errorf(list.path, "is empty, expected at least one")
		}
	}
}

// require reports a key that is not there, at the line of its table.
func (v *validator) require(path, want string) bool {
	// A line whose syntax is wrong was counted as bad, and is not missing; nor is a key of a table that is no table.
	if v.given[path] || v.bad[path] || v.bad[parent(path)] {
		return v.given[path]
	}
	v.errorf(path, "is required, expected %s", want)
	return false
}

// words checks the keys that have a few possible values.
func (v *validator) words() {
	sideTLS := []string{string(SideTLSNone), string(SideTLSOpportunistic), string(SideTLSRequired), string(SideTLSVerified)}
	v.word("onprem.system", v.c.OnPrem.System, "notes", "groupwise", "smtp")
	v.word("onprem.tls", string(v.c.OnPrem.TLS), sideTLS...)
	v.word("cloud.tls", string(v.c.Cloud.TLS), sideTLS...)
	v.word("internet.tls", string(v.c.Internet.TLS), sideTLS...)
	v.word("directory.source", v.c.Directory.Source, "ldif", "ad")
	v.word("log.format", v.c.Log.Format, "text", "json")
	v.word("log.level", v.c.Log.Level, "debug", "info", "warn", "error")
	for i := range v.c.Listeners {
		v.word(element("listener", i)+".tls", string(v.c.Listeners[i].TLS), string(ListenerTLSOff), string(ListenerTLSStartTLS),
			string(ListenerTLSRequired), string(ListenerTLSImplicit))
	}
}

func (v *validator) word(path, value string, words ...string) {
	if v.given[path] && v.ok(path) && !slices.Contains(words, value) {
		v.errorf(path, "is %q, expected one of %s", value, strings.Join(words, ", "))
	}
}

// names checks domain names and the postmaster, and brings them to the form in which they are compared.
func (v *validator) names() {
	v.domain("hostname", &v.c.Hostname)
	v.domain("cloud.tenant_domain", &v.c.Cloud.TenantDomain)
	v.domain("cloud.routing_domain", &v.c.Cloud.RoutingDomain)
	v.domainList("domains", v.c.Domains)
	v.domainList("cloud.client_names", v.c.Cloud.ClientNames)
	if v.given["hostname"] && v.ok("hostname") && !strings.Contains(v.c.Hostname, ".") {
		v.warnf("hostname", "%q is not fully qualified: some servers refuse it in EHLO", v.c.Hostname)
	}
	for i, domain := range v.c.Domains {
		path := element("domains", i)
		if v.ok(path) && !strings.Contains(domain, ".") {
			v.warnf(path, "%q has one label only: is it a whole domain name?", domain)
		}
		switch {
		case !v.ok(path) || domain == "":
		case v.ok("cloud.routing_domain") && domain == v.c.Cloud.RoutingDomain:
			v.errorf(path, "%q is cloud.routing_domain, which only Exchange Online owns: expected domains that both systems share", domain)
		case v.ok("cloud.tenant_domain") && domain == v.c.Cloud.TenantDomain:
			v.errorf(path, "%q is cloud.tenant_domain, which only Exchange Online owns: expected domains that both systems share", domain)
		}
	}
	v.postmaster()
}

// limits completes what follows from another key.
func (v *validator) limits() {
	if l := &v.c.Limits; !v.given["limits.connections_per_network"] {
		l.ConnectionsPerNetwork = min(4*l.ConnectionsPerClient, math.MaxInt32)
	}
}

func (v *validator) postmaster() {
	if !v.given["postmaster"] {
		if len(v.c.Domains) > 0 {
			v.c.Postmaster = "postmaster@" + v.c.Domains[0]
		}
		return
	}
	if !v.ok("postmaster") {
		return
	}
	mailbox, err := parseMailbox(v.c.Postmaster)
	if err != nil {
		v.errorf("postmaster", "%q %s", v.c.Postmaster, err)
		return
	}
	v.c.Postmaster = mailbox
}

func (v *validator) domain(path string, name *string) {
	if !v.given[path] || !v.ok(path) {
		return
	}
	domain, err := parseDomain(*name)
	if err != nil {
		v.errorf(path, "%q %s", *name, err)
		return
	}
	*name = domain
}

func (v *validator) domainList(list string, names []string) {
	seen := map[string]bool{}
	for i := range names {
		path := element(list, i)
		v.domain(path, &names[i])
		if v.ok(path) && seen[names[i]] {
			v.errorf(path, "%q is there twice, expected each once", names[i])
		}
		seen[names[i]] = true
	}
}

// sides checks the next hops and clients of [onprem], [cloud] and [internet].
func (v *validator) sides() {
	v.nextHops("onprem.next_hop", v.c.OnPrem.NextHop)
	v.nextHops("cloud.next_hop", v.c.Cloud.NextHop)
	v.nextHops("internet.next_hop", v.c.Internet.NextHop)
	v.clients()
	v.users()
	v.keyPair("cloud.client_cert_file", &v.c.Cloud.ClientCertFile, "cloud.client_key_file", &v.c.Cloud.ClientKeyFile)
	if len(v.c.Cloud.ClientNames) > 0 && v.ok("listener") && !slices.ContainsFunc(v.c.Listeners, func(l Listener) bool { return l.CertFile != "" }) {
		v.warnf("cloud.client_names", "never match: no [[listener]] has a certificate, and without TLS there are no client certificates")
	}
}

// users checks the file of those who may relay by SMTP AUTH, which is offered inside TLS only.
func (v *validator) users() {
	file := &v.c.OnPrem.UsersFile
	if *file = v.resolve(*file); *file == "" || !v.ok("onprem.users_file") {
		return
	}
	if v.readable("onprem.users_file", *file, "a file with a line of name:hash for each user") {
		v.private("onprem.users_file", *file)
	}
	if v.ok("listener") && !slices.ContainsFunc(v.c.Listeners, func(l Listener) bool { return l.CertFile != "" }) {
		v.warnf("onprem.users_file", "nobody can log in: no [[listener]] has a certificate, and AUTH is offered inside TLS only")
	}
}

func (v *validator) nextHops(list string, hops []string) {
	seen := map[string]bool{}
	for i := range hops {
		path := element(list, i)
		if !v.ok(path) {
			continue
		}
		hop, err := parseNextHop(hops[i])
		if err != nil {
			v.errorf(path, "%q %s", hops[i], err)
			continue
		}
		if seen[hop] {
			v.errorf(path, "%q is there twice, expected each once", hop)
			continue
		}
		hops[i], seen[hop] = hop, true
		v.noLoop(path, hop)
	}
}

// noLoop refuses a next hop that is the gateway itself, where that is sure.
func (v *validator) noLoop(path, hop string) {
	host, port, err := net.SplitHostPort(hop)
	if err != nil {
		return
	}
	for i, l := range v.c.Listeners {
		at := element("listener", i) + ".address"
		listenHost, listenPort, err := net.SplitHostPort(l.Address)
		if err != nil || !v.ok(at) || !samePort(listenPort, port) {
			continue
		}
		if reaches(host, listenHost) {
			v.errorf(path, "%q is the gateway's own listener of line %d, a loop: expected another MTA", hop, v.lines.at(at))
			return
		}
		if host == v.c.Hostname && v.ok("hostname") {
			v.warnf(path, "%q has the name of this gateway and the port of its listener of line %d: is it a loop?", hop, v.lines.at(at))
		}
	}
}

// samePort compares port numbers; port 0 is another one each time.
func samePort(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return a == b && a != ""
}

// reaches says whether a connection to host certainly ends at a listener on listenHost with the same port.
func reaches(host, listenHost string) bool {
	if host == "localhost" { // RFC 6761 6.3
		return reaches("127.0.0.1", listenHost) || reaches("::1", listenHost)
	}
	if listenHost == "localhost" {
		listenHost = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, listenHost)
	}
	addr = addr.Unmap()
	local := addr.IsLoopback() || addr.IsUnspecified()
	if listenHost == "" {
		return local
	}
	listen, err := netip.ParseAddr(listenHost)
	switch {
	case err != nil:
		return false
	case listen.Unmap() == addr:
		return true
	case listen == netip.IPv6Unspecified():
		return local // Linux: a socket on :: takes IPv4 as well
	case listen == netip.IPv4Unspecified():
		return local && addr.Is4()
	}
	return false
}

// clients refuses networks of which it would not be clear whose they are.
func (v *validator) clients() {
	for _, side := range []struct {
		list     string
		networks []netip.Prefix
	}{{"onprem.clients", v.c.OnPrem.Clients}, {"cloud.clients", v.c.Cloud.Clients}} {
		for i, network := range side.networks {
			if path := element(side.list, i); v.ok(path) && network.Bits() == 0 {
				v.warnf(path, "%q is everybody: the gateway is an open relay, if it can be reached from the internet", network)
			}
		}
	}
	for i, cloud := range v.c.Cloud.Clients {
		for j, onprem := range v.c.OnPrem.Clients {
			cloudPath, onpremPath := element("cloud.clients", i), element("onprem.clients", j)
			if v.ok(cloudPath) && v.ok(onpremPath) && cloud.Overlaps(onprem) {
				v.errorf(cloudPath, "%q overlaps with %q of onprem.clients, line %d: expected networks of one side only", cloud, onprem, v.lines.at(onpremPath))
				break
			}
		}
	}
}

// directory checks the keys of the chosen source; those of the other one may stand there for later.
func (v *validator) directory() {
	dir := &v.c.Directory
	dir.LDIF = v.resolve(dir.LDIF)
	passwordFile := dir.PasswordFile
	dir.PasswordFile, dir.CAFile = v.resolve(dir.PasswordFile), v.resolve(dir.CAFile)
	dir.KeytabFile, dir.Krb5Conf = v.resolve(dir.KeytabFile), v.resolve(dir.Krb5Conf)
	if !v.ok("directory.source") {
		return
	}
	switch dir.Source {
	case "ldif":
		if v.require("directory.ldif", `a file such as "contoso.ldif", for source = "ldif"`) {
			v.fileName("directory.ldif", dir.LDIF)
		}
	case "ad":
		v.activeDirectory(passwordFile)
	}
}

func (v *validator) activeDirectory(passwordFile string) {
	dir := &v.c.Directory
	if v.require("directory.url", `domain controllers such as ["ldaps://dc1.contoso.com"], for source = "ad"`) && v.ok("directory.url") && len(dir.URL) == 0 {
		v.errorf("directory.url", "is empty, expected at least one")
	}
	v.bases()
	if v.kerberos() {
		v.keytab()
	} else {
		v.account(passwordFile)
	}
	if v.given["directory.ca_file"] && v.ok("directory.ca_file") {
		v.certificates("directory.ca_file", dir.CAFile)
	}
	plain := 0
	for i, text := range dir.URL {
		if path := element("directory.url", i); v.ok(path) && v.ldapURL(path, text) == "ldap" {
			plain++
		}
	}
	if dir.StartTLS && plain == 0 && len(dir.URL) > 0 && v.ok("directory.url") && v.ok("directory.start_tls") {
		v.errorf("directory.start_tls", "is for ldap://, expected false with ldaps:// (which is TLS already)")
	}
}

// account checks that bind_dn and password_file come together.
func (v *validator) account(passwordFile string) {
	dir := &v.c.Directory
	bind, password := v.given["directory.bind_dn"], v.given["directory.password_file"]
	switch {
	case !bind && !password:
		if v.ok("directory.bind_dn") && v.ok("directory.password_file") {
			v.warnf("directory", "has no bind_dn: Active Directory shows next to nothing to anonymous searches")
		}
	case !password:
		// A simple bind without a password is an anonymous one (RFC 4513 5.1.2): it would succeed, and find nothing.
		v.require("directory.password_file", "the file with the password of bind_dn")
	case !bind:
		v.require("directory.bind_dn", "the account that password_file belongs to")
	case v.ok("directory.bind_dn") && strings.TrimSpace(dir.BindDN) == "":
		v.errorf("directory.bind_dn", "is empty, expected an account such as \"CN=svc-coexist,OU=Service,DC=contoso,DC=com\"")
	}
	if password && v.ok("directory.password_file") {
		if passwordFile == "" {
			v.errorf("directory.password_file", "is empty, expected the name of a file")
			return
		}
		v.secret("directory.password_file", dir.PasswordFile)
	}
}

// ldapURL checks one URL (RFC 4516) and returns its scheme.
func (v *validator) ldapURL(path, text string) string {
	const want = `expected one such as "ldaps://dc1.contoso.com"`
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps":
		v.errorf(path, "is not an ldap:// or ldaps:// URL, %s", want)
		return ""
	case u.User != nil: // not printed: it may hold a password
		v.errorf(path, "holds an account, expected bind_dn and password_file instead")
		return ""
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		v.errorf(path, "%q has more than a host and a port, %s", text, want)
		return ""
	}
	if _, err := parseHost(u.Hostname()); err != nil {
		v.errorf(path, "%q %s, %s", text, err, want)
		return ""
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if err := parsePort(port, 1); err != nil {
			v.errorf(path, "%q %s", text, err)
			return ""
		}
	}
	dir := &v.c.Directory
	if u.Scheme == "ldap" && !dir.StartTLS && !dir.AllowPlaintext && !isLoopback(u.Hostname()) && v.ok("directory.start_tls") && v.ok("directory.allow_plaintext") {
		const instead = "expected ldaps://, start_tls = true, or allow_plaintext = true"
		switch {
		case v.given["directory.password_file"]:
			v.errorf(path, "%q would send the password in clear, %s", text, instead)
		case v.kerberos():
			v.errorf(path, "%q would take answers that anybody on the way can forge, %s", text, instead)
		}
	}
	return u.Scheme
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// delivery warns of times that never come.
func (v *validator) delivery() {
	delivery := &v.c.Delivery
	if v.given["delivery.retry"] && v.ok("delivery.retry") && len(delivery.Retry) == 0 {
		v.errorf("delivery.retry", "is empty, expected at least one duration")
	}
	if !v.ok("delivery") {
		return
	}
	if len(delivery.Retry) > 0 && delivery.Retry[0] >= delivery.ExpireAfter {
		v.warnf("delivery.expire_after", "%q is over before the first retry after %q: messages are tried once", delivery.ExpireAfter, delivery.Retry[0])
	}
	if v.given["delivery.delay_notice"] && delivery.DelayNotice >= delivery.ExpireAfter {
		v.warnf("delivery.delay_notice", "%q is not shorter than expire_after, %q: no notice is ever sent", delivery.DelayNotice, delivery.ExpireAfter)
	}
}

func (v *validator) spool() {
	v.c.Spool.URLFile = v.resolve(v.c.Spool.URLFile)
	if !v.given["spool.backend"] || !v.ok("spool.backend") {
		return
	}
	switch v.c.Spool.Backend {
	case "local":
	case "postgres":
		v.errorf("spool.backend", `"postgres" is for a later version, expected "local"`)
	default:
		v.errorf("spool.backend", `is %q, expected "local"`, v.c.Spool.Backend)
	}
}

func (v *validator) admin() {
	v.dataDir()
	if !v.ok("admin.address") {
		return
	}
	address := v.c.Admin.Address
	if err := parseListen(address); err != nil {
		v.errorf("admin.address", "%q %s", address, strings.ReplaceAll(err.Error(), "0.0.0.0:25", "127.0.0.1:8025"))
		return
	}
	for i, l := range v.c.Listeners {
		at := element("listener", i) + ".address"
		if v.given[at] && v.ok(at) && sameSocket(address, l.Address) {
			v.errorf("admin.address", "%q is taken by the listener of line %d, expected another port", address, v.lines.at(at))
		}
	}
}

func (v *validator) dataDir() {
	if !v.ok("data_dir") {
		return
	}
	if v.c.DataDir == "" {
		v.errorf("data_dir", `is empty, expected a folder such as "/var/lib/coexist"`)
		return
	}
	if !v.fileName("data_dir", v.c.DataDir) {
		return
	}
	v.c.DataDir = v.resolve(v.c.DataDir)
	if info, err := os.Stat(v.c.DataDir); err == nil && !info.IsDir() {
		v.errorf("data_dir", "%q is a file, expected a folder", v.c.DataDir)
	}
}

// resolve makes a path absolute. The empty path, of a key that is not given, stays empty.
func (v *validator) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(v.dir, path)
}

// fileName refuses what cannot be a path.
func (v *validator) fileName(path, name string) bool {
	switch {
	case !v.ok(path):
		return false
	case name == "":
		v.errorf(path, "is empty, expected the name of a file")
		return false
	case strings.ContainsRune(name, 0):
		v.errorf(path, "holds a NUL, expected the name of a file")
		return false
	}
	if info, err := os.Stat(name); path == "directory.ldif" && err == nil && info.IsDir() {
		v.errorf(path, "%q is a folder, expected a file", name)
		return false
	}
	return true
}

// reason is an error of the operating system without the operation and the path, which are in the sentence around it.
func reason(err error) string {
	if pathErr, ok := err.(*os.PathError); ok {
		return pathErr.Err.Error()
	}
	return fmt.Sprint(err)
}
