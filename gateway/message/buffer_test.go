package message

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
)

// octets makes n octets that differ from place to place, the same for each seed.
func octets(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func TestBufferKeepsContent(t *testing.T) {
	const memory = 100_000
	for _, size := range []int{0, 1, 4096, 16 << 10, 16<<10 + 1, 65_537, memory - 1, memory, memory + 1, 1 << 20, 20 << 20} {
		want := octets(size, 1)
		feed := map[string]func(*Buffer) error{
			"one write":   func(b *Buffer) error { _, err := b.Write(want); return err },
			"many writes": func(b *Buffer) error { return writeChunks(b, want, 7_919) },
			"ReadFrom":    func(b *Buffer) error { _, err := b.ReadFrom(bytes.NewReader(want)); return err },
			"ReadFrom, by halves, error with the last": func(b *Buffer) error {
				_, err := b.ReadFrom(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(want))))
				return err
			},
		}
		for name, f := range feed {
			b := NewBuffer(t.TempDir(), memory)
			if err := f(b); err != nil {
				t.Fatalf("%d octets by %s: %v", size, name, err)
			}
			if b.Size() != int64(size) || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%d octets by %s: the content is not what was written (%d octets)", size, name, b.Size())
			}
			if got, want := b.InFile(), size > memory; got != want {
				t.Errorf("%d octets by %s: in a file: %v, want %v", size, name, got, want)
			}
			if err := b.Close(); err != nil {
				t.Errorf("%d octets by %s: closing: %v", size, name, err)
			}
		}
	}
}

func writeChunks(w io.Writer, b []byte, size int) error {
	for len(b) > 0 {
		n := min(len(b), size)
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func TestBufferAppendingToBytesLeavesItAlone(t *testing.T) {
	for _, memory := range []int64{0, DefaultMemory} {
		b := NewBuffer(t.TempDir(), memory)
		defer b.Close()
		mustWrite(t, b, "contoso")
		_ = append(b.Bytes(), "XXXXX"...)
		mustWrite(t, b, ".com")
		if got := string(b.Bytes()); got != "contoso.com" {
			t.Errorf("memory %d: %q", memory, got)
		}
	}
}

func mustWrite(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func TestBufferLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	b := NewBuffer(dir, 10)
	mustWrite(t, b, "more than ten octets")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("the directory shows %v (%v) while a message is held", entries, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestBufferWithoutADirectory(t *testing.T) {
	b := NewBuffer(t.TempDir()+"/missing", 10)
	mustWrite(t, b, "0123456789")
	n, err := b.Write([]byte("x"))
	if n != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write = %d, %v; want 0 and the reason", n, err)
	}
	if got := string(b.Bytes()); got != "0123456789" {
		t.Errorf("after the failure the buffer holds %q", got)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestBufferOnFullDisk uses the device that is always full in place of the temporary file.
func TestBufferOnFullDisk(t *testing.T) {
	b := NewBuffer(t.TempDir(), 10)
	mustWrite(t, b, "what was written before")
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	good := b.file
	b.file = full
	if n, err := b.Write([]byte("more")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %d, %v; want 0 and ENOSPC", n, err)
	}
	if n, err := b.ReadFrom(strings.NewReader("more")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ReadFrom = %d, %v; want 0 and ENOSPC", n, err)
	}
	if got := string(b.Bytes()); got != "what was written before" {
		t.Errorf("after the failure the buffer holds %q", got)
	}
	b.file = good
	mustWrite(t, b, ", and after")
	if got := string(b.Bytes()); got != "what was written before, and after" {
		t.Errorf("with space again the buffer holds %q", got)
	}
	b.file = full
	if err := errors.Join(b.Close(), good.Close()); err != nil {
		t.Error(err)
	}
}

func TestBufferReportsTheReadersError(t *testing.T) {
	broken := errors.New("connection lost")
	for _, memory := range []int64{4, DefaultMemory} {
		b := NewBuffer(t.TempDir(), memory)
		n, err := b.ReadFrom(io.MultiReader(strings.NewReader("half a message"), iotest.ErrReader(broken)))
		if n != 14 || !errors.Is(err, broken) {
			t.Errorf("memory %d: ReadFrom = %d, %v", memory, n, err)
		}
		_ = b.Close()
	}
}

func TestBufferLivesAsLongAsAHolder(t *testing.T) {
	for _, memory := range []int64{0, DefaultMemory} {
		b := NewBuffer(t.TempDir(), memory)
		mustWrite(t, b, "kept")
		b.Retain()
		_ = b.Close()
		if got := string(b.Bytes()); got != "kept" {
			t.Fatalf("memory %d: after one of two holders left: %q", memory, got)
		}
		_ = b.Close()
		if got := b.Bytes(); got != nil {
			t.Errorf("memory %d: after the last left: %q", memory, got)
		}
		if err := b.Close(); err != nil {
			t.Errorf("memory %d: another Close: %v", memory, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("memory %d: Write after Close: %v", memory, err)
		}
		if _, err := b.ReadFrom(strings.NewReader("x")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("memory %d: ReadFrom after Close: %v", memory, err)
		}
	}
}

func TestBufferReset(t *testing.T) {
	b := NewBuffer(t.TempDir(), 8)
	defer b.Close()
	for _, s := range []string{"short", "longer than the memory", "short", ""} {
		mustWrite(t, b, s)
		if got := string(b.Bytes()); got != s {
			t.Errorf("got %q, want %q", got, s)
		}
		if err := b.Reset(); err != nil {
			t.Error(err)
		}
	}
}

// TestBuffersDoNotShareMemory has many buffers in use at the same time, all taking from the same pools.
func TestBuffersDoNotShareMemory(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				want := octets((g*50+i)*997%300_000, uint64(g*50+i))
				b := NewBuffer(dir, 128<<10)
				if err := writeChunks(b, want, 10_007); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(b.Bytes(), want) {
					t.Errorf("buffer %d/%d holds something else", g, i)
				}
				_ = b.Close()
			}
		})
	}
	wg.Wait()
}

func BenchmarkBuffer(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"4KB", 4 << 10}, {"10KB", 10 << 10}, {"1MB", 1 << 20}, {"10MB", 10 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			data := octets(32<<10, 1)
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			dir := b.TempDir()
			for b.Loop() {
				buf := NewBuffer(dir, DefaultMemory)
				for left := size.n; left > 0; left -= len(data) {
					if _, err := buf.Write(data[:min(left, len(data))]); err != nil {
						b.Fatal(err)
					}
				}
				_ = buf.Bytes()
				_ = buf.Close()
			}
		})
	}
}

