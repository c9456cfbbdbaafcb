package mem

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// model is guest memory told naively: a copy of everything for every epoch, a
// set of pages for every consumer.
type model struct {
	t         *testing.T
	r         *rand.Rand
	m         *Memory
	ram       []byte
	written   map[uint32]bool
	consumers []*modelConsumer
	epochs    []*modelEpoch
	absent    map[uint32]bool // ram has what is promised
	gen       uint64
	cached    map[uint32]bool // pages the engine may store to without asking
	stalls    [4]int          // by Why
	bases     int
}

type modelConsumer struct {
	c      *Consumer
	dirty  map[uint32]bool
	budget int
}

type modelEpoch struct {
	e       *Epoch
	pool    int
	then    []byte
	touched map[uint32]bool // written since
	held    map[uint32]bool // of these, with a pre-image that is needed
	done    map[uint32]bool // not to be read (again)
	zero    map[uint32]bool // never written before
	pass    bool
	frozen  bool
}

const modelPages = 131

func newModel(t *testing.T, seed uint64) *model {
	return &model{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), m: newTest(t, modelPages*PageSize),
		ram: make([]byte, modelPages*PageSize), written: map[uint32]bool{}, cached: map[uint32]bool{},
		absent: map[uint32]bool{},
	}
}

// page prefers a few pages, so that they meet everything.
func (d *model) page() uint32 {
	if d.r.IntN(2) == 0 {
		return []uint32{0, 1, 63, 64, 127, 128, 130}[d.r.IntN(7)]
	}
	return uint32(d.r.IntN(modelPages))
}

func pageOf(b []byte, p uint32) []byte { return b[p*PageSize : (p+1)*PageSize] }

// refusal is why the page must not be written now; 0: it may.
func (d *model) refusal(p uint32) Why {
	switch {
	case d.absent[p]:
		return PageAbsent
	case slices.ContainsFunc(d.consumers, func(c *modelConsumer) bool {
		return c.budget >= 0 && !c.dirty[p] && len(c.dirty) >= c.budget
	}):
		return BudgetSpent
	case slices.ContainsFunc(d.epochs, func(e *modelEpoch) bool {
		return d.written[p] && !e.frozen && !e.touched[p] && !e.done[p] && len(e.held) >= e.pool
	}):
		return PoolFull
	}
	return 0
}

// expect compares whether memory took a write with whether it should.
func (d *model) expect(p uint32, took bool) bool {
	why := d.refusal(p)
	require.Equal(d.t, why == 0, took, "page %d: %v", p, why)
	if why != 0 {
		require.Equal(d.t, why, d.m.Refused().Why)
		require.Equal(d.t, p, d.m.Refused().Page)
		d.stalls[why]++
	}
	return took
}

func (d *model) noteWrite(p uint32) {
	for _, e := range d.epochs {
		if e.frozen {
			continue
		}
		if d.written[p] && !e.touched[p] && !e.done[p] {
			e.held[p] = true
		}
		e.touched[p] = true
	}
	for _, c := range d.consumers {
		c.dirty[p] = true
	}
	d.written[p] = true
}

// store is an engine's: at once if it remembers that it may, else after Touch.
func (d *model) store() {
	p, o := d.page(), uint64(d.r.IntN(PageSize/8)*8)
	if d.gen != d.m.Gen() {
		d.gen = d.m.Gen()
		clear(d.cached)
	}
	if !d.cached[p] {
		if !d.expect(p, d.m.Flags(p)&FlagClean == 0 || d.m.Touch(p)) {
			return
		}
		d.cached[p] = true
	}
	d.noteWrite(p)
	v := d.r.Uint64N(4)
	Store64(d.m.Bytes(), uint64(p)*PageSize+o, v)
	Store64(d.ram, uint64(p)*PageSize+o, v)
}

// dma writes up to three pages' worth.
func (d *model) dma() {
	at := min(int(d.page())*PageSize+d.r.IntN(PageSize), len(d.ram)-1)
	b := bytes.Repeat([]byte{byte(d.r.IntN(3))}, min(1+d.r.IntN(2*PageSize), len(d.ram)-at))
	got := d.m.Write(uint64(at), b)
	for n := 0; len(b) != 0; at, b = at+n, b[n:] {
		p := uint32(at / PageSize)
		n = min(len(b), PageSize-at%PageSize)
		if d.refusal(p) != 0 {
			d.expect(p, got)
			return
		}
		d.noteWrite(p)
		copy(d.ram[at:], b[:n])
	}
	require.True(d.t, got)
}

