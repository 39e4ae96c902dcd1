package ad

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// replicationLag is how long another domain controller may take to have what was changed. Replication within a site takes seconds, and between sites 15 minutes at the least interval
// (replInterval of a siteLink).
const replicationLag = 15 * time.Minute

// carry takes objects of the view into one that was loaded from another domain controller, if they were new, moved or changed a short time ago and that one knows nothing of it: they have not been
// replicated to it yet. They are held until it must have them. Without that, people would be unknown, or be where they were before, for some minutes after a domain controller failed.
func (s *Source) carry(v *directory.View, st *state) (*directory.View, error) {
	old := s.View()
	if old == nil || s.st.Service == "" || s.st.Service == st.Service {
		s.held = map[directory.GUID]time.Time{}
		return v, nil
	}
	late := s.late(old, v)
	if err := s.link.forget(late, st.Partitions); err != nil {
		return nil, err
	}
	maps.Copy(late, s.outdated(old, v))
	s.held = late
	if len(late) == 0 {
		return v, nil
	}
	var d directory.Delta
	for g := range late {
		r, _ := old.ByGUID(g)
		d.Upserts = append(d.Upserts, entryOf(old, r))
	}
	s.cfg.Log.Info("objects that were changed a short time ago are not known to this domain controller yet, and are kept", "objects", len(late), "dc", s.link.name())
	return v.Apply(d)
}

// late gives the objects that v lacks, and that may be on their way to it, with the time until when.
func (s *Source) late(old, v *directory.View) map[directory.GUID]time.Time {
	now := s.cfg.Now()
	late := map[directory.GUID]time.Time{}
	for r := range old.All() {
		g := old.GUID(r)
		if _, there := v.ByGUID(g); there {
			continue
		}
		until, held := s.held[g]
		if !held {
			until = old.WhenChanged(r).Add(replicationLag)
		}
		o := old.Object(r)
		if until.After(now) && !replaced(&o, v) {
			late[g] = until
		}
	}
	return late
}

// outdated gives the objects that v has as they were before their last change in the view. whenChanged is when a domain controller wrote, of itself or by replication: one that has all that another has
// has no earlier time ([MS-ADTS] 3.1.1.1.5).
func (s *Source) outdated(old, v *directory.View) map[directory.GUID]time.Time {
	now := s.cfg.Now()
	found := map[directory.GUID]time.Time{}
	for r := range old.All() {
		until := old.WhenChanged(r).Add(replicationLag)
		if !until.After(now) {
			continue
		}
		g := old.GUID(r)
		if fresh, there := v.ByGUID(g); there && v.WhenChanged(fresh).Before(old.WhenChanged(r)) {
			found[g] = until
		}
	}
	return found
}

// replaced tells whether another object has the name or an address of one by now.
func replaced(o *directory.Object, v *directory.View) bool {
	if _, taken := v.ByDN(o.DN); taken {
		return true
	}
	for address := range smtpAddresses(o) {
		if len(v.Find(directory.KeyProxy, address, v.Find(directory.KeyMail, address, nil))) > 0 {
			return true
		}
	}
	return false
}

// forget leaves out what the domain controller knows of after all: as a tombstone, or in a place below no base.
func (l *link) forget(late map[directory.GUID]time.Time, parts []partition) error {
	guids := make([]directory.GUID, 0, len(late))
	for g := range late {
		guids = append(guids, g)
	}
	deleted := []ldap.Control{ldap.NewControlMicrosoftShowDeleted()}
	for _, p := range parts {
		for some := range slices.Chunk(guids, guidsPerSearch) {
			err := l.pages(p.NC, guidFilter(some), []string{"objectGUID"}, deleted, func(entries []*ldap.Entry) error {
				for _, e := range entries {
					if g, ok := guidOf(e); ok {
						delete(late, g)
					}
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("looking for objects that are missing: %w", err)
			}
		}
	}
	return nil
}

// classOf is an object class of each kind.
var classOf = map[directory.Kind]string{directory.User: "user", directory.Contact: "contact", directory.Group: "group", directory.DynamicGroup: "msExchDynamicDistributionList", directory.PublicFolder: "publicFolder"}

// entryOf is an object of a view as the directory would deliver it.
func entryOf(v *directory.View, r directory.Ref) directory.Entry {
	o := v.Object(r)
	e := directory.Entry{
		DN: o.DN, GUID: o.GUID, DisplayName: o.DisplayName, Mail: o.Mail, UserPrincipalName: o.UserPrincipalName, ProxyAddresses: o.ProxyAddresses, TargetAddress: o.TargetAddress,
		LegacyExchangeDN: o.LegacyExchangeDN, RemoteRecipientType: o.RemoteRecipientType, RecipientTypeDetails: o.RecipientTypeDetails, RecipientDisplayType: o.RecipientDisplayType,
		GroupType: o.GroupType, AccountControl: o.AccountControl, Changed: o.Changed,
	}
	if class, ok := classOf[o.Kind]; ok {
		e.ObjectClass = []string{class}
	}
	if o.Kind == directory.Group {
		e.Members = v.MissingMembers(r)
		for _, m := range v.Members(r, nil) {
			e.Members = append(e.Members, v.Object(m).DN)
		}
	}
	return e
}

// overdue gives the objects that are held no longer.
func (s *Source) overdue() (guids []directory.GUID) {
	now := s.cfg.Now()
	for g, until := range s.held {
		if !until.After(now) {
			guids = append(guids, g)
		}
	}
	return guids
}

// holds tells whether an object is not to be taken out of the view though the domain controller does not have it.
func (s *Source) holds(g directory.GUID) bool {
	until, held := s.held[g]
	return held && until.After(s.cfg.Now())
}