// Buffers that share a budget go to their files when it is used up, and leave it as they found it.
func TestBudget(t *testing.T) {
	budget := NewBudget(1 << 20)
	content := bytes.Repeat([]byte("0123456789abcdef"), 300<<10/16) // takes a chunk of 1 MiB in the end, and one of 256 KiB on the way
	var buffers []*Buffer
	inFile := 0
	for range 5 {
		b := NewBuffer(t.TempDir(), DefaultMemory).Share(budget)
		buffers = append(buffers, b)
		for part := range slices.Chunk(content, 10_000) {
			if _, err := b.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(b.Bytes(), content) {
			t.Fatal("the content is another")
		}
		if b.InFile() {
			inFile++
		}
		if used := budget.Used(); used > 1<<20 {
			t.Fatalf("%d octets of the budget are in use", used)
		}
	}
	if inFile == 0 {
		t.Error("all are in memory")
	}
	small := NewBuffer(t.TempDir(), DefaultMemory).Share(budget)
	others := 1<<20 - budget.Used()
	budget.take(others)
	if _, err := small.Write(content[:16<<10]); err != nil || small.InFile() {
		t.Errorf("a small message: in a file %v, error %v", small.InFile(), err)
	}
	if n, err := small.ReadFrom(bytes.NewReader(content)); n != int64(len(content)) || err != nil || !small.InFile() {
		t.Errorf("%d octets more: in a file %v, error %v", n, small.InFile(), err)
	}
	if !bytes.Equal(small.Bytes()[16<<10:], content) {
		t.Error("the content that was read is another")
	}
	for _, b := range append(buffers, small) {
		b.Close()
	}
	if budget.Used() != others {
		t.Errorf("%d octets in use after all were closed, want %d", budget.Used(), others)
	}
}
