package ad

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// notice is what changed, as far as the directory told.
type notice struct {
	seen    map[directory.GUID]bool
	deleted map[directory.GUID]bool // of which a tombstone was seen
	full    map[directory.GUID]bool // groups of which all members are to be read
	members map[directory.GUID]*directory.MemberChange
}

func newNotice() *notice {
	return &notice{seen: map[directory.GUID]bool{}, deleted: map[directory.GUID]bool{}, full: map[directory.GUID]bool{}, members: map[directory.GUID]*directory.MemberChange{}}
}

// follow asks for the changes since the state, and applies them. A state that cannot be gone on from is an error of type stale.
func (s *Source) follow(ctx context.Context) error {
	begin := time.Now()
	if err := s.link.identify(); err != nil {
		return err
	}
	if why := s.st.mismatch(s.link); why != "" {
		return stale{why}
	}
	n := newNotice()
	for g := range s.recheck {
		n.seen[g], n.full[g] = true, true
	}
	for _, g := range s.overdue() {
		n.seen[g], n.full[g] = true, true
	}
	next, err := s.hear(n)
	if err != nil {
		return err
	}
	due := s.recheck
	s.recheck = map[directory.GUID]bool{}
	if err := s.settle(ctx, n, next); err != nil {
		maps.Copy(s.recheck, due) // they still are
		return err
	}
	s.followed = begin
	return nil
}

// hear notes what changed since the state, in every naming context, and gives the state that comes after it.
func (s *Source) hear(n *notice) (state, error) {
	next := s.st
	next.Partitions = slices.Clone(s.st.Partitions)
	for i := range next.Partitions {
		p := &next.Partitions[i]
		var err error
		switch {
		case s.st.Method.dirsync():
			var silent bool
			p.Cookie, silent, err = s.link.askDirSync(p.NC, s.st.Method, p.Cookie, n)
			switch {
			case err == nil:
			case refused(err):
				return next, stale{fmt.Sprintf("the cookie of DirSync was refused: %v", err)}
			case silent:
				s.unanswered(err)
			}
		case s.link.dc.USN > s.st.USN:
			err = s.link.since(p.NC, s.st.USN, s.st.Deletions, n)
		}
		if err != nil {
			return next, fmt.Errorf("asking for changes in %q: %w", p.NC, err)
		}
	}
	next.USN = s.link.dc.USN
	next.Proved = next.Proved || next.Deletions && len(n.deleted) > 0
	return next, nil
}

// askDirSync is dirSync for changes, with a short time limit for the answers; silent tells whether that was over.
func (l *link) askDirSync(nc string, m Method, cookie []byte, n *notice) (next []byte, silent bool, err error) {
	limit := min(l.timeout, shortTimeout)
	l.conn.SetTimeout(limit)
	defer l.conn.SetTimeout(l.timeout)
	heard := time.Now()
	next, err = l.dirSync(nc, m, cookie, n.incremental, func(int) error { heard = time.Now(); return nil })
	return next, err != nil && time.Since(heard) >= limit, err
}

// unanswered goes back to following by number when DirSync is not answered any more: something that swallows it may have come in between.
func (s *Source) unanswered(err error) {
	s.cfg.Log.Warn("DirSync is not answered any more: changes are seen without it, and it is tried again later", "method", s.st.Method, "after", silentPause, "error", err)
	s.silent[s.st.Method] = time.Now()
	s.st.Method = USNReconcile
	s.st.Partitions = slices.Clone(s.st.Partitions)
	for i := range s.st.Partitions {
		s.st.Partitions[i].Cookie = nil
	}
	s.compare = true
}

// since notes what has an uSNChanged above a number. It is an attribute of each domain controller's own.
func (l *link) since(nc string, usn int64, deletions bool, n *notice) error {
	var controls []ldap.Control
	if deletions {
		controls = append(controls, ldap.NewControlMicrosoftShowDeleted())
	}
	filter := fmt.Sprintf("(&(uSNChanged>=%d)%s)", usn+1, noComputers)
	return l.pages(nc, filter, []string{"objectGUID", "isDeleted"}, controls, func(entries []*ldap.Entry) error {
		for _, e := range entries {
			if g, ok := guidOf(e); ok {
				n.seen[g], n.full[g] = true, true
				n.bury(g, e)
			}
		}
		return nil
	})
}