// read is a device's.
func (d *model) read() {
	at := min(int(d.page())*PageSize+d.r.IntN(PageSize), len(d.ram)-1)
	b := make([]byte, min(1+d.r.IntN(2*PageSize), len(d.ram)-at))
	want := true
	for p := at / PageSize; p <= (at+len(b)-1)/PageSize; p++ {
		want = want && !d.absent[uint32(p)]
	}
	require.Equal(d.t, want, d.m.Read(uint64(at), b))
	if want {
		require.True(d.t, bytes.Equal(d.ram[at:at+len(b)], b))
	}
}

// vanish makes a few pages absent. No epoch may be saving.
func (d *model) vanish() {
	if slices.ContainsFunc(d.epochs, func(e *modelEpoch) bool { return !e.frozen }) {
		require.Error(d.t, d.m.Absent(nil, nil))
		return
	}
	set := make([]uint64, (modelPages+63)/64)
	for range 1 + d.r.IntN(12) {
		p := d.page()
		set[p>>6] |= 1 << (p & 63)
		b := pageOf(d.ram, p)
		for i := range b {
			b[i] = byte(d.r.IntN(2)) * byte(i)
		}
		if d.r.IntN(4) == 0 {
			clear(b)
			delete(d.absent, p)
		} else {
			d.absent[p], d.written[p] = true, true
		}
	}
	require.NoError(d.t, d.m.Absent(set, func(p uint32) [16]byte { return leafOf((*[PageSize]byte)(pageOf(d.ram, p))) }))
}

// fill brings one absent page, after a wrong one for it.
func (d *model) fill() {
	require.Equal(d.t, len(d.absent), d.m.Missing())
	p := d.page()
	content := bytes.Clone(pageOf(d.ram, p))
	require.Equal(d.t, !d.absent[p], d.m.Here(p))
	content[5] ^= 1
	if d.absent[p] {
		require.ErrorIs(d.t, d.m.Fill(p, content), ErrLeaf)
	} else {
		require.NoError(d.t, d.m.Fill(p, content), "a page that is here stays as it is")
	}
	content[5] ^= 1
	require.NoError(d.t, d.m.Fill(p, content))
	delete(d.absent, p)
}

func (d *model) budget() {
	if n := len(d.consumers); n != 0 {
		c := d.consumers[d.r.IntN(n)]
		c.budget = []int{-1, -1, 0, 3, 20}[d.r.IntN(5)]
		c.c.SetBudget(c.budget)
	}
}

func (d *model) consumer() {
	switch n := len(d.consumers); {
	case n < 3:
		d.consumers = append(d.consumers, &modelConsumer{d.m.Consumer("model"), map[uint32]bool{}, -1})
	case d.r.IntN(4) == 0:
		i := d.r.IntN(n)
		d.consumers[i].c.Release()
		d.consumers = slices.Delete(d.consumers, i, i+1)
	default:
		c := d.consumers[d.r.IntN(n)]
		require.Equal(d.t, len(c.dirty), c.c.Count())
		require.Equal(d.t, slices.Sorted(maps.Keys(c.dirty)), pagesOf(c.c.Harvest(nil)))
		clear(c.dirty)
	}
}

func (d *model) epoch() {
	if len(d.epochs) < 3 {
		d.epochs = append(d.epochs, d.open())
		return
	}
	i := d.r.IntN(len(d.epochs))
	e := d.epochs[i]
	switch d.r.IntN(20) {
	case 0:
		e.e.Close()
		d.epochs = slices.Delete(d.epochs, i, i+1)
	case 1:
		if e.pass && !e.frozen {
			e.e.Freeze()
			e.frozen = true
		}
	default:
		d.look(e, d.page())
	}
}

// open opens an epoch, or a pass that needs some pages.
func (d *model) open() *modelEpoch {
	e := &modelEpoch{
		pool: d.r.IntN(12), then: bytes.Clone(d.ram), pass: d.r.IntN(2) == 0,
		touched: map[uint32]bool{}, held: map[uint32]bool{}, done: map[uint32]bool{}, zero: map[uint32]bool{},
	}
	need := make([]uint64, (modelPages+63)/64)
	for p := range uint32(modelPages) {
		e.zero[p] = !d.written[p]
		if e.pass && d.r.IntN(2) == 0 {
			e.done[p] = true
		} else {
			need[p>>6] |= 1 << (p & 63)
		}
	}
	if e.pass {
		e.e = d.m.Pass(e.pool, need)
	} else {
		e.e = d.m.Epoch(e.pool)
	}
	return e
}

