package system

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The local APIC of one vCPU [SDM 3A 11].
func TestLocalAPIC(t *testing.T) {
	check(t, []rule{
		{"modes: x2apic goes back through disabled only", "", func(p *prog) {
			p.tryMSR(msrBase, baseX2)
			p.tryMSR(msrBase, baseDefault) // to xAPIC
			p.tryMSR(msrBase, 0xfee00500)  // no such mode
			p.tryMSR(msrBase, 0xfee00100)
			p.cpuid(1, 0, 3, 1<<9)
			p.tryMSR(msrBase, baseX2) // disabled goes to xAPIC only
			p.tryMSR(msrBase, 0xfee00500)
			p.tryMSR(msrBase, baseDefault)
			p.cpuid(1, 0, 3, 1<<9)
			p.rdmsr(msrBase)
		}, []uint64{gp, 0, gp, 0, 0, gp, 0, gp, 0, 1 << 9, baseDefault}},
		{"base: reserved bits, and its page moves", "", func(p *prog) {
			p.tryMSR(msrBase, baseDefault|1)
			p.tryMSR(msrBase, baseDefault|1<<9)
			p.tryMSR(msrBase, baseDefault|1<<40)
			p.tryMSR(msrBase, 0xfed40900)
			p.read(0xfed40030).read(apicVER)
		}, []uint64{gp, 0, gp, 0, gp, 0, 0x01060014, 0xffffffff}},
		{"disabled: the page is gone, CR8 is not", "", func(p *prog) {
			p.cr(8, 5).msr(msrBase, 0xfee00100)
			p.read(apicVER).getcr(8).cr(8, 9).getcr(8)
			p.msr(msrBase, baseDefault).read(apicTPR).read(apicSVR)
		}, []uint64{0xffffffff, 0, 9, 0x90, 0xff}},
		{"x2apic: no page, 64-bit ICR, reserved bits refused", "", func(p *prog) {
			p.msr(msrBase, baseX2).read(apicVER)
			p.rdmsr(x2 + 2).rdmsr(x2 + 0xd).rdmsr(x2 + 0xe).rdmsr(x2 + 0x31).rdmsr(x2 + 0xb)
			p.tryMSR(x2+2, 0).tryMSR(x2+3, 0).tryMSR(x2+0xd, 0).tryMSR(x2+0xb, 1).tryMSR(x2+0xb, 0)
			p.tryMSR(x2+8, 0x100).tryMSR(x2+0xf, 1<<13).tryMSR(x2+0x28, 1).tryMSR(x2+0x3f, 0x100).tryMSR(x2+0x3e, 4)
		}, []uint64{0xffffffff, 0, 1, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0, gp, 0}},
		{
			"registers are no MSRs in xAPIC mode", "", func(p *prog) { p.rdmsr(x2+3).tryMSR(x2+8, 0) },
			[]uint64{gp, 0, gp, 0},
		},
		{"a changed mode keeps what it should", "", func(p *prog) {
			p.write(apicLVTT, 0x200ef).write(apicTPR, 0x40).msr(msrBase, baseX2)
			p.rdmsr(x2 + 0x32).rdmsr(x2 + 8).rdmsr(x2 + 0xf)
		}, []uint64{0x200ef, 0x40, 0x1ff}},
		{"self IPI: shorthand, register, both modes", "", func(p *prog) {
			p.sti().write(apicICR, icrSelf|0x51).nop()
			p.msr(msrBase, baseX2).mode(1).msr(x2+0x30, icrSelf|0x52).nop().msr(x2+0x3f, 0x53).nop()
		}, []uint64{0x51, 0x52, 0x53}},
		{"priorities: the higher vector first, TPR holds back", "", func(p *prog) {
			p.write(apicICR, icrSelf|0x41).write(apicICR, icrSelf|0x62).write(apicTPR, 0x50).read(apicPPR).sti().nop()
			p.note(1).write(apicTPR, 0x40).nop().note(2).write(apicTPR, 0x3f).nop()
		}, []uint64{0x50, 0x62, 1, 2, 0x41}},
		{"IRR, ISR, PPR while in service", "", func(p *prog) {
			p.mode(2).cli().write(apicICR, icrSelf|0x61).read(apicIRR + 0x30).sti().nop().cli()
			p.read(apicIRR + 0x30).read(apicISR + 0x30).read(apicPPR)
			p.write(apicICR, icrSelf|0x55).sti().nop().note(1).write(apicEOI, 0).nop().read(apicISR + 0x20)
		}, []uint64{2, 0x61, 0, 2, 0x60, 1, 0x55, 1 << 21}},
		{"CR8 is the task priority's class", "", func(p *prog) {
			p.write(apicTPR, 0x73).getcr(8).cr(8, 4).read(apicTPR)
			p.try(func(p *prog) { p.cr(8, 16) })
		}, []uint64{7, 0x40, gp, 0}},
		{"errors: illegal vectors, registers that are not there", "", func(p *prog) {
			p.write(apicESR, 0).read(apicESR).write(apicICR, icrSelf|5).write(apicESR, 0).read(apicESR)
			p.write(apicESR, 0).read(apicESR).rbx(0xfee00040).x("8b03").write(apicESR, 0).read(apicESR)
		}, []uint64{0, 0x20, 0, 0x80}},
		{"software disabled: entries are masked and stay so", "", func(p *prog) {
			p.write(apicLINT0, 0x700).write(apicSVR, 0xff).read(apicLINT0).write(apicLINT0, 0x700).read(apicLINT0)
			p.write(apicSVR, 0x1ff).write(apicLINT0, 0x700).read(apicLINT0)
		}, []uint64{0x10700, 0x10700, 0x700}},
		{"NMI to itself, and none of ten more gets lost or through", "", func(p *prog) {
			p.write(apicICR2, 0).write(apicICR, icrNMI).note(1)
		}, []uint64{nm, 1}},
	})
}

