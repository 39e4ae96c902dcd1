package adtest

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// The limits of a Windows domain controller ([MS-ADTS] 3.1.1.3.4.6), which Samba does not enforce.
const (
	MaxPageSize = 1000
	MaxValRange = 1500
)

// DirSyncRight is what DirSync says to the account.
type DirSyncRight int

// The rights.
const (
	MayReplicate    DirSyncRight = iota
	ObjectSecurity               // only with LDAP_DIRSYNC_OBJECT_SECURITY
	NoDirSync                    // the control is not supported
	DirSyncDisabled              // insufficient rights in every way
)

// Faults is how a [Server] behaves. The zero value is a good domain controller with an account that may replicate.
type Faults struct {
	DirSync       DirSyncRight
	DirSyncPage   int           // entries in one answer of DirSync; 0 is all
	RefuseCookies bool          // DirSync with a cookie fails
	HideDeleted   bool          // the account sees no deleted objects, nor gets them by DirSync
	CutAfter      int           // octets of answers after which the connection is closed; 0 is never
	CutAtPage     int           // the page of a paged search in which the connection is closed; 0 is never
	AtPage        func(int)     // called before each page of a paged search, counted over all connections since it was set, from 1 on
	Delay         time.Duration // before each answer to a search
	Hang          bool          // no answer at all
	SilentDirSync bool          // no answer at all to DirSync
	NoPaging      bool          // paged searches are answered without the control
	Unready       bool          // isSynchronized is FALSE
	Blind         bool          // the account sees the base, and nothing below it
	BindCode      uint16        // result of a bind; 0 is success
	BindText      string
	SearchCode    uint16 // result of every search but that of the root DSE; 0 is success
	Host          string // the name of the domain controller; empty is DC1
	Invocation    string // 16 bytes; empty is a fixed one
	Schema        int    // rangeUpper of ms-Exch-Schema-Version-Pt; 0: there is none
}

// Server is an LDAP server with as much of Active Directory as the package under test needs.
type Server struct {
	tb       testing.TB
	listener net.Listener
	tls      *tls.Config
	wg       sync.WaitGroup

	mu       sync.Mutex
	store    *Store
	faults   Faults
	conns    map[net.Conn]bool
	searches int
	binds    int
	pages    int
}

// NewServer serves a store at an address of its own on the loopback interface. With a certificate it speaks LDAPS.
func NewServer(tb testing.TB, store *Store, cert *tls.Certificate) *Server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{tb: tb, listener: l, store: store, conns: map[net.Conn]bool{}}
	if cert != nil {
		s.tls = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	s.serve(l)
	tb.Cleanup(s.Close)
	return s
}

func (s *Server) serve(l net.Listener) {
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if s.tls != nil {
				c = tls.Server(c, s.tls)
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.session(c) })
		}
	})
}

