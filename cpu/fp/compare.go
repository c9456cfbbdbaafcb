package fp

// Relation is the outcome of a comparison.
type Relation uint8

// Relations of the first operand to the second.
const (
	Less Relation = iota
	Equal
	Greater
	Unordered // at least one is a NaN
)

// relation compares two operands that are not NaNs.
func relation(x, y num) Relation {
	switch {
	case x.cls == clsZero && y.cls == clsZero:
		return Equal
	case x.neg != y.neg:
		return pick(x.neg)
	}
	switch magnitude(x, y) {
	case Equal:
		return Equal
	case Less:
		return pick(!x.neg)
	}
	return pick(x.neg)
}

func pick(less bool) Relation {
	if less {
		return Less
	}
	return Greater
}

// magnitude compares the magnitudes of x and y.
func magnitude(x, y num) Relation {
	rank := func(c class) int { // zeros, finite numbers, infinities
		return int(c&clsInf) - int(c&clsZero)
	}
	if a, b := rank(x.cls), rank(y.cls); a != b {
		return pick(a < b)
	}
	switch {
	case x.cls&(clsInf|clsZero) != 0:
		return Equal
	case x.exp != y.exp:
		return pick(x.exp < y.exp)
	case x.sig != y.sig:
		return pick(x.sig < y.sig)
	}
	return Equal
}

// compare relates a to b. Signalling comparisons raise IE for quiet NaNs too.
func (f *format) compare(e *Env, a, b uint64, signalling bool) Relation {
	if ea, eb := a&f.inf, b&f.inf; ea != 0 && ea != f.inf && eb != 0 && eb != f.inf {
		return f.order(a, b)
	}
	x, y := f.unpack(e, a), f.unpack(e, b)
	if c := x.cls | y.cls; c != clsNormal {
		if c&clsNaN != 0 {
			if signalling || c&clsSNaN != 0 {
				e.Flags |= IE
			}
			return Unordered
		}
		e.denormal(c)
	}
	return relation(x, y)
}

// order compares normal numbers, whose magnitudes are ordered like integers.
func (f *format) order(a, b uint64) Relation {
	switch {
	case a == b:
		return Equal
	case (a^b)&f.sign != 0:
		return pick(a&f.sign != 0)
	}
	return pick(a < b != (a&f.sign != 0))
}

// predicates gives, for each CMPPS immediate below 16, the relations it holds
// for, as bits, and whether it signals for quiet NaNs. The upper 16 hold for
// the same relations and signal where these do not [SDM 2 CMPPD table 3-1].
var predicates = [16]struct {
	holds      uint8
	signalling bool
}{
	{eq, false},           // EQ_OQ
	{lt, true},            // LT_OS
	{lt | eq, true},       // LE_OS
	{un, false},           // UNORD_Q
	{lt | gt | un, false}, // NEQ_UQ
	{eq | gt | un, true},  // NLT_US
	{gt | un, true},       // NLE_US
	{lt | eq | gt, false}, // ORD_Q
	{eq | un, false},      // EQ_UQ
	{lt | un, true},       // NGE_US
	{lt | eq | un, true},  // NGT_US
	{0, false},            // FALSE_OQ
	{lt | gt, false},      // NEQ_OQ
	{eq | gt, true},       // GE_OS
	{gt, true},            // GT_OS
	{lt | eq | gt | un, false},
}

const (
	lt = 1 << Less
	eq = 1 << Equal
	gt = 1 << Greater
	un = 1 << Unordered
)

func (f *format) predicate(e *Env, a, b uint64, imm uint8) bool {
	p := &predicates[imm&15]
	r := f.compare(e, a, b, p.signalling != (imm&16 != 0))
	return p.holds>>r&1 != 0
}

// min2 is the operand b unless a is less (or, for the maximum, greater). Why:
// for NaNs and for two zeros b is the result, whatever it is [SDM 2 MINPS].
func (f *format) min2(e *Env, a, b uint64, want Relation) uint64 {
	r := f.compare(e, a, b, true)
	if r == want {
		b = a
	}
	if e.DAZ && b&f.inf == 0 {
		b &= f.sign // denormals are zeros
	}
	return b
}

// Compare32 relates a to b; it raises IE for SNaNs, and for QNaNs too if
// signalling is set [SDM 2 COMISS, UCOMISS].
func Compare32(e *Env, a, b uint32, signalling bool) Relation {
	return f32.compare(e, uint64(a), uint64(b), signalling)
}

// Compare64 relates a to b like [Compare32] [SDM 2 COMISD, UCOMISD].
func Compare64(e *Env, a, b uint64, signalling bool) Relation {
	return f64.compare(e, a, b, signalling)
}

// Predicate32 says if the CMPSS predicate imm holds for a and b. SSE encodes
// only the first 8 of the 32 [SDM 2 CMPSS].
func Predicate32(e *Env, a, b uint32, imm uint8) bool {
	return f32.predicate(e, uint64(a), uint64(b), imm)
}

// Predicate64 says if the CMPSD predicate imm holds for a and b [SDM 2 CMPSD].
func Predicate64(e *Env, a, b uint64, imm uint8) bool { return f64.predicate(e, a, b, imm) }

// Min32 is the lesser of a and b; b if one is a NaN or both are zeros [SDM 2 MINSS].
func Min32(e *Env, a, b uint32) uint32 {
	return uint32(f32.min2(e, uint64(a), uint64(b), Less))
}

// Max32 is the greater of a and b; b if one is a NaN or both are zeros [SDM 2 MAXSS].
func Max32(e *Env, a, b uint32) uint32 {
	return uint32(f32.min2(e, uint64(a), uint64(b), Greater))
}

// Min64 is the lesser of a and b; b if one is a NaN or both are zeros [SDM 2 MINSD].
func Min64(e *Env, a, b uint64) uint64 { return f64.min2(e, a, b, Less) }

// Max64 is the greater of a and b; b if one is a NaN or both are zeros [SDM 2 MAXSD].
func Max64(e *Env, a, b uint64) uint64 { return f64.min2(e, a, b, Greater) }
