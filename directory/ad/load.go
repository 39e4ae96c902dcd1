package ad

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// errUnbelieved is why a complete answer is not taken for the truth.
var errUnbelieved = errors.New("the answer is not believed yet")

// load reads everything, and puts it in place of the view, together with what changed while it was read: an object that was moved then can be missing in the answers.
func (s *Source) load(ctx context.Context) error {
	v, st, err := s.everything()
	if err != nil {
		return err
	}
	if err := s.believe(v); err != nil {
		return err
	}
	if v, err = s.carry(v, &st); err != nil {
		return err
	}
	before, recheck := s.st, s.recheck
	s.draft, s.loading, s.st, s.recheck = v, true, st, map[directory.GUID]bool{}
	err = s.follow(ctx)
	v, s.draft, s.loading = s.draft, nil, false
	if err == nil {
		v, err = s.kept(s.View(), v)
	}
	if err != nil {
		s.st, s.recheck = before, recheck
		return err
	}
	s.started, s.compare = false, false
	s.keep.Replace(v, s.cfg.Now(), s.st.encode())
	s.keep.Describe(s.link.name(), string(s.st.Method))
	_ = s.keep.Persist() // it logs its error
	return ctx.Err()
}

// everything reads all bases. Changes can be followed from before the search on; the best method is chosen when there is a view.
func (s *Source) everything() (*directory.View, state, error) {
	parts, err := s.link.partitions(s.cfg.BaseDNs)
	if err != nil {
		return nil, state{}, err
	}
	st := state{URL: s.link.url, Service: s.link.dc.Service, Invocation: s.link.dc.Invocation, Method: USNReconcile, USN: s.link.dc.USN, Partitions: parts, Containers: containers{}}
	ld := &loader{s: s, b: directory.NewBuilder(), st: &st, begin: time.Now()}
	ld.told = ld.begin
	for _, base := range s.cfg.BaseDNs {
		err := s.link.pages(base, loaded, append([]string{"member"}, attributes...), nil, ld.page)
		if err != nil {
			return nil, state{}, fmt.Errorf("loading the directory below %q: %w", base, explainBase(err))
		}
	}
	ld.tell("directory loaded")
	return ld.b.Build(), st, nil
}

func explainBase(err error) error {
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return fmt.Errorf("there is no such object, or the account may not see it: check base_dn (%w)", err)
	}
	return err
}

// contextOf is the root of the naming context that a DN lies in.
func contextOf(dn string, contexts []string) (string, error) {
	best := ""
	for _, c := range contexts {
		if len(c) > len(best) && directory.WithinDN(dn, c) {
			best = c
		}
	}
	if best == "" {
		return "", fmt.Errorf("the domain controller does not hold base_dn %q: url must name domain controllers of its domain, one gateway reads one domain; this one holds %s", dn, strings.Join(contexts, "; "))
	}
	return best, nil
}

// loader makes a view of the pages of a search.
type loader struct {
	s       *Source
	b       *directory.Builder
	st      *state
	begin   time.Time
	told    time.Time
	entries int
}

// tellEvery is how often the progress of a load is logged.
const tellEvery = 10 * time.Second

func (ld *loader) page(entries []*ldap.Entry) error {
	for _, e := range entries {
		if err := ld.add(e); err != nil {
			return err
		}
	}
	if ld.entries += len(entries); time.Since(ld.told) >= tellEvery {
		ld.told = time.Now()
		ld.tell("loading the directory")
	}
	return nil
}

func (ld *loader) tell(text string) {
	took := time.Since(ld.begin)
	ld.s.cfg.Log.Info(text, "entries", ld.entries, "seconds", took.Round(time.Millisecond).Seconds(), "per_second", int(float64(ld.entries)/max(took.Seconds(), 0.001)))
}

func (ld *loader) add(e *ldap.Entry) error {
	if isContainer(e) {
		if g, ok := guidOf(e); ok {
			ld.st.Containers[g] = e.DN
		}
	}
	members, next := memberValues(e)
	members, err := ld.s.link.restOfMembers(e.DN, members, next)
	if err != nil {
		return err
	}
	ent := decode(withoutMembers(e), ld.b.Warn)
	ent.Members = members
	if err := ld.b.Add(ent); err != nil {
		// An object that was moved during the search can come twice, and its name be taken by another. The changes since the search began set that right.
		ld.b.Warn(directory.Warning{DN: e.DN, Attribute: "distinguishedName", Text: err.Error()})
	}
	return nil
}