// The timer of a local APIC: a count is a nanosecond, and an instruction takes 8.
func TestAPICTimer(t *testing.T) {
	check(t, []rule{
		{"one-shot", "", func(p *prog) {
			p.sti().write(apicLVTT, 0x40).write(apicTDCR, 0xb).write(apicTICR, 4000).note(1).pause(1000).note(2).read(apicTCCR).pause(1000)
		}, []uint64{1, 0x40, 2, 0}},
		{"periodic, and the divider", "", func(p *prog) {
			p.sti().write(apicLVTT, 0x20040).write(apicTDCR, 0).write(apicTICR, 5000).pause(1000).write(apicLVTT, 0x10040).note(1).pause(500)
		}, []uint64{0x40, 0x40, 1}},
		{"a change from one-shot to periodic goes on counting", "", func(p *prog) {
			p.write(apicLVTT, 0x10040).write(apicTDCR, 0xb).write(apicTICR, 0x10000).pause(1500).write(apicLVTT, 0x30040)
			p.rbx(apicTCCR).x("8b03 3d00a00000 0f92c0 0fb6c0").log().read(apicTICR) // below a000?
			p.pause(2000).rbx(apicTCCR).x("8b03 85c0 0f95c0 0fb6c0").log()
		}, []uint64{1, 0x10000, 1}},
		{"a count of zero stops it", "", func(p *prog) {
			p.sti().write(apicLVTT, 0x40).write(apicTDCR, 0xb).write(apicTICR, 4000).write(apicTICR, 0).pause(1000).read(apicTCCR)
		}, []uint64{0}},
		{"deadline: past ones at once, and it clears itself", "", func(p *prog) {
			p.sti().write(apicLVTT, 0x40040).msr(msrDeadline, 1).nop().rdmsr(msrDeadline)
			p.x("0f31 05a0860100 b9e0060000 0f30").note(1).pause(20000).rdmsr(msrDeadline) // rdtsc + 100000
		}, []uint64{0x40, 0, 1, 0x40, 0}},
		{"deadline: only in its mode, and the other registers not then", "", func(p *prog) {
			p.msr(msrDeadline, 1<<40).rdmsr(msrDeadline).write(apicLVTT, 0x50040).msr(msrDeadline, 1<<40).rdmsr(msrDeadline)
			p.write(apicTICR, 100).read(apicTICR).read(apicTCCR).write(apicLVTT, 0x10040).rdmsr(msrDeadline)
		}, []uint64{0, 1 << 40, 0, 0, 0}},
		{"TSC_ADJUST moves the counter and with it the deadline", "", func(p *prog) {
			p.sti().write(apicLVTT, 0x40040).msr(0x3b, 1<<40).rdmsr(0x3b).msr(msrDeadline, 1<<40).nop()
		}, []uint64{1 << 40, 0x40}},
	})
}

