package directory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// variedView has something of everything: aliases, phantoms, gone objects, waste, warnings.
func variedView(t *testing.T) *View {
	t.Helper()
	v := mustLDIF(t, adele+"whenChanged: yesterday\n\ndn: CN=Sales,DC=contoso,DC=com\nobjectClass: group\nmail: sales@contoso.com\nmember: CN=Adele Vance,OU=Users,DC=contoso,DC=com\nmember: CN=New,DC=contoso,DC=com\nmember: CN=Guest,DC=fabrikam,DC=com\n")
	o := v.Object(mustFind(t, v, KeyMail, "adelev@contoso.com"))
	e := o.entry()
	e.DN, e.ObjectClass = "CN=New,DC=contoso,DC=com", []string{"user"}
	var more []Entry
	for i := range 60 {
		more = append(more, sampleEntry(i))
	}
	for _, d := range []Delta{{Upserts: []Entry{e}}, {Upserts: more}, {Deletes: []GUID{more[5].GUID, more[6].GUID}}, {Moves: []Move{{"DC=fabrikam,DC=com", "DC=tailspintoys,DC=com"}}}} {
		next, err := v.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		v = next
	}
	return v
}

func TestSnapshotRoundTrip(t *testing.T) {
	v := variedView(t)
	path := filepath.Join(t.TempDir(), "view")
	m := Meta{Source: "ldif:/etc/coexist/contoso.ldif", LastRead: time.Date(2026, 1, 31, 9, 30, 0, 5, time.UTC), LastChange: time.Date(2026, 1, 30, 9, 30, 0, 0, time.UTC), State: []byte{0, 1, 0xff}}
	if err := NewSnapshotFile(path).Save(v, m); err != nil {
		t.Fatal(err)
	}
	got, gm, err := NewSnapshotFile(path).Load()
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(m, gm); d != "" {
		t.Error(d)
	}
	if d := diffViews(t, v, got); d != "" {
		t.Error(d)
	}
	if d := gocmp.Diff(v.Warnings(), got.Warnings()); d != "" {
		t.Error(d)
	}
	// What is loaded can be changed like any other view.
	for _, view := range []*View{v, got} {
		next, err := view.Apply(Delta{Deletes: []GUID{sampleEntry(1).GUID}, Upserts: []Entry{sampleEntry(5)}, Moves: []Move{{"OU=Site 2,DC=contoso,DC=com", "OU=Site 2b,DC=contoso,DC=com"}}})
		if err != nil {
			t.Fatal(err)
		}
		if view == v {
			v = next
		} else if d := diffViews(t, v, next); d != "" {
			t.Error(d)
		}
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) != 1 {
		t.Errorf("files %q, want only the snapshot (%v)", names, err)
	}
}

func TestSnapshotAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "view")
	first := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
	v := mustLDIF(t, adele)
	s := NewSnapshotFile(path)
	if err := s.Touch(Meta{LastRead: first}); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(v, Meta{LastRead: first, State: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	check := func(want time.Time, state string) {
		t.Helper()
		if _, m, err := NewSnapshotFile(path).Load(); err != nil || !m.LastRead.Equal(want) || string(m.State) != state {
			t.Errorf("last read %v, state %q, error %v; want %v, %q", m.LastRead, m.State, err, want, state)
		}
	}
	check(first, "one")
	if err := s.Touch(Meta{LastRead: first.Add(time.Hour), State: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	check(first.Add(time.Hour), "two")
	// The age of one snapshot says nothing of the next.
	if err := s.Save(v, Meta{LastRead: first.Add(time.Minute), State: []byte("three")}); err != nil {
		t.Fatal(err)
	}
	check(first.Add(time.Minute), "three")
	if err := os.WriteFile(path+".age", []byte("{nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(first.Add(time.Minute), "three")
}

func snapshotBytes(t testing.TB, v *View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.writeSnapshot(&b, Meta{Source: "test"}, "id"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotDamaged(t *testing.T) {
	good := snapshotBytes(t, variedView(t))
	load := func(b []byte) error { _, _, err := readSnapshot(bytes.NewReader(b), int64(len(b))); return err }
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, n int, b []byte) {
		t.Helper()
		if err := load(b); !errors.Is(err, ErrSnapshotDamaged) && !errors.Is(err, ErrSnapshotForeign) {
			t.Errorf("%s at %d: %v", what, n, err)
		}
	}
	for i := 0; i < len(good); i += 1 + i/50 {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		refused("a bit is wrong", i, bad)
		refused("it is cut", i, good[:i])
	}
	refused("there is more", len(good), append(bytes.Clone(good), 0))
	newer := bytes.Clone(good)
	newer[len(snapshotMagic)]++
	if err := load(newer); !errors.Is(err, ErrSnapshotForeign) || !strings.Contains(err.Error(), "format version 2, expected 1") {
		t.Errorf("another version: %v", err)
	}
	if err := load([]byte(strings.Repeat("bbolt", 100))); !errors.Is(err, ErrSnapshotForeign) {
		t.Errorf("another file: %v", err)
	}
	if _, _, err := NewSnapshotFile(filepath.Join(t.TempDir(), "none")).Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// resum puts the right checksum on a snapshot with wrong content, to get past it.
func resum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	b = bytes.Clone(b)
	head := len(snapshotMagic) + 1
	if len(b) > head+8 {
		n := int(binary.LittleEndian.Uint32(b[head:]))
		if end := head + 4 + n; n < len(b) && end+4 <= len(b) {
			binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[head+4:end], castagnoli))
		}
	}
	binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}

// TestSnapshotHostile changes the content below valid checksums: it must be refused or be a view that can be used, but never bring the process down.
func TestSnapshotHostile(t *testing.T) {
	v := mustLDIF(t, adele+"proxyAddresses: smtp:a@contoso.com\nproxyAddresses: x500:/o=x/cn=y\ntargetAddress: SMTP:a@contoso.com\n\ndn: CN=G,DC=contoso,DC=com\nobjectClass: group\nmember: CN=Adele Vance,OU=Users,DC=contoso,DC=com\nmember: CN=X,DC=contoso,DC=com\n")
	good := snapshotBytes(t, v)
	for i := range good {
		for _, x := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(good)
			bad[i] ^= x
			useSnapshot(resum(bad))
		}
	}
}

func useSnapshot(b []byte) {
	v, _, err := readSnapshot(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	for r := range v.All() {
		o := v.Object(r)
		v.Find(KeyProxy, o.Mail, nil)
		v.Members(r, nil)
		v.MissingMembers(r)
		v.ByDN(o.DN)
	}
}

func FuzzSnapshot(f *testing.F) {
	v, err := ReadLDIF(strings.NewReader(adele), "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(snapshotBytes(f, v))
	f.Fuzz(func(_ *testing.T, b []byte) { useSnapshot(resum(b)) })
}

func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "view")
	v := mustLDIF(t, adele)
	if err := NewSnapshotFile(path).Save(v, Meta{Source: "first"}); err != nil {
		t.Fatal(err)
	}
	// The name of the temporary file is taken by a directory.
	if err := os.Mkdir(path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := NewSnapshotFile(path).Save(v, Meta{Source: "second"}); err == nil {
		t.Error("no error")
	}
	if _, m, err := NewSnapshotFile(path).Load(); err != nil || m.Source != "first" {
		t.Errorf("the old snapshot is gone: %v, %v", m, err)
	}
}
