package native

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The corpus is cases with the results of a processor, for hosts that are none.
// A case is written as bytes: registers that come from a short list of values as
// indices, results as what changed. Everything is little-endian varints, then
// compressed.

var errCorpus = errors.New("corpus: truncated or malformed")

type writer struct{ b []byte }

func (w *writer) num(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// val writes a number: the ones that the generator favours as one byte.
func (w *writer) val(v uint64) {
	if i, ok := edgeIndex[v]; ok {
		w.num(uint64(i) + 1)
		return
	}
	w.num(0)
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
}

var edgeIndex = func() map[uint64]int {
	m := map[uint64]int{}
	for i, v := range edges {
		if _, ok := m[v]; !ok {
			m[v] = i
		}
	}
	return m
}()

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) num() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) val() uint64 {
	i := r.num()
	switch {
	case i > uint64(len(edges)):
		r.bad = true
		return 0
	case i > 0:
		return edges[i-1]
	case len(r.b) < 8:
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes reads n bytes, at most most.
func (r *reader) bytes(most uint64) []byte {
	n := r.num()
	if n > most || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// addVec appends the vector and x87 state of a case, and what of it changed.
func (w *writer) addVec(c *Case, o *Result) {
	before, after := c.Vec.append(nil), o.Vec.append(nil)
	for i := range after {
		after[i] ^= before[i]
	}
	w.b = append(append(w.b, before...), after...)
}

func (r *reader) vec() (before, after *Vec) {
	if len(r.b) < 2*vecSize {
		r.bad, r.b = true, nil
		return nil, nil
	}
	b, a := r.b[:vecSize], append([]byte(nil), r.b[vecSize:2*vecSize]...)
	r.b = r.b[2*vecSize:]
	for i := range a {
		a[i] ^= b[i]
	}
	return readVec(b), readVec(a)
}

// add appends one case and its result. The result must be of the case.
func (w *writer) add(c *Case, o *Result) {
	w.num(uint64(len(c.Code)))
	w.b = append(w.b, c.Code...)
	for _, s := range c.Sel {
		w.num(uint64(s))
	}
	for _, v := range c.R {
		w.val(v)
	}
	w.num(c.RFLAGS)
	w.num(c.RIP)
	w.val(c.FSBase)
	w.val(c.GSBase)
	w.windows(c.Win)

	w.num(uint64(o.Trap))
	w.num(uint64(o.Err))
	w.num(o.CR2)
	for i, v := range o.R {
		w.num(v - c.R[i])
	}
	w.num(o.RFLAGS ^ c.RFLAGS)
	w.num(o.RIP - c.RIP)
	w.num(o.FSBase - c.FSBase)
	w.num(o.GSBase - c.GSBase)
	for i, s := range o.Sel {
		w.num(uint64(s ^ c.Sel[i]))
	}
	w.windows(o.Diff)
}

func (w *writer) windows(v []Window) {
	w.num(uint64(len(v)))
	for _, x := range v {
		w.num(x.Addr)
		w.val(x.Val)
	}
}

func (r *reader) next() (*Case, *Result) {
	c, o := &Case{Code: r.bytes(MaxCode)}, &Result{}
	for i := range c.Sel {
		c.Sel[i] = uint16(r.num())
	}
	for i := range c.R {
		c.R[i] = r.val()
	}
	c.RFLAGS, c.RIP, c.FSBase, c.GSBase = r.num(), r.num(), r.val(), r.val()
	c.Win = r.windows(MaxWin)
	o.Trap, o.Err, o.CR2 = int32(r.num()), uint32(r.num()), r.num()
	for i := range o.R {
		o.R[i] = c.R[i] + r.num()
	}
	o.RFLAGS = c.RFLAGS ^ r.num()
	o.RIP, o.FSBase, o.GSBase = c.RIP+r.num(), c.FSBase+r.num(), c.GSBase+r.num()
	for i := range o.Sel {
		o.Sel[i] = c.Sel[i] ^ uint16(r.num())
	}
	o.Diff = r.windows(1 << 12)
	return c, o
}

func (r *reader) windows(most uint64) []Window {
	n := r.num()
	if n > most || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := make([]Window, n)
	for i := range v {
		v[i] = Window{r.num(), r.val()}
	}
	return v
}

// WriteCorpus packs cases and results: with vector state, or without.
func WriteCorpus(cases []*Case, results []*Result) ([]byte, error) {
	var w writer
	for i := range cases {
		w.add(cases[i], results[i])
		if cases[i].Vec != nil {
			w.addVec(cases[i], results[i])
		}
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(w.b, nil), nil
}

// ReadCorpus calls f with each case; vec says that they have vector state.
func ReadCorpus(packed []byte, vec bool, f func(c *Case, want *Result) error) error {
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<28))
	if err != nil {
		return err
	}
	defer z.Close()
	b, err := z.DecodeAll(packed, nil)
	if err != nil {
		return fmt.Errorf("corpus: %w", err)
	}
	for r := (reader{b: b}); len(r.b) != 0; {
		c, o := r.next()
		if vec {
			c.Vec, o.Vec = r.vec()
		}
		if r.bad {
			return errCorpus
		}
		if err := f(c, o); err != nil {
			return err
		}
	}
	return nil
}
