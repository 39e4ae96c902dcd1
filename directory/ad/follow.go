package ad

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// notice is what changed, as far as the directory told.
type notice struct {
	seen    map[directory.GUID]bool
	full    map[directory.GUID]bool // groups of which all members are to be read
	members map[directory.GUID]*directory.MemberChange
}

func newNotice() *notice {
	return &notice{seen: map[directory.GUID]bool{}, full: map[directory.GUID]bool{}, members: map[directory.GUID]*directory.MemberChange{}}
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
	next := s.st
	n := newNotice()
	for g := range s.recheck {
		n.seen[g], n.full[g] = true, true
	}
	var err error
	switch {
	case s.st.Method.dirsync():
		next.Cookie, err = s.link.dirSync(s.st.NC, s.st.Method, s.st.Cookie, n.incremental, nil)
		if err != nil && refused(err) {
			return stale{fmt.Sprintf("the cookie of DirSync was refused: %v", err)}
		}
	case s.link.dc.USN > s.st.USN:
		err = s.link.since(s.st.NC, s.st.USN, s.st.Deletions, n)
	}
	if err != nil {
		return fmt.Errorf("asking for changes: %w", err)
	}
	next.USN = s.link.dc.USN
	s.recheck = map[directory.GUID]bool{}
	if err := s.settle(ctx, n, next); err != nil {
		return err
	}
	s.followed = begin
	return nil
}

// since notes what has an uSNChanged above a number. It is an attribute of each domain controller's own.
func (l *link) since(nc string, usn int64, deletions bool, n *notice) error {
	var controls []ldap.Control
	if deletions {
		controls = append(controls, ldap.NewControlMicrosoftShowDeleted())
	}
	filter := fmt.Sprintf("(&(uSNChanged>=%d)%s)", usn+1, noComputers)
	return l.pages(nc, filter, []string{"objectGUID"}, controls, func(entries []*ldap.Entry) error {
		for _, e := range entries {
			if g, ok := guidOf(e); ok {
				n.seen[g], n.full[g] = true, true
			}
		}
		return nil
	})
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
	method, cookie, err := s.bestDirSync(ctx)
	if err != nil {
		return err
	}
	seen := true
	if method != DirSync {
		if seen, err = s.link.seesDeletions(s.st.NC); err != nil {
			return err
		}
	}
	switch {
	case method != "":
	case seen:
		method = USN
	default:
		method = USNReconcile
	}
	next := s.st // it may have gone on meanwhile
	next.Method, next.Cookie, next.Deletions = method, cookie, seen
	// What changed while DirSync made its first cookie, which told nothing of the changes: by number, and deletions by comparison.
	n := newNotice()
	if err := s.link.since(s.st.NC, s.st.USN, false, n); err != nil {
		return fmt.Errorf("asking for changes: %w", err)
	}
	if next.Method != s.st.Method {
		s.compare = true
	}
	s.cfg.Log.Info("changes in the directory are followed", "method", next.Method, "deletions_visible", next.Deletions, "dc", s.link.name())
	return s.settle(ctx, n, next)
}

// bestDirSync gives the better way of DirSync that the account may use, and a cookie; no method when neither is.
func (s *Source) bestDirSync(ctx context.Context) (Method, []byte, error) {
	for _, m := range s.dirsyncs {
		if s.st.Method == m && len(s.st.Cookie) > 0 {
			return m, s.st.Cookie, nil
		}
		cookie, err := s.firstCookie(ctx, m)
		if err == nil {
			return m, cookie, nil
		}
		if !refused(err) {
			return "", nil, fmt.Errorf("beginning DirSync: %w", err)
		}
		s.cfg.Log.Debug("changes cannot be seen in this way", "method", m, "error", err)
	}
	return "", nil, nil
}

// firstCookie goes through the whole naming context, since there is no other way to a cookie. What it tells is not needed.
func (s *Source) firstCookie(ctx context.Context, m Method) ([]byte, error) {
	begin, told, total := time.Now(), time.Now(), 0
	return s.link.dirSync(s.st.NC, m, nil, func(*ldap.Entry) {}, func(entries int) error {
		if total += entries; time.Since(told) >= tellEvery {
			told = time.Now()
			s.cfg.Log.Info("beginning DirSync", "entries", total, "seconds", int(time.Since(begin).Seconds()))
		}
		return s.breathe(ctx)
	})
}

// seesDeletions tells whether the account sees anything in the container of deleted objects. There are some in every domain that is in use.
func (l *link) seesDeletions(nc string) (bool, error) {
	req := request("CN=Deleted Objects,"+nc, ldap.ScopeSingleLevel, "(isDeleted=TRUE)", "objectGUID")
	req.SizeLimit = 1
	req.Controls = []ldap.Control{ldap.NewControlMicrosoftShowDeleted()}
	res, err := l.conn.Search(req)
	switch {
	case err == nil:
		return len(res.Entries) > 0, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return true, nil
	case refused(err):
		return false, nil
	}
	return false, fmt.Errorf("looking for deleted objects: %w", failed(err))
}
