package system

import "testing"

// la57 goes to five levels of tables and back to 64-bit code: paging has to be off
// in between [SDM 3A 4.1.2]. The fifth level is at spare + 0x4000.
func (p *prog) la57() *prog {
	const pml5 = spare + 0x4000
	p.put(pml5, pml4|7)
	p.x("6a").b8(code32).x("68").u32(uint32(program + len(p.b) + 6)).x("48cb") // to 32-bit code
	p.x("0f20c0 25ffffff7f 0f22c0 0f20e0 0d00100000 0f22e0 b8").u32(pml5).x("0f22d8 0f20c0 0d00000080 0f22c0")
	return p.x("ea").u32(uint32(program + len(p.b) + 6)).x("0800")
}

// Rules of five-level paging [SDM 3A 4.5, 3.3.7.1].
func TestFiveLevels(t *testing.T) {
	const (
		far   = 1 << 48 // beyond four levels
		none  = 1 << 56 // beyond five
		lstar = 0xc0000082
	)
	check(t, []rule{
		{"translation, accessed and dirty, faults", "max", func(p *prog) {
			p.put(data, 0x1234).la57().x("0f20e0 c1e80c 83e001").log()
			p.put(spare+0x4008, spare+0x5007).put(spare+0x5000, spare|7).window(data | 3).get(far)
			p.get(spare+0x4008).get(pte).put(far, 0xe7ff41).get(pte).get(data)
			p.try(func(p *prog) { p.rbx(far).x("ffe3") }).note(1)
			p.try(func(p *prog) { p.rbx(1<<55 + 5).x("8b03") }).getcr(2)
			p.put(spare+0x4008, spare|7|large).try(func(p *prog) { p.rbx(far).x("8b03") })
		}, []uint64{
			1, 0x1234, spare + 0x5007 | seen, data | 3 | seen, data | 3 | seen | dirty, 0xe7ff41, 1,
			pf, 0, 1<<55 + 5, pf, errP | errR,
		}},
		{"what is canonical", "max", func(p *prog) {
			p.la57().try(func(p *prog) { p.rbx(none).x("8b03") }).try(func(p *prog) { p.rbx(none).x("ffe3") })
			p.try(func(p *prog) { p.rbx(1<<64 - none).x("8b03") }).try(func(p *prog) { p.rbx(1<<64 - none - 1).x("8b03") })
			p.tryMSR(lstar, 1<<55).rdmsr(lstar).tryMSR(lstar, none)
		}, []uint64{gp, 0, gp, 0, pf, 0, gp, 0, 1 << 55, gp, 0}},
		{"no way back in 64-bit mode", "max", func(p *prog) {
			p.la57().try(func(p *prog) { p.andcr(4, ^uint64(1<<12)) }).note(1)
		}, []uint64{gp, 0, 1}},
		{"four levels know nothing of it", "max", func(p *prog) {
			p.try(func(p *prog) { p.rbx(far).x("8b03") }).tryMSR(lstar, 1<<55).rdmsr(lstar)
		}, []uint64{gp, 0, 1 << 55}},
		{"without the feature", "max,-la57", func(p *prog) {
			p.tryMSR(lstar, 1<<55).try(func(p *prog) { p.orcr(4, 1<<12) })
		}, []uint64{gp, 0, gp, 0}},
	})
}

// Extended control registers: ECX alone names them, and XCR0 takes what goes
// together [SDM 2 XGETBV, XSETBV].
func TestXCR(t *testing.T) {
	get := func(p *prog, n uint64) *prog {
		return p.x("48b9").u64(n).try(func(p *prog) { p.x("0f01d0 48c1e220 4809d0").log() })
	}
	set := func(p *prog, n, v uint64) *prog {
		return p.x("48b9").u64(n).x("b8").u32(uint32(v)).x("ba").u32(uint32(v >> 32)).try(func(p *prog) { p.x("0f01d1") })
	}
	check(t, []rule{
		{"XCR0", "", func(p *prog) {
			get(p, 0).cpuid(1, 0, 2, 1<<27).orcr(4, 1<<18).cpuid(1, 0, 2, 1<<27)
			get(set(p, 0, 3), 1<<32)
			get(set(p, 5<<32, 1), 0)
			for _, v := range []uint64{0, 2, 4, 5, 1<<10 | 3, 1 << 63} {
				set(p, 0, v)
			}
			get(p, 0)
		}, []uint64{ud, 0, 0, 1 << 27, 3, 1, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, 1}},
		{"others", "", func(p *prog) {
			p.orcr(4, 1<<18)
			for _, n := range []uint64{2, 31, 1 << 31} {
				set(get(p, n), n, 1)
			}
			set(p, 1, 1)
		}, []uint64{gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0}},
	})
}
