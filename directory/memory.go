package directory

import (
	"runtime"
	"syscall"
	"unsafe"
)

// hugePage is the size of the processor's large pages. Memory of which a lookup reads any line at all is best in those: else finding the page costs
// as much again as reading the line.
const hugePage = 2 << 20

// region is memory for the bulk of a large view: outside of Go's heap, so that the collector's pace is that of the rest of the process, which is
// small, and in large pages where the system has them. It is given back when nothing refers to the region any more. Slices of it do not keep
// it: whoever reads them must hold on to the region, or to the view that has it ([runtime.KeepAlive]).
type region struct {
	b       []byte
	mapped  []byte // nil: b is of Go's heap
	cleanup runtime.Cleanup
}

// newRegion gives size bytes of zeros. Memory that the system refuses to map, and what is smaller than a large page, comes from Go's heap.
func newRegion(size int) *region {
	if size < hugePage {
		return &region{b: make([]byte, size)}
	}
	mapped, err := syscall.Mmap(-1, 0, size+hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return &region{b: make([]byte, size)}
	}
	// What lies before and behind the aligned part is never touched, and so takes no memory.
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(mapped))) & (hugePage - 1))
	r := &region{b: mapped[start : start+size : start+size]}
	// The end stays in small pages, so that it takes no more memory than it has. Systems without large pages refuse, which is fine.
	_ = syscall.Madvise(r.b[:size&^(hugePage-1)], syscall.MADV_HUGEPAGE)
	r.cleanup, r.mapped = runtime.AddCleanup(r, unmap, mapped), mapped
	return r
}

// newScratch gives size bytes of zeros for a short time, in small pages: much of it may never be written. What is small comes from Go's heap.
func newScratch(size int) *region {
	if size < 1<<16 {
		return &region{b: make([]byte, size)}
	}
	mapped, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return &region{b: make([]byte, size)}
	}
	r := &region{b: mapped, mapped: mapped}
	r.cleanup = runtime.AddCleanup(r, unmap, mapped)
	return r
}

func unmap(mapped []byte) { _ = syscall.Munmap(mapped) }

// free gives the memory back at once. Nobody may read it any more.
func (r *region) free() {
	if r.mapped != nil {
		r.cleanup.Stop()
		unmap(r.mapped)
	}
	*r = region{}
}

// slots gives the region as slots of a table.
func (r *region) slots() []slot {
	return unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(r.b))), len(r.b)/8)
}
