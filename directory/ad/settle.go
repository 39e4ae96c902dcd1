package ad

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// Batches: GUIDs in one filter, and objects in one change of the view.
const (
	guidsPerSearch = 100
	guidsPerChange = 5000
)

// settle reads the objects of a notice again, as they are now, makes the view show them, and takes the state.
func (s *Source) settle(ctx context.Context, n *notice, next state) error {
	next.Containers = s.st.Containers
	guids := slices.SortedFunc(maps.Keys(n.seen), func(a, b directory.GUID) int { return compareGUIDs(a, b) })
	// Containers first: what lies below a renamed one is then found under its new name.
	slices.SortStableFunc(guids, func(a, b directory.GUID) int { return next.rank(a) - next.rank(b) })
	if len(guids) <= s.piece {
		return s.settleSome(ctx, n, guids, &next)
	}
	return s.settleMany(ctx, n, guids, next)
}

// settleMany is settle in pieces, of which nobody sees one without the others.
func (s *Source) settleMany(ctx context.Context, n *notice, guids []directory.GUID, next state) error {
	loading, before := s.draft != nil, s.st
	if !loading {
		s.draft = s.View()
	}
	for ; len(guids) > s.piece; guids = guids[s.piece:] {
		st := before
		st.Containers = next.Containers
		if err := s.settleSome(ctx, n, guids[:s.piece], &st); err != nil {
			return s.giveUp(loading, before, err)
		}
		next.Containers = s.st.Containers
	}
	if err := s.settleSome(ctx, n, guids, &next); err != nil {
		return s.giveUp(loading, before, err)
	}
	if !loading {
		v := s.draft
		if err := s.plausible(v, addressesGone(s.View(), v)); err != nil {
			return s.giveUp(loading, before, err)
		}
		s.draft = nil
		s.commit(v, s.st)
	}
	return nil
}

// giveUp goes back to what was before a settlement in pieces.
func (s *Source) giveUp(loading bool, before state, err error) error {
	s.st = before
	if !loading {
		s.draft = nil
	}
	return err
}

// rank puts containers before the rest.
func (s *state) rank(g directory.GUID) int {
	if _, ok := s.Containers[g]; ok {
		return 0
	}
	return 1
}

func (s *Source) settleSome(ctx context.Context, n *notice, guids []directory.GUID, next *state) error {
	c := &change{s: s, v: s.newest(), n: n, next: next, found: map[directory.GUID]*ldap.Entry{}, apart: map[directory.GUID]*ldap.Entry{}}
	if len(guids) == 0 {
		s.commit(nil, *next)
		return ctx.Err()
	}
	for _, step := range []func([]directory.GUID) error{c.where, c.read, c.containers, c.objects, c.where} {
		if err := step(guids); err != nil {
			return fmt.Errorf("reading what changed: %w", err)
		}
	}
	if err := c.believe(); err != nil {
		return err
	}
	c.memberChanges()
	v, err := c.changed()
	if err == nil {
		v, err = c.withOwners(v)
	}
	if err == nil && s.draft == nil {
		err = s.plausible(v, c.gone())
	}
	if err != nil {
		return err
	}
	c.publish(v)
	return nil
}

// change is a change of the view in the making.
type change struct {
	s     *Source
	v     *directory.View // before
	n     *notice
	next  *state
	bases []string                       // the DNs of the bases as the directory has them
	found map[directory.GUID]*ldap.Entry // as they are now
	apart map[directory.GUID]*ldap.Entry // what lies below no base
	extra []directory.GUID               // objects that a container took with it
	moved []directory.Move
	newly []newMember // groups that have them are told of them
	d     directory.Delta
	done  []directory.Delta // what was applied
}

// newMember is an object that came into the view, or left it for a place below no base, with the groups that it says it is in.
type newMember struct {
	dn     string
	groups []string
}

// where reads the bases. Were one renamed or out of sight, everything below it would seem to be gone: so they are read before and after the objects.
func (c *change) where([]directory.GUID) error {
	c.bases = c.bases[:0]
	for _, base := range c.s.cfg.BaseDNs {
		e, err := c.s.link.object(base, "objectClass")
		if err != nil {
			return fmt.Errorf("reading base_dn %q: %w", base, explainBase(err))
		}
		c.bases = append(c.bases, e.DN)
	}
	return nil
}

