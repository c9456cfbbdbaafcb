package insn

import "godwit/cpu"

// rng is splitmix64. Corpora depend on its numbers and on everything in this
// file: a change makes them worthless.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n is a number below k.
func (r *rng) n(k int) int { return int(r.next() >> 33 % uint64(k)) }

// pick is one of a list's values.
func pick[T any](r *rng, list []T) T { return list[r.n(len(list))] }

var edges = []uint64{
	0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
	0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa,
	0x0123456789abcdef, 0x8080808080808080, 0x7f7f7f7f7f7f7f7f, 0x00ff00ff00ff00ff, 0x8000800080008000, 0x7fff7fff7fff7fff,
}

// integer is rich in edge cases.
func (r *rng) integer() uint64 {
	switch r.n(8) {
	case 0, 1:
		return pick(r, edges)
	case 2:
		return -pick(r, edges)
	case 3:
		return 1<<r.n(64) + uint64(r.n(3)) - 1
	case 4:
		return r.next() >> r.n(64)
	case 5:
		return -(r.next() >> r.n(64))
	}
	return r.next()
}

// float is the bits of a number with eb exponent and mb fraction bits.
func (r *rng) float(eb, mb uint) uint64 {
	bias, top := uint64(1)<<(eb-1)-1, uint64(1)<<eb-1
	sign, frac := uint64(r.n(2))<<(eb+mb), r.next()>>(64-mb)
	exp := bias
	switch r.n(16) {
	case 0:
		return sign // zero
	case 1:
		return sign | top<<mb // infinity
	case 2:
		return sign | top<<mb | 1<<(mb-1) | frac
	case 3:
		return sign | top<<mb | frac>>1 | 1
	case 4:
		return sign | frac>>r.n(int(mb)) // denormal
	case 5:
		exp = pick(r, []uint64{1, 2, top - 1, top - 2})
	case 6:
		exp = r.next() % top
	case 7, 8:
		frac = pick(r, []uint64{0, 1, 1<<mb - 1, 1 << (mb - 1)})
		exp += uint64(r.n(5)) - 2
	case 9, 10:
		exp += uint64(r.n(70)) - 5
	default:
		exp += uint64(r.n(20)) - 10
	}
	return sign | exp%top<<mb | frac&(1<<mb-1)
}

// qword is a quadword of integers or floats; kind tells which.
func (r *rng) qword(kind int) uint64 {
	switch kind {
	case 0:
		return r.integer()
	case 1:
		return r.float(8, 23) | r.float(8, 23)<<32
	case 2:
		return r.float(11, 52)
	case 3: // small bytes with zeros: text
		a, b := r.next(), r.next()
		return a & b & 0x0707070707070707
	}
	return r.next()
}

func (r *rng) bytes(n int) []byte {
	b := make([]byte, 0, n)
	for kind := r.n(5); len(b) < n; {
		if len(b)%16 == 0 && r.n(3) == 0 {
			kind = r.n(5)
		}
		for q, i := r.qword(kind), 0; i < 8; i++ {
			b = append(b, byte(q>>(8*i)))
		}
	}
	return b[:n]
}

// stateOf is a random state of user mode.
func stateOf(seed uint64) (s State, mem []Window) {
	r := rng(seed)
	r.next()
	for i := range s.R {
		s.R[i] = r.integer()
	}
	s.R[cpu.RSP] = stackTop
	s.RFLAGS = r.next() & 0x8d5
	if r.n(8) == 0 {
		s.RFLAGS |= 1 << 10
	}
	s.MXCSR = uint32(0x1f80 | r.n(4)<<13)
	switch r.n(6) {
	case 0:
		s.MXCSR |= uint32(r.n(64)) | uint32(r.n(2))<<15 | uint32(r.n(2))<<6
	case 1:
		s.MXCSR = uint32(r.n(0x10000)) // some unmasked
	}
	s.FCW, s.FSW, s.FTW = 0x37f, uint16(r.n(8))<<11, uint8(r.n(256))
	for i := range s.ST {
		s.ST[i] = cpu.F80{Mant: r.qword(r.n(3)), SE: uint16(r.next())}
	}
	kind := r.n(5)
	for i := range s.V {
		if r.n(4) == 0 {
			kind = r.n(5)
		}
		for k := range s.V[i] {
			s.V[i][k] = r.qword(kind)
		}
	}
	return s, []Window{{DataBase + dataAt, r.bytes(dataLen)}, {StackBase + stackAt, r.bytes(stackLen)}}
}
