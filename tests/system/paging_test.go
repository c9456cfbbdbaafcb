package system

import "testing"

// Page-table entry bits, and error code bits [SDM 3A 4.7].
const (
	present = 1 << 0
	write   = 1 << 1
	user    = 1 << 2
	seen    = 1 << 5 // accessed
	dirty   = 1 << 6
	large   = 1 << 7
	global  = 1 << 8
	noExec  = 1 << 63

	errP, errW, errU, errR, errI = 1, 2, 4, 8, 16
)

// Where cases map: linear address win through tables at spare.
const (
	win = 0x0000700000000000
	pte = spare + 0x2000 // the entry that maps win
)

// window maps win to a page through three tables of its own.
func (p *prog) window(entry uint64) *prog {
	return p.put(pml4+win>>39&511*8, spare|7).put(spare, spare+0x1007).put(spare+0x1000, spare+0x2007).put(pte, entry)
}

func (p *prog) load() *prog  { return p.try(func(p *prog) { p.rbx(win).x("8b03") }) }
func (p *prog) store() *prog { return p.try(func(p *prog) { p.rbx(win).x("c60311") }) }

// fetch calls the code at win, which must return to R15.
func (p *prog) fetch() *prog { return p.try(func(p *prog) { p.rbx(win).x("ffe3") }) }

func (p *prog) invlpg() *prog { return p.rbx(win).x("0f013b") }

// asUser runs code at level 3, which comes back by an exception.
func (p *prog) asUser(f func(p *prog)) *prog {
	var q prog
	f(&q)
	q.x("0f0b") // ud2
	return p.try(func(p *prog) {
		p.x("6a23 54 9c 6a2b").x("488d0503000000 50 48cf") // ss, rsp, flags, cs, rip: behind
		p.b = append(p.b, q.b...)
	})
}

// Rules of translation [SDM 3A 4].
func TestPaging(t *testing.T) {
	check(t, []rule{
		{"accessed and dirty", "", func(p *prog) {
			p.window(data | 3).load().get(pte).get(spare + 0x1000).get(spare).store().get(pte).get(spare + 0x1000)
		}, []uint64{data | 3 | seen, spare + 0x2007 | seen, spare + 0x1007 | seen, data | 3 | seen | dirty, spare + 0x2007 | seen}},
		{"nothing is set by an access that faults", "", func(p *prog) {
			p.window(data | 1).store().get(pte).window(data).load().get(pte)
		}, []uint64{pf, errP | errW, data | 1, pf, 0, data}},
		{"CR0.WP off: the supervisor writes everything", "", func(p *prog) {
			p.window(data|1).andcr(0, ^uint64(1<<16)).store().get(pte).orcr(0, 1<<16).store()
		}, []uint64{data | 1 | seen | dirty, pf, errP | errW}},
		{"no execute, and its bit without EFER.NXE", "", func(p *prog) {
			p.put(data, 0xe7ff41) // jmp r15
			p.window(data|3|noExec).fetch().load().msr(0xc0000080, 0x500).load().fetch()
			p.window(data | 3).fetch().note(1)
		}, []uint64{pf, errP | errI, pf, errP | errR, pf, errP | errR, 1}},
		{"reserved bits: address, large pages, upper tables", "", func(p *prog) {
			p.window(data | 3 | 1<<51).load().window(data | 3 | 1<<40).load()
			p.put(spare+0x1000, data|3|large).load().put(spare+0x1000, data|3|large|1<<13).load()
			p.put(spare, 3|large).load().put(spare, 3|large|1<<13).load()
			p.put(spare, spare+0x1007).put(pml4+win>>39&511*8, spare|7|large).load()
		}, []uint64{pf, errP | errR, pf, errP | errR, pf, errP | errR, pf, errP | errR, pf, errP | errR}},
		{"a change is seen at once, flushed or not", "", func(p *prog) {
			p.put(data, 0x11).put(data+0x1000, 0x22).window(data|3).get(win).put(pte, data+0x1000|3).get(win)
			p.put(pte, data|3).invlpg().get(win)
		}, []uint64{0x11, 0x22, 0x11}},
		{"global pages go when CR4.PGE does", "", func(p *prog) {
			p.put(data, 0x11).put(data+0x1000, 0x22).orcr(4, 1<<7).window(data | 3 | global).get(win)
			p.put(pte, data+0x1000|3|global).andcr(4, ^uint64(1<<7)).orcr(4, 1<<7).get(win)
		}, []uint64{0x11, 0x22}},
		{"user pages: rights of all levels", "", func(p *prog) {
			p.put(program/0x200000*8+pml4+0x2000, 0x87).put(pml4, pml4+0x1007).put(pml4+0x1000, pml4+0x2007)
			p.window(data | 7).asUser(func(p *prog) { p.rbx(win).x("8b03") })
			p.put(pte, data|3).asUser(func(p *prog) { p.rbx(win).x("8b03") })
			p.put(pte, data|7).put(spare+0x1000, spare+0x2003).asUser(func(p *prog) { p.rbx(win).x("8b03") })
			p.put(spare+0x1000, spare+0x2005).asUser(func(p *prog) { p.rbx(win).x("c60311") })
		}, []uint64{ud, 0, pf, errP | errU, pf, errP | errU, pf, errP | errU | errW}},
		{"SMEP and SMAP", "", func(p *prog) {
			p.put(data, 0xe7ff41).window(data|7).fetch().orcr(4, 1<<20).fetch()
			p.orcr(4, 1<<21).load().store().x("0f01cb").load().x("0f01ca").load()
		}, []uint64{pf, errP | errI, pf, errP, pf, errP | errW, pf, errP}},
		{"CR3: what it refuses", "", func(p *prog) {
			for _, v := range []uint64{1 << 40, 1 << 61, 1 << 63} {
				p.try(func(p *prog) { p.cr(3, pml4|v) })
			}
			p.cr(3, pml4|0x18).getcr(3)
		}, []uint64{gp, 0, gp, 0, gp, 0, pml4 | 0x18}},
		{"CR0 and CR4: what they refuse in 64-bit mode", "", func(p *prog) {
			for _, v := range []uint64{1, 1 << 31} {
				p.try(func(p *prog) { p.andcr(0, ^v) })
			}
			p.try(func(p *prog) { p.orcr(0, 1<<32) }).try(func(p *prog) { p.orcr(0, 1<<29) })
			p.try(func(p *prog) { p.andcr(4, ^uint64(1<<5)) })
			for _, v := range []uint64{1 << 12, 1 << 28, 1 << 13, 1 << 63} { // LA57, LAM, VMXE
				p.try(func(p *prog) { p.orcr(4, v) })
			}
			p.tryMSR(0xc0000080, 0xc00).tryMSR(0xc0000080, 0x1d02)
		}, []uint64{gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0}},
		{"PCID: CR4.PCIDE, CR3's bit 63, INVPCID's operands", "", func(p *prog) {
			p.cr(3, pml4|1).try(func(p *prog) { p.orcr(4, 1<<17) }).cr(3, pml4).orcr(4, 1<<17)
			p.try(func(p *prog) { p.andcr(0, ^uint64(1<<31)) })
			p.cr(3, pml4|5|1<<63).getcr(3).cr(3, pml4).andcr(4, ^uint64(1<<17))
			inv := func(kind, pcid, addr uint64) {
				p.put(data, pcid).put(data+8, addr).try(func(p *prog) { p.rbx(data).rax(kind).x("660f388203") })
			}
			inv(0, 0, 0)
			inv(3, 0, 0)
			inv(1, 1, 0)
			inv(4, 0, 0)
			inv(0, 0, 1<<63)
			inv(0, 1<<12, 0)
			inv(2, 1<<12, 0)
		}, []uint64{gp, 0, gp, 0, pml4 | 5, gp, 0, gp, 0, gp, 0, gp, 0}},
		{"PCID without the feature", "max,-pcid,-invpcid", func(p *prog) {
			p.try(func(p *prog) { p.orcr(4, 1<<17) }).try(func(p *prog) { p.rbx(data).x("660f388203") })
		}, []uint64{gp, 0, ud, 0}},
		{"INVLPG of what is no address does nothing", "", func(p *prog) { p.rbx(1 << 63).x("0f013b").note(1) }, []uint64{1}},
		{"protection keys of both kinds", "", func(p *prog) {
			p.window(data|3|2<<59).orcr(4, 1<<24).msr(0x6e1, 1<<4).load().msr(0x6e1, 2<<4).load().store().msr(0x6e1, 0).store()
			p.window(data|7|2<<59).orcr(4, 1<<22).x("b810000000 31c9 31d2 0f01ef").load().x("31c0 0f01ef").load()
		}, []uint64{pf, errP | 32, pf, errP | errW | 32, pf, errP | 32}},
		{
			"a fault's address", "", func(p *prog) { p.window(0).try(func(p *prog) { p.rbx(win + 0x123).x("8b03") }).getcr(2) },
			[]uint64{pf, 0, win + 0x123},
		},
	})
}