// others log into their own logs.
func TestInterprocessorInterrupts(t *testing.T) {
	for _, tt := range []struct {
		name string
		main func(p *prog)
		want [4][]uint64
	}{
		{"physical", func(p *prog) { p.startAPs(3).icr(2, icrAssert|0x40) }, [4][]uint64{2: {0x40}}},
		{"broadcast, all and others", func(p *prog) {
			p.startAPs(3).sti().icr(0xff, icrAssert|0x40).pause(9000).icr(0, icrAll|0x41).pause(9000).icr(0, icrOthers|0x42)
		}, [4][]uint64{{0x40, 0x41}, {0x40, 0x41, 0x42}, {0x40, 0x41, 0x42}, {0x40, 0x41, 0x42}}},
		{"logical, flat", func(p *prog) {
			p.startAPs(3).icr(0, icrAssert|0x31).pause(3000)
			p.icr(0, icrAll|0x30).pause(9000).icr(6, icrLogical|icrAssert|0x40)
		}, [4][]uint64{{}, {0x30, 0x40}, {0x30, 0x40}, {0x30}}},
		{
			"NMI", func(p *prog) { p.startAPs(3).icr(1, icrNMI|icrAssert).pause(9000).icr(0, icrOthers|icrNMI|icrAssert) },
			[4][]uint64{1: {nm, nm}, 2: {nm}, 3: {nm}},
		},
		{"INIT and start-up again; start-up alone means nothing", func(p *prog) {
			p.startAPs(3).icr(1, icrSIPI|startup>>12).pause(3000).read(spare + 0xff8)
			p.icr(1, icrINIT|icrAssert).icr(1, icrAssert|0x40).icr(1, icrSIPI|startup>>12).await(spare+0xff8, 4).icr(1, icrAssert|0x41)
		}, [4][]uint64{{3}, {0x41}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := guest{cpus: 4, main: func(p *prog) { tt.main(p); p.pause(30000) }, others: logicalID}
			if tt.name != "logical, flat" {
				g.others = nil
			} else {
				g.main = func(p *prog) {
					p.startAPs(3).pause(3000).icr(0, icrOthers|0x30).pause(9000).icr(6, icrLogical|icrAssert|0x40).pause(30000)
				}
			}
			logs := g.run(t)
			for i := range logs {
				assert.Equal(t, hexes(tt.want[i]), hexes(logs[i]), "vcpu %d", i)
			}
		})
	}
}

// logicalID gives a vCPU the bit of its number as logical ID.
func logicalID(p *prog) {
	p.x("a1").u64(apicID).x("c1e818 89c1 b800000001 d3e0 a3").u64(apicLDR)
}

// x2APIC logical IDs follow from the ID: cluster 0 holds vCPUs 0 to 15.
func TestX2APICBus(t *testing.T) {
	g := guest{cpus: 4, main: func(p *prog) {
		p.startAPs(3).msr(msrBase, baseX2).mode(1).pause(9000).sti()
		p.msr(x2+0x30, 0xd<<32|icrLogical|icrAssert|0x40).pause(9000)       // 0, 2 and 3
		p.msr(x2+0x30, 0xffffffff<<32|icrAssert|0x41).pause(9000)           // everybody
		p.msr(x2+0x30, 0x1000f<<32|icrLogical|icrAssert|0x42)               // another cluster
		p.msr(x2+0x30, 1<<32|icrAssert|0x43).pause(30000)                   // 1
		p.msr(x2+0x30, 0xf<<32|icrLogical|icrAssert|1<<8|0x44).pause(30000) // one of them
	}, others: func(p *prog) { p.msr(msrBase, 0xfee00c00).mode(1) }}
	logs := g.run(t)
	assert.Equal(t, hexes([]uint64{0x40, 0x41, 0x44}), hexes(logs[0]))
	assert.Equal(t, hexes([]uint64{0x41, 0x43}), hexes(logs[1]))
	assert.Equal(t, hexes([]uint64{0x40, 0x41}), hexes(logs[2]))
	assert.Equal(t, hexes([]uint64{0x40, 0x41}), hexes(logs[3]))
}