// URL is where it serves.
func (s *Server) URL() string {
	scheme := "ldap"
	if s.tls != nil {
		scheme = "ldaps"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// Fail changes how the server behaves from now on.
func (s *Server) Fail(change func(*Faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
	s.pages = 0
}

// Replace puts another content in place.
func (s *Server) Replace(store *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
}

// Store is the content.
func (s *Server) Store() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// Counts tells how many searches and binds there were.
func (s *Server) Counts() (searches, binds int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.searches, s.binds
}

// Stop ends the connections and takes no new ones. Start goes on at the same address.
func (s *Server) Stop() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Start serves again.
func (s *Server) Start() {
	s.tb.Helper()
	l, err := net.Listen("tcp", s.listener.Addr().String())
	if err != nil {
		s.tb.Fatal(err)
	}
	s.listener = l
	s.serve(l)
}

// Close is Stop for good.
func (s *Server) Close() { s.Stop() }

// session is one connection.
type session struct {
	s       *Server
	c       net.Conn
	written int
	results map[string][]*entry // what is left of paged searches, by cookie
	pages   int
}

func (s *Server) session(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	ses := &session{s: s, c: c, results: map[string][]*entry{}}
	for {
		p, err := ber.ReadPacket(c)
		if err != nil || len(p.Children) < 2 || !ses.request(p) {
			return
		}
	}
}

func (s *Server) countPage() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages++
	return s.pages
}

func (ses *session) now() (Faults, *Store) {
	ses.s.mu.Lock()
	defer ses.s.mu.Unlock()
	return ses.s.faults, ses.s.store
}

// request answers a request, and tells whether the connection goes on.
func (ses *session) request(p *ber.Packet) bool {
	id := p.Children[0].Value
	f, store := ses.now()
	switch op := p.Children[1]; op.Tag {
	case ldap.ApplicationBindRequest:
		ses.s.mu.Lock()
		ses.s.binds++
		ses.s.mu.Unlock()
		return ses.send(id, result(ldap.ApplicationBindResponse, f.BindCode, f.BindText))
	case ldap.ApplicationExtendedRequest:
		return ses.send(id, result(ldap.ApplicationExtendedResponse, ldap.LDAPResultProtocolError, "no TLS here"))
	case ldap.ApplicationSearchRequest:
		ses.s.mu.Lock()
		ses.s.searches++
		ses.s.mu.Unlock()
		time.Sleep(f.Delay)
		if f.Hang {
			return true
		}
		q, err := newQuery(p)
		if err != nil {
			return ses.done(id, ldap.LDAPResultProtocolError, err.Error(), nil)
		}
		if q.paging != nil && f.AtPage != nil {
			f.AtPage(ses.s.countPage())
		}
		store.mu.Lock()
		defer store.mu.Unlock()
		return ses.search(id, q, f, store)
	}
	return false // unbind, or what is not needed
}

// query is a search request.
type query struct {
	base     string
	scope    int64
	filter   *ber.Packet
	attrs    []string
	deleted  bool
	paging   *ldap.ControlPaging
	dirSync  *ldap.ControlDirSync
	sizeLeft int64
}

func newQuery(p *ber.Packet) (*query, error) {
	op := p.Children[1]
	if len(op.Children) < 8 {
		return nil, fmt.Errorf("%d parts of a search", len(op.Children))
	}
	q := &query{base: text(op.Children[0]), scope: op.Children[1].Value.(int64), sizeLeft: op.Children[3].Value.(int64), filter: op.Children[6]}
	for _, a := range op.Children[7].Children {
		q.attrs = append(q.attrs, text(a))
	}
	if len(p.Children) < 3 {
		return q, nil
	}
	for _, raw := range p.Children[2].Children {
		if err := q.control(raw); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (q *query) control(raw *ber.Packet) error {
	switch text(raw.Children[0]) {
	case ldap.ControlTypePaging, ldap.ControlTypeDirSync:
		c, err := ldap.DecodeControl(raw)
		if err != nil {
			return err
		}
		switch c := c.(type) {
		case *ldap.ControlPaging:
			q.paging = c
		case *ldap.ControlDirSync:
			q.dirSync = c
		}
	case ldap.ControlTypeMicrosoftShowDeleted:
		q.deleted = true
	}
	return nil
}

func (ses *session) search(id any, q *query, f Faults, store *Store) bool {
	switch {
	case q.base == "" && q.scope == ldap.ScopeBaseObject:
		return ses.rootDSE(id, f, store)
	case f.SearchCode != 0:
		return ses.done(id, f.SearchCode, "told to", nil)
	case strings.HasPrefix(q.base, "CN=NTDS Settings,"):
		return ses.settings(id, f)
	case strings.HasPrefix(q.base, "CN=ms-Exch-Schema-Version-Pt,") && f.Schema > 0:
		return ses.entry(id, q.base, []attribute{{"rangeUpper", []string{strconv.Itoa(f.Schema)}}}) && ses.done(id, 0, "", nil)
	case q.dirSync != nil:
		return ses.dirSync(id, q, f, store)
	}
	found, ok := store.search(q, f)
	if !ok {
		return ses.done(id, ldap.LDAPResultNoSuchObject, "0000208D: NameErr: DSID-03100241, problem 2001 (NO_OBJECT)", nil)
	}
	if q.paging != nil && !f.NoPaging {
		return ses.page(id, q, f, store, found)
	}
	limit := MaxPageSize
	if q.sizeLeft > 0 {
		limit = min(limit, int(q.sizeLeft))
	}
	for i, e := range found {
		if i == limit {
			return ses.done(id, ldap.LDAPResultSizeLimitExceeded, "", nil)
		}
		if !ses.object(id, q, store, e) {
			return false
		}
	}
	return ses.done(id, 0, "", nil)
}

// search finds objects. ok is false when there is no base.
func (s *Store) search(q *query, f Faults) (found []*entry, ok bool) {
	base := strings.ToLower(q.base)
	guid, byGUID := strings.CutPrefix(base, "<guid=")
	context := s.context(base)
	for _, e := range s.objects {
		dn := e.low
		isBase := dn == base || byGUID && guidText(e.guid)+">" == guid
		below := strings.HasSuffix(dn, ","+base) && (q.scope == ldap.ScopeWholeSubtree || q.scope == ldap.ScopeSingleLevel && !strings.Contains(strings.TrimSuffix(dn, ","+base), ","))
		hidden := e.deleted && (!q.deleted || f.HideDeleted) || f.Blind && !isBase
		if isBase && !hidden || isBase && strings.HasPrefix(dn, "cn=deleted objects,") {
			ok = true
		}
		if hidden || below && s.context(dn) != context || !(isBase && q.scope != ldap.ScopeSingleLevel || below && q.scope != ldap.ScopeBaseObject) {
			continue
		}
		if s.matches(e, q.filter) {
			found = append(found, e)
		}
	}
	return found, ok
}

func guidText(g [16]byte) string {
	return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%x-%x", g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8:10], g[10:])
}

// page answers a page of a paged search (RFC 2696). Its cookie is of this connection only.
func (ses *session) page(id any, q *query, f Faults, store *Store, found []*entry) bool {
	if len(q.paging.Cookie) > 0 {
		rest, ok := ses.results[string(q.paging.Cookie)]
		if !ok {
			return ses.done(id, ldap.LDAPResultUnwillingToPerform, "00002040: SvcErr: DSID-031401E7, problem 5010 (UNAVAIL_EXTENSION)", nil)
		}
		delete(ses.results, string(q.paging.Cookie))
		found = rest
	}
	n := min(len(found), int(q.paging.PagingSize), MaxPageSize)
	ses.pages++
	for i, e := range found[:n] {
		if f.CutAtPage > 0 && ses.pages == f.CutAtPage && i == n/2 {
			return false
		}
		if !ses.object(id, q, store, e) {
			return false
		}
	}
	answer := &ldap.ControlPaging{}
	if n < len(found) {
		answer.SetCookie(fmt.Appendf(nil, "%d", ses.pages))
		ses.results[string(answer.Cookie)] = found[n:]
	}
	return ses.done(id, 0, "", answer)
}

const firstInvocation = "invocation-id-01"

func (ses *session) rootDSE(id any, f Faults, store *Store) bool {
	ready := "TRUE"
	if f.Unready {
		ready = "FALSE"
	}
	host := f.Host
	if host == "" {
		host = "DC1"
	}
	return ses.entry(id, "", []attribute{
		{"dnsHostName", []string{strings.ToLower(host) + ".contoso.test"}}, {"dsServiceName", []string{"CN=NTDS Settings,CN=" + host + ",CN=Sites,CN=Configuration," + store.Base}},
		{"highestCommittedUSN", []string{fmt.Sprint(store.usn)}}, {"namingContexts", append([]string{"CN=Configuration," + store.Base}, store.contexts...)},
		{"schemaNamingContext", []string{"CN=Schema,CN=Configuration," + store.Base}}, {"isSynchronized", []string{ready}},
		{"currentTime", []string{time.Now().UTC().Format("20060102150405.0Z")}},
	}) && ses.done(id, 0, "", nil)
}

func (ses *session) settings(id any, f Faults) bool {
	invocation := f.Invocation
	if invocation == "" {
		invocation = firstInvocation
	}
	return ses.entry(id, "CN=NTDS Settings", []attribute{{"invocationId", []string{invocation}}}) && ses.done(id, 0, "", nil)
}

// dirSync answers DirSync ([MS-ADTS] 3.1.1.3.4.1.3): the changed attributes of what changed since the cookie, which holds two numbers: since when, and where in the list to go on.
func (ses *session) dirSync(id any, q *query, f Faults, store *Store) bool {
	flags := uint32(q.dirSync.Flags)
	security := flags&uint32(ldap.DirSyncObjectSecurity) != 0
	switch {
	case f.SilentDirSync:
		return true
	case f.DirSync == NoDirSync:
		return ses.done(id, ldap.LDAPResultUnavailableCriticalExtension, "", nil)
	case f.DirSync == DirSyncDisabled, f.DirSync == ObjectSecurity && !security:
		return ses.done(id, ldap.LDAPResultInsufficientAccessRights, "00002105: LdapErr: DSID-0C0907E1", nil)
	case f.RefuseCookies && len(q.dirSync.Cookie) > 0:
		return ses.done(id, ldap.LDAPResultOther, "0000203D: LdapErr: DSID-0C0C01B4, comment: Error processing control", nil)
	case !slices.ContainsFunc(store.contexts, func(c string) bool { return strings.EqualFold(c, q.base) }):
		return ses.done(id, ldap.LDAPResultUnwillingToPerform, "the base must be the root of the naming context", nil)
	}
	var since, until, after int64
	if c := q.dirSync.Cookie; len(c) == 24 {
		since, until, after = int64(binary.BigEndian.Uint64(c)), int64(binary.BigEndian.Uint64(c[8:])), int64(binary.BigEndian.Uint64(c[16:]))
	}
	if after == 0 {
		until = store.usn
	}
	q.deleted = !f.HideDeleted
	found, _ := store.search(q, f)
	found = slices.DeleteFunc(found, func(e *entry) bool { return e.usn <= since || e.usn <= after })
	slices.SortFunc(found, func(a, b *entry) int { return int(a.usn - b.usn) })
	more := int64(0)
	if f.DirSyncPage > 0 && len(found) > f.DirSyncPage {
		found, more = found[:f.DirSyncPage], 1
		after = found[len(found)-1].usn
	}
	for _, e := range found {
		if !ses.entry(id, e.dn, store.changes(e, q, since)) {
			return false
		}
	}
	if more == 0 {
		since, after = until, 0
	}
	cookie := binary.BigEndian.AppendUint64(nil, uint64(since))
	cookie = binary.BigEndian.AppendUint64(cookie, uint64(until))
	cookie = binary.BigEndian.AppendUint64(cookie, uint64(after))
	return ses.done(id, 0, "", &ldap.ControlDirSync{Criticality: true, Flags: more, Cookie: cookie})
}

// changes gives the attributes that changed since a number, with the values of member one by one if that is asked for.
func (s *Store) changes(e *entry, q *query, since int64) []attribute {
	list := []attribute{{"objectGUID", []string{string(e.guid[:])}}, {"instanceType", []string{"4"}}}
	for _, a := range q.attrs {
		name := strings.ToLower(a)
		if e.changed[name] > since && name != "member" {
			list = append(list, attribute{a, s.values(e, name)})
		}
	}
	added, removed := e.linkChanges(since)
	if len(added) > 0 {
		list = append(list, attribute{"member;range=1-1", added})
	}
	if len(removed) > 0 {
		list = append(list, attribute{"member;range=0-0", removed})
	}
	return list
}

// object sends what was asked for of an object.
func (ses *session) object(id any, q *query, store *Store, e *entry) bool {
	var list []attribute
	for _, a := range q.attrs {
		name, option, _ := strings.Cut(strings.ToLower(a), ";range=")
		values := store.values(e, name)
		if name == "member" {
			list = append(list, ranges(values, option)...)
		} else if len(values) > 0 {
			list = append(list, attribute{a, values})
		}
	}
	return ses.entry(id, e.dn, list)
}

// ranges gives as many values as one answer may have, named by which they are ([MS-ADTS] 3.1.1.3.1.3.3).
func ranges(values []string, option string) []attribute {
	start := 0
	if option != "" {
		first, _, _ := strings.Cut(option, "-")
		start, _ = strconv.Atoi(first)
	}
	start = min(start, len(values))
	end := min(start+MaxValRange, len(values))
	switch {
	case option == "" && end == len(values):
		if len(values) == 0 {
			return nil
		}
		return []attribute{{"member", values}}
	case end == len(values):
		return []attribute{{fmt.Sprintf("member;range=%d-*", start), values[start:]}}
	}
	return []attribute{{"member", nil}, {fmt.Sprintf("member;range=%d-%d", start, end-1), values[start:end]}}
}

// attribute is one of an answer.
type attribute struct {
	name   string
	values []string
}

func (ses *session) entry(id any, dn string, attrs []attribute) bool {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	op.AppendChild(octets(dn))
	list := ber.NewSequence("")
	for _, a := range attrs {
		one := ber.NewSequence("")
		one.AppendChild(octets(a.name))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.values {
			set.AppendChild(octets(v))
		}
		one.AppendChild(set)
		list.AppendChild(one)
	}
	op.AppendChild(list)
	return ses.send(id, op)
}

func (ses *session) done(id any, code uint16, message string, c ldap.Control) bool {
	op := result(ldap.ApplicationSearchResultDone, code, message)
	if c == nil {
		return ses.send(id, op)
	}
	controls := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
	controls.AppendChild(c.Encode())
	return ses.send(id, op, controls)
}

// result is an LDAPResult (RFC 4511 4.1.9).
func result(tag ber.Tag, code uint16, message string) *ber.Packet {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	op.AppendChild(octets(""))
	op.AppendChild(octets(message))
	return op
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// send writes a message, unless the connection is to be cut before its end.
func (ses *session) send(id any, parts ...*ber.Packet) bool {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	for _, p := range parts {
		m.AppendChild(p)
	}
	b := m.Bytes()
	f, _ := ses.now()
	if left := f.CutAfter - ses.written; f.CutAfter > 0 && left < len(b) {
		ses.c.Write(b[:max(left, 0)])
		return false
	}
	n, err := ses.c.Write(bytes.Clone(b))
	ses.written += n
	return err == nil
}