func withoutMembers(e *ldap.Entry) *ldap.Entry {
	rest := make([]*ldap.EntryAttribute, 0, len(e.Attributes))
	for _, a := range e.Attributes {
		if name, _, _ := strings.Cut(a.Name, ";"); !strings.EqualFold(name, "member") {
			rest = append(rest, a)
		}
	}
	return &ldap.Entry{DN: e.DN, Attributes: rest}
}

// shrunk is a load that showed far fewer objects than the view has.
type shrunk struct {
	total int
	at    time.Time
}

// shrinkFrom is how many objects a view must have for a loss of more than half to be suspicious.
const shrinkFrom = 20

// believe refuses a load that shows nothing, and one that shows less than half of the view until another one, at least a refresh later, shows the same: rights that were
// taken away for a moment, or a domain controller that is still being filled, must not turn people into unknown recipients.
func (s *Source) believe(v *directory.View) error {
	total := v.Stats().Total()
	if total == 0 {
		return fmt.Errorf("%w: no user, contact or group is visible below %q: check base_dn and the rights of the account", errUnbelieved, s.cfg.BaseDNs)
	}
	if st := v.Stats(); st.Addresses == 0 && st.Objects[directory.User]+st.Objects[directory.Contact] >= shrinkFrom && s.View() == nil {
		return fmt.Errorf("%w: %d objects are visible below %q, and no address of any: the account must be able to read proxyAddresses and mail", errUnbelieved, total, s.cfg.BaseDNs)
	}
	old := s.View()
	if err := s.plausible(v, addressesGone(old, v)); err != nil {
		return err
	}
	if old == nil || old.Stats().Total() < shrinkFrom || total >= old.Stats().Total()/2 {
		s.shrunk = shrunk{}
		return nil
	}
	last := s.shrunk
	if last.total == total && time.Since(last.at) >= s.cfg.Refresh {
		s.cfg.Log.Warn("the directory has lost more than half of its objects", "objects", total, "before", old.Stats().Total())
		s.shrunk = shrunk{}
		return nil
	}
	if last.total != total {
		s.shrunk = shrunk{total, time.Now()}
	}
	return fmt.Errorf("%w: the directory shows %d objects where there were %d; the last view stays until that is confirmed", errUnbelieved, total, old.Stats().Total())
}

// peak is the largest number of addresses that a view had of late.
type peak struct {
	addresses int
	at        time.Time
}

// peakTime is how long a peak counts. Rights that go object by object are gone within it.
const peakTime = time.Hour

// note takes the number of addresses of a view.
func (p *peak) note(v *directory.View, now time.Time) {
	if n := v.Stats().Addresses; n >= p.addresses || now.Sub(p.at) > peakTime {
		*p = peak{n, now}
	}
}

// plausible refuses a view in which objects have lost most of their addresses: when the account may not read proxyAddresses and mail any more, everybody is still there, and without an address. That
// is never believed by itself: nobody means it. gone is how many addresses went with objects that are not there any more.
func (s *Source) plausible(v *directory.View, gone int) error {
	old := s.View()
	if old == nil {
		return nil
	}
	if s.peak.at.IsZero() {
		s.peak.note(old, s.cfg.Now())
	}
	now, due := v.Stats(), s.peak.addresses-gone
	if due < shrinkFrom || 2*now.Addresses >= due {
		s.peak.addresses = due
		return nil
	}
	return fmt.Errorf("%w: the %d objects have %d addresses where there were %d; the last view stays. May the account still read proxyAddresses and mail? If it is meant, stop, remove directory.snapshot from data_dir, and start",
		errUnbelieved, now.Total(), now.Addresses, due)
}

// addressesGone counts the addresses of the objects of a view that another does not have.
func addressesGone(old, v *directory.View) (n int) {
	if old == nil {
		return 0
	}
	for r := range old.All() {
		if _, there := v.ByGUID(old.GUID(r)); !there {
			n += addressesOf(old, r)
		}
	}
	return n
}

// addressesOf counts as [directory.Stats] does.
func addressesOf(v *directory.View, r directory.Ref) int {
	o := v.Object(r)
	seen := map[string]bool{}
	for address := range smtpAddresses(&o) {
		seen[address] = true
	}
	return len(seen)
}