// The I/O APIC [82093AA].
func TestIOAPIC(t *testing.T) {
	const level, mask = 1 << 15, 1 << 16
	check(t, []rule{
		{"registers: version is fixed, of the ID four bits are not", "", func(p *prog) {
			p.ioapic(1).write(0xfec00010, 0).ioapic(1).ioapic(0).write(0xfec00010, 0xffffffff).ioapic(0).ioapic(2)
		}, []uint64{0x170020, 0x170020, 0, 0x0f000000, 0x0f000000}},
		{"edge", "", func(p *prog) {
			p.sti().redir(14, 0x76).line(14, 1).nop().line(14, 1).line(14, 0).nop().note(1).line(14, 1).nop()
		}, []uint64{0x76, 1, 0x76}},
		{"edges at a masked input are lost", "", func(p *prog) {
			p.sti().redir(14, mask|0x76).line(14, 1).redir(14, 0x76).note(1).line(14, 0).line(14, 1).nop()
		}, []uint64{1, 0x76}},
		{"level: again after the EOI while it is high", "", func(p *prog) {
			p.mode(2).redir(14, level|0x77).line(14, 1).sti().nop().cli().ioapic(0x10 + 28)
			p.write(apicEOI, 0).sti().nop().cli().line(14, 0).write(apicEOI, 0).sti().nop().ioapic(0x10 + 28)
		}, []uint64{0x77, level | 1<<14 | 0x77, 0x77, level | 0x77}},
		{"level: mask and unmask", "", func(p *prog) {
			p.mode(2).sti().redir(14, level|mask|0x82).line(14, 1).note(1).redir(14, level|0x82).nop().note(2)
		}, []uint64{1, 0x82, 2}},
		{"TMR follows the trigger mode", "", func(p *prog) {
			p.mode(2).sti().redir(14, level|0x79).line(14, 1).nop().read(apicTMR+0x30).line(14, 0).write(apicEOI, 0)
			p.redir(14, 0x79).line(14, 1).nop().read(apicTMR + 0x30)
		}, []uint64{0x79, 1 << 25, 0x79, 0}},
		{"simultaneous: the higher first, at one place", "", func(p *prog) {
			p.redir(14, 0x78).redir(15, 0x66).line(15, 1).line(14, 1).sti().nop()
		}, []uint64{0x78, 0x66}},
		{"remote IRR keeps a level from coming twice", "", func(p *prog) {
			p.mode(2).redir(14, level|0x98).line(14, 1).ioapic(0x10+28).line(14, 0).line(14, 1).sti().nop().cli()
			p.line(14, 0).write(apicEOI, 0).sti().nop().note(1).ioapic(0x10 + 28)
		}, []uint64{level | 1<<14 | 0x98, 0x98, 1, level | 0x98}},
		{"the PIC through LINT0", "", func(p *prog) {
			for _, w := range [][2]uint8{{0x20, 0x11}, {0x21, 0x50}, {0x21, 4}, {0x21, 1}, {0x21, 0x7f}} {
				p.out(uint16(w[0]), w[1])
			}
			p.mode(2).sti().line(7, 1).nop().in(0x20).out(0x20, 0xb).in(0x20).out(0x20, 0x20).in(0x20)
			p.write(apicLINT0, 0x10700).line(7, 0).line(7, 1).nop().note(1).write(apicLINT0, 0x700).nop()
		}, []uint64{0x57, 0, 0x80, 0, 1, 0x57}},
	})
}
