package directory

import "slices"

const pageSize = 1024

// paged is a persistent array: a change copies one page and shares the rest.
type paged[T any] struct {
	pages [][]T // each with pageSize elements
	n     int
}

func (p *paged[T]) at(i uint32) T { return p.pages[i/pageSize][i%pageSize] }

// pagedEdit is an array being changed.
type pagedEdit[T any] struct {
	paged[T]
	owned []bool
}

func (p paged[T]) edit() pagedEdit[T] {
	p.pages = slices.Clone(p.pages)
	return pagedEdit[T]{paged: p, owned: make([]bool, len(p.pages))}
}

func (p *pagedEdit[T]) set(i uint32, v T) {
	page := i / pageSize
	if !p.owned[page] {
		p.pages[page] = slices.Clone(p.pages[page])
		p.owned[page] = true
	}
	p.pages[page][i%pageSize] = v
}

// add appends v and gives its place.
func (p *pagedEdit[T]) add(v T) uint32 {
	if p.n%pageSize == 0 {
		p.pages = append(p.pages, make([]T, pageSize))
		p.owned = append(p.owned, true)
	}
	p.n++
	p.set(uint32(p.n-1), v)
	return uint32(p.n - 1)
}
