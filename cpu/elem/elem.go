//go:build !purego

// Package elem goes through a slice by pointer, for loops in which an index and its
// bound would cost as much as what is done with the element.
package elem

import "unsafe"

// Next is the element after *p, which is one of s and not its last.
//
// That is what makes the conversion safe: the result points into the array of s,
// which it keeps alive as p did. In the twin, built with the tag purego, a p that is
// no such element ends the program.
func Next[T any](_ []T, p *T) *T { return (*T)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) }

// Index is the place of *p, which is one of s: the difference of two addresses in
// one array, which no collection moves.
func Index[T any](s []T, p *T) int {
	return int((uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(unsafe.SliceData(s)))) / unsafe.Sizeof(*p))
}
