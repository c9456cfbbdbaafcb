package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"godwit/migrate"
	"godwit/snapshot"
)

const pageSize = migrate.PageSize

// Program is what the guest does, for ever: it stores into an area of memory.
// What it has stored after n stores depends on nothing else.
type Program struct {
	Pages   uint32  // of memory
	Filled  uint32  // pages with content when it starts; beyond them memory was never written
	Area    uint32  // pages it writes to
	Rate    float64 // bytes stored a second
	Pattern string  // seq, random, byte (one a page), alternating (two contents in turn)
	Content string  // random, zero, text
	State   int     // bytes of device state
	Seed    uint64
}

// Patterns and Contents are what a Program can be made of.
var (
	Patterns = []string{"seq", "random", "byte", "alternating"}
	Contents = []string{"random", "zero", "text"}
)

// unit is how many bytes one store writes.
func (p *Program) unit() int {
	if p.Pattern == "byte" {
		return 1
	}
	return 64
}

// machine runs a Program. Time reaches it only through advance.
type machine struct {
	prog    Program
	mem     [][]byte // nil: never written
	count   uint64   // stores
	present uint32

	absent  []bool // post-copy
	leaf    func(uint32) [migrate.LeafSize]byte
	wanted  int64 // page; -1: none
	leaves  [][migrate.LeafSize]byte
	stale   []bool // leaves[p] is
	touched func(p uint32) bool
}

func newMachine(p Program, fill bool) *machine {
	m := &machine{prog: p, mem: make([][]byte, p.Pages), wanted: -1}
	m.leaves, m.stale = make([][migrate.LeafSize]byte, p.Pages), make([]bool, p.Pages)
	zero := snapshot.ZeroLeaf()
	for i := range m.leaves {
		m.leaves[i] = zero
	}
	for i := uint32(0); fill && i < p.Filled; i++ {
		b := m.page(i)
		switch i % 8 {
		case 0: // written with zeros
		case 1, 2:
			scribble(b, p.Seed+uint64(i), "random")
		case 3: // the same in many places
			scribble(b, p.Seed+3, "text")
		default:
			scribble(b, p.Seed+uint64(i), "text")
		}
	}
	return m
}

// page is a page's memory, made present.
func (m *machine) page(i uint32) []byte {
	if m.mem[i] == nil {
		m.mem[i] = make([]byte, pageSize)
		m.present++
	}
	m.stale[i] = true
	return m.mem[i]
}

func mix(x uint64) uint64 { // splitmix64
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func scribble(b []byte, seed uint64, content string) {
	switch content {
	case "zero":
		clear(b)
	case "text":
		copy(b, text[seed%words:])
		if len(b) >= 8 {
			binary.LittleEndian.PutUint64(b, seed)
		}
	default:
		for ; len(b) >= 8; b = b[8:] {
			seed = mix(seed)
			binary.LittleEndian.PutUint64(b, seed)
		}
		for i := range b {
			b[i] = byte(mix(seed) >> (8 * i))
		}
	}
}

const (
	sentence = "the godwit flies from alaska to new zealand without a stop. "
	words    = uint64(len(sentence))
)

// text is a page of words, from wherever one begins.
var text = strings.Repeat(sentence, pageSize/len(sentence)+2)

// store executes one store; false: it must wait.
func (m *machine) store() bool {
	p, n := &m.prog, m.count
	unit := uint64(p.unit())
	per := uint64(pageSize) / unit
	seed := p.Seed ^ n
	var page, off uint64
	switch p.Pattern {
	case "random":
		r := mix(seed)
		page, off = r%uint64(p.Area), (r>>32)%per*unit
	case "byte":
		page, off = n%uint64(p.Area), n/uint64(p.Area)%pageSize
	default: // seq, alternating
		page, off = n/per%uint64(p.Area), n%per*unit
		if p.Pattern == "alternating" {
			seed = p.Seed + n/per/uint64(p.Area)%2
		}
	}
	i := uint32(page)
	if m.absent != nil && m.absent[i] {
		m.wanted = int64(i)
		return false
	}
	if m.touched != nil && !m.touched(i) {
		return false
	}
	scribble(m.page(i)[off:off+unit], seed, p.Content)
	m.count++
	return true
}

// run executes up to n stores and returns how many it did.
func (m *machine) run(n uint64) uint64 {
	for i := range n {
		if !m.store() {
			return i
		}
	}
	return n
}

func (m *machine) leafOf(p uint32) [migrate.LeafSize]byte {
	if m.absent != nil && m.absent[p] {
		return m.leaf(p)
	}
	if m.stale[p] {
		m.leaves[p], m.stale[p] = snapshot.LeafOf((*[pageSize]byte)(m.mem[p])), false
	}
	return m.leaves[p]
}

func (m *machine) read(p uint32, b *[pageSize]byte) {
	*b = [pageSize]byte{}
	copy(b[:], m.mem[p])
}

// state encodes what is not memory.
func (m *machine) state() []snapshot.Section {
	b := binary.LittleEndian.AppendUint64(nil, m.count)
	blob := make([]byte, m.prog.State)
	scribble(blob, m.prog.Seed+m.count, "random")
	return []snapshot.Section{
		{Name: "cpu", Instance: "cpu0", Version: 1, State: true, Required: true, Data: b},
		{Name: "devices", Version: 1, State: true, Required: true, Data: blob},
	}
}

func (m *machine) config() []snapshot.Section {
	secs := []snapshot.Section{
		{Name: "config", Version: 1, Required: true, Data: fmt.Appendf(nil, "%+v", m.prog)},
		{Name: "about", Version: 1, Data: []byte("a simulated guest")},
	}
	if m.prog.Seed%4 == 1 {
		secs = append(secs, snapshot.Section{Name: "images", Version: 1, Required: true, Data: ballast})
	}
	return secs
}

// ballast is large enough to travel on demand only.
var ballast = bytes.Repeat([]byte("ballast "), 64<<10/8)

func (m *machine) root() [migrate.DigestSize]byte {
	r, err := snapshot.Root(m.prog.Pages, m.leafOf, m.state())
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	return r
}

// clock tells a time.
type clock interface{ Now() time.Duration }

// RootAt is the state hash of a machine that was never moved, after so many stores.
// Of those in turn only the last time round shows.
func RootAt(p Program, count uint64) [migrate.DigestSize]byte {
	m := newMachine(p, true)
	if round := uint64(p.Area) * uint64(pageSize/p.unit()); p.Pattern != "random" && count > round {
		m.count = count - round
	}
	m.run(count - m.count)
	return m.root()
}