// bury notes whether an entry is a tombstone.
func (n *notice) bury(g directory.GUID, e *ldap.Entry) {
	if strings.EqualFold(e.GetEqualFoldAttributeValue("isDeleted"), "TRUE") {
		n.deleted[g] = true
	}
}

// watched are the attributes of which DirSync tells changes. It tells of a new name or place only if name and parentGUID are among them.
var watched = append([]string{"name", "parentGUID", "isDeleted", "member"}, slices.DeleteFunc(slices.Clone(attributes), func(a string) bool { return a == "whenChanged" })...)

// dirSyncBytes is how much is asked for at once.
const dirSyncBytes = 1 << 22

// dirSync asks for everything that changed since the cookie, and gives the next cookie. after is called after every page.
func (l *link) dirSync(nc string, m Method, cookie []byte, use func(*ldap.Entry), after func(entries int) error) ([]byte, error) {
	flags := ldap.DirSyncIncrementalValues
	if m == DirSyncObjectSecurity {
		flags |= ldap.DirSyncObjectSecurity
	}
	for {
		req := request(nc, ldap.ScopeWholeSubtree, noComputers, watched...)
		req.Controls = []ldap.Control{ldap.NewRequestControlDirSync(flags, dirSyncBytes, cookie)}
		res, err := l.conn.Search(req)
		if err != nil {
			return nil, failed(err)
		}
		answer, ok := ldap.FindControl(res.Controls, ldap.ControlTypeDirSync).(*ldap.ControlDirSync)
		if !ok || len(answer.Cookie) == 0 {
			return nil, fmt.Errorf("%w: DirSync was answered without a cookie", errGone)
		}
		for _, e := range res.Entries {
			use(e)
		}
		if after != nil {
			if err := after(len(res.Entries)); err != nil {
				return nil, err
			}
		}
		// [MS-ADTS] 3.1.1.3.4.1.3: the flags of the response are not zero when there is more.
		if answer.Flags == 0 {
			return answer.Cookie, nil
		}
		if bytes.Equal(cookie, answer.Cookie) && len(res.Entries) == 0 {
			return nil, fmt.Errorf("%w: DirSync does not go on", errGone)
		}
		cookie = answer.Cookie
	}
}

// incremental notes an entry of DirSync. With LDAP_DIRSYNC_INCREMENTAL_VALUES the values that were added to member come as member;range=1-1, and those that were removed as
// member;range=0-0.
func (n *notice) incremental(e *ldap.Entry) {
	g, ok := guidOf(e)
	if !ok {
		return
	}
	n.seen[g] = true
	n.bury(g, e)
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(strings.ToLower(a.Name), ";")
		if name != "member" {
			continue
		}
		m := n.members[g]
		if m == nil {
			m = &directory.MemberChange{Group: g}
			n.members[g] = m
		}
		switch option {
		case "range=1-1":
			m.Add = append(m.Add, a.Values...)
		case "range=0-0":
			m.Remove = append(m.Remove, a.Values...)
		default: // all of them, or none
			n.full[g] = true
		}
	}
}

// choose finds the best way to see changes. It is called with a view and a state that can be followed by uSNChanged at least.
func (s *Source) choose(ctx context.Context) error {
	method, cookies, err := s.bestDirSync(ctx)
	if err != nil {
		return err
	}
	seen := visible
	if method != DirSync {
		if seen, err = s.link.deletions(s.st.Partitions); err != nil {
			return err
		}
	}
	switch {
	case method != "":
	case seen != hidden:
		method = USN
	default:
		method = USNReconcile
	}
	next := s.st // it may have gone on meanwhile
	next.Partitions = slices.Clone(s.st.Partitions)
	for i := range next.Partitions {
		if next.Partitions[i].Cookie = nil; i < len(cookies) {
			next.Partitions[i].Cookie = cookies[i]
		}
	}
	next.Method, next.Deletions, next.Proved = method, seen != hidden, seen == visible
	// What changed while DirSync made its first cookie, which told nothing of the changes: by number, and deletions by comparison.
	n := newNotice()
	for _, p := range s.st.Partitions {
		if err := s.link.since(p.NC, s.st.USN, false, n); err != nil {
			return fmt.Errorf("asking for changes: %w", err)
		}
	}
	other := next.Method != s.st.Method || next.Deletions != s.st.Deletions
	if other || !s.started {
		s.cfg.Log.Info("changes in the directory are followed", "method", next.Method, "deletions_visible", next.Deletions, "dc", s.link.name())
	}
	s.compare = s.compare || other
	if err := s.settle(ctx, n, next); err != nil {
		return err
	}
	s.started, s.chosen = true, time.Now()
	return nil
}

