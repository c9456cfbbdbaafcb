package migrate

import "math/bits"

// bitmap has a bit for each page.
type bitmap []uint64

func newBitmap(pages uint32) bitmap { return make(bitmap, (int(pages)+63)/64) }

func (b bitmap) has(p uint32) bool { return b[p>>6]>>(p&63)&1 != 0 }
func (b bitmap) set(p uint32)      { b[p>>6] |= 1 << (p & 63) }
func (b bitmap) clear(p uint32)    { b[p>>6] &^= 1 << (p & 63) }

func (b bitmap) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// next is the first page set from p on.
func (b bitmap) next(p uint32) (uint32, bool) {
	i := int(p >> 6)
	if i >= len(b) {
		return 0, false
	}
	w := b[i] &^ (1<<(p&63) - 1)
	for w == 0 {
		if i++; i == len(b) {
			return 0, false
		}
		w = b[i]
	}
	return uint32(i)<<6 + uint32(bits.TrailingZeros64(w)), true
}
