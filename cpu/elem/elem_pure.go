//go:build purego

package elem

// Next is the element after *p, which is one of s and not its last.
func Next[T any](s []T, p *T) *T { return &s[Index(s, p)+1] }

// Index is the place of *p, which is one of s.
func Index[T any](s []T, p *T) int {
	for i := range s {
		if &s[i] == p {
			return i
		}
	}
	panic("elem: no element of the slice")
}
