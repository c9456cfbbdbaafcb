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
	gen       uint64
	cached    map[uint32]bool // pages the engine may store to without asking
	stalls    int
}

type modelConsumer struct {
	c     *Consumer
	dirty map[uint32]bool
}

type modelEpoch struct {
	e       *Epoch
	pool    int
	then    []byte
	touched map[uint32]bool // written since
	held    map[uint32]bool // of these, with a pre-image
	done    map[uint32]bool
}

const modelPages = 131

func newModel(t *testing.T, seed uint64) *model {
	return &model{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), m: newTest(t, modelPages*PageSize),
		ram: make([]byte, modelPages*PageSize), written: map[uint32]bool{}, cached: map[uint32]bool{},
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

// mayWrite: no pool is too full for this page.
func (d *model) mayWrite(p uint32) bool {
	return !slices.ContainsFunc(d.epochs, func(e *modelEpoch) bool {
		return d.written[p] && !e.touched[p] && !e.done[p] && len(e.held) >= e.pool
	})
}

func (d *model) noteWrite(p uint32) {
	for _, e := range d.epochs {
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
		ok := d.m.Flags(p)&FlagClean == 0 || d.m.Touch(p)
		require.Equal(d.t, d.mayWrite(p), ok, "page %d", p)
		if !ok {
			d.stalls++
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
	want := true
	for n := 0; len(b) != 0 && want; at, b = at+n, b[n:] {
		p := uint32(at / PageSize)
		n = min(len(b), PageSize-at%PageSize)
		if want = d.mayWrite(p); want {
			d.noteWrite(p)
			copy(d.ram[at:], b[:n])
		}
	}
	require.Equal(d.t, want, got)
}

func (d *model) consumer() {
	switch n := len(d.consumers); {
	case n < 3:
		d.consumers = append(d.consumers, &modelConsumer{d.m.Consumer("model"), map[uint32]bool{}})
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
		pool := d.r.IntN(12)
		d.epochs = append(d.epochs, &modelEpoch{
			e: d.m.Epoch(pool), pool: pool, then: bytes.Clone(d.ram),
			touched: map[uint32]bool{}, held: map[uint32]bool{}, done: map[uint32]bool{},
		})
		return
	}
	i := d.r.IntN(len(d.epochs))
	if d.r.IntN(20) == 0 {
		d.epochs[i].e.Close()
		d.epochs = slices.Delete(d.epochs, i, i+1)
		return
	}
	d.look(d.epochs[i], d.page())
}

// look compares all that an epoch tells about a page, and may be done with it.
func (d *model) look(e *modelEpoch, p uint32) {
	require.Equal(d.t, len(e.held), e.e.Held())
	if e.done[p] {
		require.Equal(d.t, ^uint64(0), e.e.Changed64(p))
		return
	}
	then, now := pageOf(e.then, p), pageOf(d.ram, p)
	require.True(d.t, bytes.Equal(then, epochPage(e.e, p)), "page %d", p)
	require.Equal(d.t, leafOf((*[PageSize]byte)(then)), e.e.Leaf(p))
	if !e.e.Present(p) {
		require.True(d.t, bytes.Equal(then, zeroPage[:]))
	}
	var lines uint64
	for i := range 64 {
		if !bytes.Equal(then[i*64:i*64+64], now[i*64:i*64+64]) {
			lines |= 1 << i
		}
	}
	require.Equal(d.t, lines, e.e.Changed64(p))
	if d.r.IntN(3) == 0 {
		e.e.Done(p)
		e.done[p] = true
		delete(e.held, p)
	}
}

func (d *model) leaves() {
	for p, l := range d.m.Leaves() {
		require.Equal(d.t, leafOf((*[PageSize]byte)(pageOf(d.ram, uint32(p)))), l, "page %d", p)
		require.Equal(d.t, d.written[uint32(p)], d.m.Present(uint32(p)))
	}
}

func TestAgainstModel(t *testing.T) {
	stalls := 0
	for seed := range uint64(8) {
		d := newModel(t, seed)
		for range 4000 {
			switch n := d.r.IntN(1000); {
			case n < 600:
				d.store()
			case n < 700:
				d.dma()
			case n < 760:
				d.consumer()
			case n < 998:
				d.epoch()
			default:
				d.leaves()
			}
		}
		d.leaves()
		require.True(t, bytes.Equal(d.ram, d.m.Bytes()))
		stalls += d.stalls
	}
	assert.Greater(t, stalls, 100, "full pools were met")
}