// Exceptions on the way to other exceptions, and what leads where
// [SDM 3A 6.15].
func TestExceptions(t *testing.T) {
	notPresent := func(p *prog, v uint64) { p.x("8024 25").u32(uint32(idt + 16*v + 5)).x("7f") }
	check(t, []rule{
		{"a gate that is not present", "", func(p *prog) {
			notPresent(p, 6)
			p.try(func(p *prog) { p.x("0f0b") })
		}, []uint64{0xe0b, 6<<3 | 3}},
		{"INT n to it", "", func(p *prog) {
			notPresent(p, 0x50)
			p.try(func(p *prog) { p.x("cd50") })
		}, []uint64{0xe0b, 0x50<<3 | 2}},
		{"contributory, then contributory: double fault", "", func(p *prog) {
			notPresent(p, 13)
			p.try(func(p *prog) { p.x("b9785634120f32") })
		}, []uint64{0xe08, 0}},
		{"page fault, then page fault: double fault on the interrupt stack", "", func(p *prog) {
			p.x("c60425").u32(idt + 16*8 + 4).x("01").window(0)
			p.try(func(p *prog) { p.x("4889e5").x("48bc").u64(win).x("8b0425").u32(0).x("50") }).x("4889ec")
		}, []uint64{0xe08, 0}},
		{"beyond the canonical half: where code leads", "", func(p *prog) {
			p.try(func(p *prog) { p.rbx(1 << 47).x("ffe3") })
		}, []uint64{gp, 0}},
		{"a hypercall at the last address of the lower half", "", func(p *prog) {
			p.put(pml4+255*8, spare|7).put(spare+511*8, spare+0x1007).put(spare+0x1000+511*8, spare+0x2007).put(spare+0x2000+511*8, data|3)
			p.put(data+0xff8, 0xd9010f<<40).try(func(p *prog) { p.rbx(1<<47 - 3).rax(99).x("ffe3") }).log()
		}, []uint64{gp, 0, 1<<64 - 1000}},
	})
}