// read finds objects by their GUIDs. What is not found is not there, or not below the bases. The search is over whole naming contexts, so that an object that is moved from one base
// to another meanwhile is found in one of them.
func (c *change) read(guids []directory.GUID) error {
	for _, p := range c.next.Partitions {
		for some := range slices.Chunk(guids, guidsPerSearch) {
			err := c.s.link.pages(p.NC, guidFilter(some), append([]string{"memberOf"}, attributes...), nil, c.sort)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sort notes objects by whether they lie below a base.
func (c *change) sort(entries []*ldap.Entry) error {
	for _, e := range entries {
		g, ok := guidOf(e)
		switch {
		case !ok:
		case slices.ContainsFunc(c.bases, func(base string) bool { return directory.WithinDN(e.DN, base) }):
			c.found[g] = e
		default:
			c.apart[g] = e
		}
	}
	return nil
}

// believe refuses changes that take more than half of the view away and that no tombstones vouch for: rights of the account that are gone would look like that. What is loaded anew then decides.
func (c *change) believe() error {
	total, doubtful := c.v.Stats().Total(), 0
	for _, g := range c.d.Deletes {
		if !c.n.deleted[g] {
			doubtful++
		}
	}
	switch {
	case c.s.loading || total < shrinkFrom:
	case doubtful > total/2:
		return stale{fmt.Sprintf("%d of %d objects are not visible any more", doubtful, total)}
	case doubtful > shrinkFrom:
		c.s.cfg.Log.Warn("objects are not visible any more, and it was not told that they were deleted: has the account lost rights?", "objects", doubtful, "of", total)
	}
	return nil
}

// containers deals with containers that are new, that got another name or place, or that are gone. Nothing is told of what lies below them.
func (c *change) containers(guids []directory.GUID) error {
	moved, lost := map[string]string{}, map[string]bool{}
	known := maps.Clone(c.next.Containers)
	for _, g := range guids {
		e, there := c.found[g]
		old, isKnown := known[g]
		switch {
		case isKnown && !there:
			lost[strings.ToLower(old)] = true
			delete(known, g)
		case isKnown && old != e.DN:
			moved[old] = e.DN
			known[g] = e.DN
		case !isKnown && there && isContainer(e):
			known[g] = e.DN
			if err := c.below(e.DN, known); err != nil {
				return err
			}
		}
	}
	for old, dn := range moved {
		c.moved = append(c.moved, directory.Move{From: old, To: dn})
	}
	rename(known, c.next.Containers, moved)
	c.next.Containers = known
	if len(lost) > 0 {
		c.extra = append(c.extra, objectsBelow(c.v, lost)...)
	}
	if len(c.extra) == 0 {
		return nil
	}
	return c.read(c.extra)
}

// below finds what lies below a container that came into sight.
func (c *change) below(dn string, known containers) error {
	return c.s.link.pages(dn, loaded, []string{"objectGUID", "objectClass"}, nil, func(entries []*ldap.Entry) error {
		for _, e := range entries {
			g, ok := guidOf(e)
			switch {
			case !ok:
			case isContainer(e):
				known[g] = e.DN
			default:
				c.extra = append(c.extra, g)
				c.n.full[g] = true
			}
		}
		return nil
	})
}

// rename gives the containers below moved ones their new DNs. known already has those of the moved ones themselves; before has all as they were.
func rename(known, before containers, moved map[string]string) {
	if len(moved) == 0 {
		return
	}
	for g, dn := range known {
		if before[g] != dn {
			continue // it is new, or was moved itself
		}
		for i := range len(dn) {
			if dn[i] != ',' {
				continue
			}
			if to, ok := moved[dn[i+1:]]; ok {
				known[g] = dn[:i+1] + to
				break // the nearest one counts: its new DN has those above in it
			}
		}
	}
}

// objectsBelow gives the objects below containers, of which the DNs are in lower case.
func objectsBelow(v *directory.View, containers map[string]bool) (guids []directory.GUID) {
	for r := range v.All() {
		dn := strings.ToLower(v.Object(r).DN)
		for i := range len(dn) {
			if dn[i] == ',' && containers[dn[i+1:]] {
				guids = append(guids, v.GUID(r))
				break
			}
		}
	}
	return guids
}

// objects turns what was read into changes of the view.
func (c *change) objects(guids []directory.GUID) error {
	done := make(map[directory.GUID]bool, len(guids))
	for _, g := range append(slices.Clone(guids), c.extra...) {
		if done[g] {
			continue
		}
		done[g] = true
		if err := c.object(g); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) object(g directory.GUID) error {
	ref, known := c.v.ByGUID(g)
	e, there := c.found[g]
	if !there {
		_, apart := c.apart[g]
		if known && (c.n.deleted[g] || apart || !c.s.holds(g)) {
			c.d.Deletes = append(c.d.Deletes, g)
			if e, ok := c.apart[g]; ok {
				c.newly = append(c.newly, newMember{e.DN, e.GetEqualFoldAttributeValues("memberOf")})
			}
		}
		return nil
	}
	ent := decode(e, c.warn)
	if _, keep := directory.KindOf(&ent); !keep && !known {
		return nil
	}
	if known && c.s.holds(g) && ent.Changed.Before(c.v.WhenChanged(ref)) {
		return nil // what this domain controller has is still the older one
	}
	if known {
		if old := c.v.Object(ref).DN; old != e.DN {
			c.moved = append(c.moved, directory.Move{From: old, To: e.DN}) // objects can lie below it
		}
	} else {
		c.newly = append(c.newly, newMember{e.DN, e.GetEqualFoldAttributeValues("memberOf")})
	}
	var err error
	if ent.Members, err = c.membersOf(g, &ent, known); err != nil {
		return err
	}
	c.d.Upserts = append(c.d.Upserts, ent)
	return nil
}

// membersOf reads the members of a group when the view cannot know them otherwise; nil keeps those that it has.
func (c *change) membersOf(g directory.GUID, ent *directory.Entry, known bool) ([]string, error) {
	kind, _ := directory.KindOf(ent)
	if kind != directory.Group || known && !c.n.full[g] {
		return nil, nil
	}
	delete(c.n.members, g)
	members, err := c.s.link.members(ent.DN)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return nil, nil // renamed or deleted since: the next notice tells of it
	}
	return members, err
}

func (c *change) warn(w directory.Warning) {
	c.s.cfg.Log.Warn("an attribute in the directory could not be understood, and is taken as absent", "dn", w.DN, "attribute", w.Attribute, "problem", w.Text)
}

// memberChanges adds the changes of groups that were told value by value.
func (c *change) memberChanges() {
	for _, m := range c.n.members {
		if _, ok := c.v.ByGUID(m.Group); ok {
			c.d.Members = append(c.d.Members, *m)
		}
	}
	clear(c.n.members)
}

// join puts objects into their groups of which nothing is told: a restored object is in its groups again, and one that is not in the view any more is still a member. The groups are found by
// the names that they have after all other changes.
func (c *change) join(v *directory.View) (*directory.View, error) {
	var d directory.Delta
	for _, n := range c.newly {
		for _, dn := range n.groups {
			if r, ok := v.ByDN(dn); ok {
				d.Members = append(d.Members, directory.MemberChange{Group: v.GUID(r), Add: []string{n.dn}})
			}
		}
	}
	if len(d.Members) == 0 {
		return v, nil
	}
	return v.Apply(d)
}

// changed gives the view with the changes so far; the one before if there are none.
func (c *change) changed() (*directory.View, error) {
	c.d.Moves = orderMoves(c.moved)
	if len(c.d.Moves)+len(c.d.Deletes)+len(c.d.Upserts)+len(c.d.Members) == 0 {
		return c.v, nil
	}
	v, err := c.v.Apply(c.d)
	if err == nil {
		v, err = c.join(v)
	}
	if err != nil {
		return nil, stale{err.Error()}
	}
	c.done = append(c.done, c.d)
	return v, nil
}

// gone counts the addresses of the objects that were taken out.
func (c *change) gone() (n int) {
	before := c.s.View()
	for i := range c.done {
		for _, g := range c.done[i].Deletes {
			if r, ok := before.ByGUID(g); ok {
				n += addressesOf(before, r)
			}
		}
	}
	return n
}

// publish puts a changed view in place, and takes the state.
func (c *change) publish(v *directory.View) {
	s := c.s
	if len(c.done) == 0 {
		s.commit(nil, *c.next)
		return
	}
	if v.Wasteful() {
		v = v.Compact()
	}
	s.commit(v, *c.next)
	for i := range c.done {
		c.note(v, &c.done[i])
	}
}

// note keeps account of what was applied.
func (c *change) note(v *directory.View, d *directory.Delta) {
	s := c.s
	for _, g := range d.Deletes {
		delete(s.held, g)
	}
	for _, u := range d.Upserts {
		delete(s.held, u.GUID)
	}
	s.cfg.Log.Debug("directory changed", "objects", len(d.Upserts), "deleted", len(d.Deletes), "moves", len(d.Moves), "groups", len(d.Members))
	for _, u := range d.Upserts {
		if lag := s.link.dc.Time.Sub(u.Changed); !u.Changed.IsZero() && lag >= 0 {
			s.keep.Lag(lag)
		}
	}
	// A member that is not known under the name that was told may have been renamed since.
	for _, m := range d.Members {
		for _, dn := range append(slices.Clone(m.Add), m.Remove...) {
			if _, ok := v.ByDN(dn); !ok {
				s.recheck[m.Group] = true
			}
		}
	}
}

// orderMoves makes moves that can be applied one after another, whatever the names that are freed and taken: each goes to a place of its own first, the deepest first, and
// from there to where it belongs, the highest first.
func orderMoves(moves []directory.Move) []directory.Move {
	if len(moves) < 2 {
		return moves
	}
	type step struct {
		directory.Move
		between string
	}
	steps := make([]step, len(moves))
	slices.SortStableFunc(moves, func(a, b directory.Move) int { return depth(b.From) - depth(a.From) })
	ordered := make([]directory.Move, 0, 2*len(moves))
	for i, m := range moves {
		steps[i] = step{m, fmt.Sprintf("CN=%d,DC=moving", i)}
		ordered = append(ordered, directory.Move{From: m.From, To: steps[i].between})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return depth(a.To) - depth(b.To) })
	for _, st := range steps {
		ordered = append(ordered, directory.Move{From: st.between, To: st.To})
	}
	return ordered
}

// depth counts the parts of a DN.
func depth(dn string) int { return strings.Count(dn, ",") - strings.Count(dn, `\,`) }