// bestDirSync gives the better way of DirSync that the account may use in all naming contexts, and a cookie for each; no method when neither is.
func (s *Source) bestDirSync(ctx context.Context) (Method, [][]byte, error) {
	for _, m := range s.dirsyncs {
		if time.Since(s.silent[m]) < silentPause {
			continue
		}
		cookies, err := s.cookies(ctx, m)
		if err == nil {
			return m, cookies, nil
		}
		if !refused(err) {
			return "", nil, fmt.Errorf("beginning DirSync: %w", err)
		}
		s.cfg.Log.Debug("changes cannot be seen in this way", "method", m, "error", err)
	}
	return "", nil, nil
}

// silentPause is how long a way of DirSync is not tried any more that was not answered: there are things between a gateway and a domain controller that swallow what they do not know.
const silentPause = time.Hour

// cookies gives those that the state has for a method, else new ones.
func (s *Source) cookies(ctx context.Context, m Method) (all [][]byte, err error) {
	if s.st.Method != m {
		may, silent, err := s.link.probeDirSync(s.st.Partitions, m)
		switch {
		case silent && ctx.Err() == nil:
			s.silent[m] = time.Now()
			return nil, err
		case err != nil:
			return nil, err
		case !may:
			return nil, ldap.NewError(ldap.LDAPResultInsufficientAccessRights, errors.New("DirSync is not let"))
		}
	}
	for i := range s.st.Partitions {
		// The state can go on while a first cookie is made, but its naming contexts stay.
		cookie := s.st.Partitions[i].Cookie
		if s.st.Method != m || len(cookie) == 0 {
			if cookie, err = s.firstCookie(ctx, m, s.st.Partitions[i].NC); err != nil {
				return nil, err
			}
		}
		all = append(all, cookie)
	}
	return all, nil
}

// firstCookie goes through the whole naming context, since there is no other way to a cookie. What it tells is not needed.
func (s *Source) firstCookie(ctx context.Context, m Method, nc string) ([]byte, error) {
	begin, told, total := time.Now(), time.Now(), 0
	return s.link.dirSync(nc, m, nil, func(*ldap.Entry) {}, func(entries int) error {
		if total += entries; time.Since(told) >= tellEvery {
			told = time.Now()
			s.cfg.Log.Info("beginning DirSync", "entries", total, "seconds", int(time.Since(begin).Seconds()))
		}
		return s.breathe(ctx)
	})
}

// sight is what an account sees of deleted objects.
type sight int

const (
	hidden   sight = iota // nothing
	readable              // their container, in which there is none: there may be none at all
	visible               // some
)

// deletions tells what the account sees of deleted objects in the naming contexts; the least of what it sees in each.
func (l *link) deletions(parts []partition) (sight, error) {
	least := visible
	for _, p := range parts {
		seen, err := l.deletionsIn(p.NC)
		if err != nil {
			return hidden, fmt.Errorf("looking for deleted objects in %q: %w", p.NC, err)
		}
		least = min(least, seen)
	}
	return least, nil
}

// deletionsIn looks into the container of deleted objects. Reading it takes a right that by default administrators have only, and that is given together with the one to list what is in it.
func (l *link) deletionsIn(nc string) (sight, error) {
	req := request("CN=Deleted Objects,"+nc, ldap.ScopeWholeSubtree, "(objectClass=*)", "objectClass", "isDeleted")
	req.SizeLimit = 2 // the container itself, and one in it
	req.Controls = []ldap.Control{ldap.NewControlMicrosoftShowDeleted()}
	res, err := l.conn.Search(req)
	switch {
	case err == nil, ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
	case refused(err):
		return hidden, nil
	default:
		return hidden, failed(err)
	}
	seen := hidden
	for _, e := range res.Entries {
		switch {
		case !strings.EqualFold(e.DN, req.BaseDN) && directory.WithinDN(e.DN, req.BaseDN):
			return visible, nil
		case len(e.GetEqualFoldAttributeValues("objectClass")) > 0:
			seen = readable
		}
	}
	return seen, nil
}
