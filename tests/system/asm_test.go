// Package system runs small guests on the whole machine, one or more for each
// rule of paging, interrupts and APICs. A guest is a program in 64-bit mode that
// logs numbers: what it reads, and the vectors and error codes that it meets.
package system

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// Where guests are.
const (
	base       = 0x100000 // image and multiboot header
	pml4       = 0x110000 // tables that map 4 GiB to itself in pages of 2 MiB, for the supervisor
	gdt        = 0x116000
	tss        = 0x117000 // one per vCPU, 0x100 apart
	idt        = 0x118000
	stubs      = 0x119000
	handler    = 0x11a000
	trampoline = 0x11b000 // copied to startup
	program    = 0x120000 // vCPU 0
	programAP  = 0x130000 // the others
	imageEnd   = 0x140000
	stackTop   = 0x184000 // of vCPU 0; the others' are above, 0x4000 apart
	spare      = 0x1c0000 // page tables and flags of cases
	logs       = 0x200000 // of vCPU 0; the others' are above, 0x10000 apart
	startup    = 0x8000   // where start-up IPIs with vector 8 lead
	data       = 0x400000 // memory to map and touch
)

// Selectors of the guests' GDT.
const (
	code64 = 0x08
	data64 = 0x10
	user32 = 0x18 | 3
	userDS = 0x20 | 3
	user64 = 0x28 | 3
	code32 = 0x30
	tss0   = 0x40 // two entries per vCPU
)

// prog is machine code being written. R14 is the log, R15 where exceptions
// return to, R13 how interrupts end: 0 by the APIC's memory, 1 by its MSR, 2 not
// at all.
type prog struct{ b []byte }

// x appends bytes given in hex.
func (p *prog) x(code string) *prog {
	b, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
	if err != nil {
		panic(err)
	}
	p.b = append(p.b, b...)
	return p
}

func (p *prog) u32(v uint32) *prog { p.b = binary.LittleEndian.AppendUint32(p.b, v); return p }
func (p *prog) u64(v uint64) *prog { p.b = binary.LittleEndian.AppendUint64(p.b, v); return p }

// log notes RAX.
func (p *prog) log() *prog { return p.x("498906 4983c608") }

// note logs a number of the program's own.
func (p *prog) note(v uint64) *prog { return p.rax(v).log() }

func (p *prog) rax(v uint64) *prog { return p.x("48b8").u64(v) }
func (p *prog) rbx(v uint64) *prog { return p.x("48bb").u64(v) }

// try runs code whose exceptions return behind it.
func (p *prog) try(f func(p *prog)) *prog {
	var q prog
	f(&q)
	p.x("4c8d3d").u32(uint32(len(q.b))) // lea r15, [rip + len]
	p.b = append(p.b, q.b...)
	return p
}

// mode says how interrupts end.
func (p *prog) mode(n uint32) *prog { return p.x("41bd").u32(n) }

func (p *prog) msr(n uint32, v uint64) *prog {
	return p.x("b9").u32(n).x("b8").u32(uint32(v)).x("ba").u32(uint32(v >> 32)).x("0f30")
}

// tryMSR is msr where it may be refused.
func (p *prog) tryMSR(n uint32, v uint64) *prog { return p.try(func(p *prog) { p.msr(n, v) }) }

// rdmsr logs a register; where it is refused, the exception is all that is
// logged.
func (p *prog) rdmsr(n uint32) *prog {
	return p.try(func(p *prog) { p.x("b9").u32(n).x("0f32 48c1e220 4809d0").log() })
}

// write and read access 32 bits of memory; read logs.
func (p *prog) write(addr uint64, v uint32) *prog { return p.rbx(addr).x("c703").u32(v) }
func (p *prog) read(addr uint64) *prog            { return p.rbx(addr).x("8b03").log() }

// put writes 64 bits of memory.
func (p *prog) put(addr, v uint64) *prog { return p.rbx(addr).rax(v).x("488903") }
func (p *prog) get(addr uint64) *prog    { return p.rbx(addr).x("488b03").log() }

func (p *prog) out(port uint16, v uint8) *prog {
	return p.x("66ba").x(hex.EncodeToString(binary.LittleEndian.AppendUint16(nil, port))).x("b0").b8(v).x("ee")
}

func (p *prog) in(port uint16) *prog {
	return p.x("31c0 66ba").x(hex.EncodeToString(binary.LittleEndian.AppendUint16(nil, port))).x("ec").log()
}

// jump is a short jump with an opcode over n bytes.
func (p *prog) jump(op uint8, n int) *prog { return p.b8(op).b8(uint8(n)) }