// look compares all that an epoch tells about a page, and may be done with it.
func (d *model) look(e *modelEpoch, p uint32) {
	held := e.e.Held()
	require.GreaterOrEqual(d.t, held, len(e.held))
	require.LessOrEqual(d.t, held, e.pool)
	if !e.pass {
		require.Equal(d.t, len(e.held), held)
	}
	then, now := pageOf(e.then, p), pageOf(d.ram, p)
	d.lookBase(e, p, then)
	if e.done[p] {
		d.lookDone(e, p, then, now)
		return
	}
	if e.frozen {
		return
	}
	if !e.e.Here(p) {
		require.True(d.t, d.absent[p])
		require.Equal(d.t, leafOf((*[PageSize]byte)(then)), e.e.Leaf(p))
		return
	}
	require.True(d.t, bytes.Equal(then, epochPage(e.e, p)), "page %d", p)
	require.Equal(d.t, leafOf((*[PageSize]byte)(then)), e.e.Leaf(p))
	if !e.e.Present(p) {
		require.True(d.t, bytes.Equal(then, zeroPage[:]))
	}
	require.Equal(d.t, linesOf(then, now), e.e.Changed64(p))
	if d.r.IntN(3) == 0 {
		if e.pass {
			e.e.Sent(p)
			e.e.Sent(p)
		} else {
			e.e.Done(p)
		}
		e.done[p] = true
		delete(e.held, p)
	}
}

func linesOf(then, now []byte) (lines uint64) {
	for i := range 64 {
		if !bytes.Equal(then[i*64:i*64+64], now[i*64:i*64+64]) {
			lines |= 1 << i
		}
	}
	return lines
}

// lookDone: of what is not to be read any more a pass knows what changed as long as it
// keeps pre-images, and of what was not written in any case.
func (d *model) lookDone(e *modelEpoch, p uint32, then, now []byte) {
	got := e.e.Changed64(p)
	switch {
	case !e.pass || e.frozen:
		require.Equal(d.t, ^uint64(0), got)
	case !e.touched[p]:
		require.Zero(d.t, got)
	case got != ^uint64(0):
		require.Equal(d.t, linesOf(then, now), got)
	}
}

// lookBase: what is kept is what was there; kept it may be only in a frozen pass,
// of a page that was written since and is not owed any more.
func (d *model) lookBase(e *modelEpoch, p uint32, then []byte) {
	var b [PageSize]byte
	ok := e.e.Base(p, &b)
	if !e.frozen || !e.touched[p] || !e.done[p] {
		require.False(d.t, ok)
		return
	}
	if e.zero[p] {
		require.True(d.t, ok, "costs no room")
	}
	if ok {
		d.bases++
		require.True(d.t, bytes.Equal(then, b[:]), "base of page %d", p)
	}
}

func (d *model) leaves() {
	for p, l := range d.m.Leaves() {
		require.Equal(d.t, leafOf((*[PageSize]byte)(pageOf(d.ram, uint32(p)))), l, "page %d", p)
		require.Equal(d.t, d.written[uint32(p)], d.m.Present(uint32(p)))
	}
}

func TestAgainstModel(t *testing.T) {
	var stalls [4]int
	bases := 0
	for seed := range uint64(8) {
		d := newModel(t, seed)
		d.m.SetParanoid(seed < 2)
		for range 4000 {
			switch n := d.r.IntN(1000); {
			case n < 550:
				d.store()
			case n < 640:
				d.dma()
			case n < 660:
				d.read()
			case n < 720:
				d.consumer()
			case n < 740:
				d.budget()
			case n < 760:
				d.fill()
			case n < 765:
				d.vanish()
			case n < 998:
				d.epoch()
			default:
				d.leaves()
			}
		}
		d.leaves()
		for len(d.absent) != 0 {
			d.fill()
		}
		d.leaves()
		require.NoError(t, d.m.Check())
		require.True(t, bytes.Equal(d.ram, d.m.Bytes()))
		for i, n := range d.stalls {
			stalls[i] += n
		}
		bases += d.bases
	}
	for why := PoolFull; why <= PageAbsent; why++ {
		assert.Greater(t, stalls[why], 100, "%v", why)
	}
	assert.Greater(t, bases, 100)
}
