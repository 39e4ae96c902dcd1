package ad

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// reconcile compares the GUIDs and times of change of all objects with the view. What differs is read again, one by one: that decides, not the comparison.
func (s *Source) reconcile(ctx context.Context) error {
	begin, usn := time.Now(), s.link.dc.USN
	seen, n := []directory.GUID{}, newNotice()
	for _, base := range s.cfg.BaseDNs {
		err := s.link.pages(base, recipients, []string{"objectGUID", "whenChanged"}, nil, func(entries []*ldap.Entry) error {
			v := s.View()
			for _, e := range entries {
				g, ok := guidOf(e)
				if !ok {
					continue
				}
				seen = append(seen, g)
				if r, ok := v.ByGUID(g); !ok || changedSince(e, v.WhenChanged(r)) {
					n.seen[g], n.full[g] = true, true
				}
			}
			return s.breathe(ctx)
		})
		if err != nil {
			return fmt.Errorf("comparing all objects below %q: %w", base, explainBase(err))
		}
	}
	slices.SortFunc(seen, compareGUIDs)
	v, missing := s.View(), 0
	for r := range v.All() {
		if _, ok := slices.BinarySearchFunc(seen, v.GUID(r), compareGUIDs); !ok {
			n.seen[v.GUID(r)] = true
			missing++
		}
	}
	if total := v.Stats().Total(); total >= shrinkFrom && missing > total/2 {
		return stale{fmt.Sprintf("%d of %d objects are not visible", missing, total)}
	}
	s.compared, s.comparedUSN, s.compare = time.Now(), usn, false
	s.cost = min(time.Since(begin), time.Duration(len(seen)+1)*slowObject)
	if len(n.seen) > 0 {
		s.cfg.Log.Debug("comparing all objects", "differences", len(n.seen), "missing", missing)
	}
	return s.settle(ctx, n, s.st)
}

// slowObject is the longest that an object counts in the cost of a comparison: that something was slow once must not put the next comparison off.
const slowObject = time.Millisecond

// changedSince tells whether an entry has another whenChanged. It counts seconds, and is each domain controller's own.
func changedSince(e *ldap.Entry, known time.Time) bool {
	t, err := time.Parse("20060102150405.0Z", e.GetEqualFoldAttributeValue("whenChanged"))
	return err == nil && t.Unix() != known.Unix()
}

func compareGUIDs(a, b directory.GUID) int { return bytes.Compare(a[:], b[:]) }