func (p *prog) b8(v uint8) *prog { p.b = append(p.b, v); return p }

func (p *prog) sti() *prog { return p.x("fb 90") }
func (p *prog) cli() *prog { return p.x("fa") }
func (p *prog) nop() *prog { return p.x("90") }

// move is MOV to (22) or from (20) a control register and RAX.
func (p *prog) move(op, n uint8) *prog {
	if n == 8 {
		p.x("44")
	}
	return p.x("0f").b8(op).b8(0xc0 | n&7<<3)
}

// cr loads a control register, getcr logs one; orcr and andcr change bits.
func (p *prog) cr(n uint8, v uint64) *prog   { return p.rax(v).move(0x22, n) }
func (p *prog) getcr(n uint8) *prog          { return p.x("31c0").move(0x20, n).log() }
func (p *prog) orcr(n uint8, v uint64) *prog { return p.rbx(v).move(0x20, n).x("4809d8").move(0x22, n) }

func (p *prog) andcr(n uint8, v uint64) *prog {
	return p.rbx(v).move(0x20, n).x("4821d8").move(0x22, n)
}

// pause waits n turns.
func (p *prog) pause(n uint32) *prog { return p.x("b9").u32(n).x("f390 ffc9 75fa") }

// await waits until 32 bits of memory are v.
func (p *prog) await(addr uint64, v uint32) *prog {
	return p.rbx(addr).x("f390 813b").u32(v).x("75f6")
}

// cpuid logs one register of a leaf: 0 EAX, 1 EBX, 2 ECX, 3 EDX; of it only mask.
func (p *prog) cpuid(leaf, sub uint32, reg uint8, mask uint32) *prog {
	p.x("b8").u32(leaf).x("b9").u32(sub).x("0fa2")
	p.x([...]string{"89c0", "89d8", "89c8", "89d0"}[reg])
	return p.x("25").u32(mask).log()
}

// exit ends the run.
func (p *prog) exit() *prog { return p.x("30c0 e6f4 f4 ebfd") }

// Local APIC registers in memory.
const (
	apicID    = 0xfee00020
	apicVER   = 0xfee00030
	apicTPR   = 0xfee00080
	apicPPR   = 0xfee000a0
	apicEOI   = 0xfee000b0
	apicLDR   = 0xfee000d0
	apicDFR   = 0xfee000e0
	apicSVR   = 0xfee000f0
	apicISR   = 0xfee00100
	apicTMR   = 0xfee00180
	apicIRR   = 0xfee00200
	apicESR   = 0xfee00280
	apicICR   = 0xfee00300
	apicICR2  = 0xfee00310
	apicLVTT  = 0xfee00320
	apicLINT0 = 0xfee00350
	apicTICR  = 0xfee00380
	apicTCCR  = 0xfee00390
	apicTDCR  = 0xfee003e0

	msrBase     = 0x1b
	msrDeadline = 0x6e0
	x2          = 0x800

	baseDefault = 0xfee00900 // enabled, on vCPU 0
	baseX2      = 0xfee00d00

	icrLogical = 1 << 11
	icrAssert  = 1 << 14
	icrSelf    = 1 << 18
	icrAll     = 2 << 18
	icrOthers  = 3 << 18
	icrNMI     = 4 << 8
	icrINIT    = 5 << 8
	icrSIPI    = 6 << 8
)

// icr sends an interrupt command in xAPIC mode.
func (p *prog) icr(dest uint8, cmd uint32) *prog {
	return p.write(apicICR2, uint32(dest)<<24).write(apicICR, cmd)
}

// redir writes an entry of the I/O APIC.
func (p *prog) redir(pin int, v uint64) *prog {
	const index, window = 0xfec00000, 0xfec00010
	return p.write(index, uint32(0x10+2*pin)).write(window, uint32(v)).
		write(index, uint32(0x11+2*pin)).write(window, uint32(v>>32))
}

// ioapic logs a register of the I/O APIC.
func (p *prog) ioapic(r uint32) *prog { return p.write(0xfec00000, r).read(0xfec00010) }

// line drives an interrupt request through the test device.
func (p *prog) line(irq int, level uint8) *prog { return p.out(uint16(0x2000+irq), level) }

// startAPs wakes the other vCPUs and waits for n of them.
func (p *prog) startAPs(n uint32) *prog {
	return p.icr(0, icrOthers|icrAssert|icrINIT).icr(0, icrOthers|icrSIPI|startup>>12).await(spare+0xff8, n)
}
