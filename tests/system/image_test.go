package system

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
)

// image makes a multiboot kernel of the programs for vCPU 0 and the others.
func image(main, others []byte) []byte {
	b := make([]byte, imageEnd-base)
	at := func(addr uint64, code []byte) { copy(b[addr-base:], code) }
	q := func(addr uint64, v ...uint64) {
		for i, x := range v {
			binary.LittleEndian.PutUint64(b[addr-base+uint64(i)*8:], x)
		}
	}
	const magic, flags = 0x1badb002, 1 << 16
	var p prog
	p.u32(magic).u32(flags).u32(-(magic + flags) & 0xffffffff)
	p.u32(base).u32(base).u32(imageEnd).u32(0).u32(base + 0x40)
	at(base, p.b)

	q(pml4, pml4+0x1003)
	for i := range uint64(4) {
		q(pml4+0x1000+i*8, pml4+0x2003+i*0x1000)
	}
	for i := range uint64(2048) {
		q(pml4+0x2000+i*8, i<<21|0x83)
	}
	q(gdt, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x00cf9b000000ffff)
	for i := range uint64(8) {
		q(gdt+tss0+16*i, 0x0000890000000067|(tss+i*0x100)<<16, 0)
		q(tss+i*0x100+4, 0x90000+i*0x1000) // RSP0
		q(tss+i*0x100+0x24, 0x98000)       // IST1
	}
	for v := range uint64(256) {
		q(idt+16*v, (stubs+16*v)&0xffff|code64<<16|0x8e<<40|(stubs+16*v)>>16<<48, 0)
		at(stubs+16*v, stub(uint8(v)))
	}
	at(handler, common())
	at(base+0x40, enter(0))
	at(trampoline, wake())
	at(base+0x200, enter(1))
	at(program, main)
	at(programAP, others)
	return b
}

// stub is the first part of a vector's handler.
func stub(v uint8) []byte {
	var p prog
	if v != 8 && (v < 10 || v > 14) && v != 17 && v != 21 {
		p.x("6a00")
	}
	p.x("68").u32(uint32(v)).x("e9")
	return p.u32(uint32(handler - (stubs + 16*uint64(v) + uint64(len(p.b)) + 4))).b
}

// common logs the vector, and of exceptions the error code; those return to R15.
func common() []byte {
	const saved = "50 51 52 488b442418" // push rax, rcx, rdx; mov rax, [vector]
	var trap, fault, irq, msr, mmio, out prog
	out.x("5a 59 58 4883c410 48cf")
	msr.x("b90b080000 31c0 31d2 0f30")
	mmio.x("31c0 a3").u64(apicEOI).jump(0xeb, len(msr.b))
	irq.log().x("4183fd01")                                          // cmp r13d, 1
	irq.jump(0x77, len(mmio.b)+len(msr.b)+2).jump(0x74, len(mmio.b)) // ja out; je msr
	fault.x("488b442420").log().x("4c897c2428")                      // mov rax, [error]; mov [rip], r15
	fault.jump(0xeb, len(irq.b)+len(mmio.b)+len(msr.b))
	rest := len(fault.b) + len(irq.b) + len(mmio.b) + len(msr.b)
	trap.x("0d000e0000").log()
	for n := uint8(1); n <= 3; n++ { // debug exceptions, NMI and breakpoints just return
		trap.x("3c").b8(n).jump(0x74, rest+int(3-n)*4)
	}
	var p prog
	p.x(saved+"3c20").jump(0x73, len(trap.b)+len(fault.b)) // cmp al, 32; jae irq
	for _, q := range []prog{trap, fault, irq, mmio, msr, out} {
		p.b = append(p.b, q.b...)
	}
	return p.b
}

// enter goes from 32-bit code to 64-bit code, on vCPU 0 or another.
func enter(ap int) []byte {
	var p prog
	if ap == 0 {
		p.x("a3").u32(spare + 0xf00).x("891d").u32(spare + 0xf04) // what the loader left
	}
	if ap == 0 {
		p.x("fa 0f0115").u32(base + 0x3f0) // lgdt
	}
	p.x("66b8").x("1000").x("8ed8 8ec0 8ed0 8ee0 8ee8")
	p.x("0f20e0 0d20060000 0f22e0 b8").u32(pml4).x("0f22d8")
	p.x("b9800000c0 0f32 0d00090000 0f30") // LME, NXE
	p.x("0f20c0 0d01000180 83e0fb 0f22c0") // PG, WP, PE; not EM
	to := uint32(base + 0x300)
	if ap == 1 {
		to = base + 0x380
	}
	p.x("ea").u32(to).x("0800")
	return p.b
}

// wake is the trampoline, 16-bit code.
func wake() []byte {
	var p prog
	p.x("fa 31c0 8ed8 66").x("0f0116").x("f080") // lgdt [startup + 0xf0]
	p.x("0f20c0 6683c801 0f22c0 66ea").u32(base + 0x200).x("3000")
	b := make([]byte, 0x100)
	copy(b, p.b)
	binary.LittleEndian.PutUint16(b[0xf0:], 0xff)
	binary.LittleEndian.PutUint32(b[0xf2:], gdt)
	return b
}

// start is the 64-bit beginning of vCPU 0 and of the others.
func start(ap int) []byte {
	var p prog
	p.x("0f011c25").u32(base + 0x3e0) // lidt
	p.x("a1").u64(apicID).x("c1e818")
	p.x("89c1 c1e00e 05").u32(stackTop).x("4889c4")
	p.x("89c8 c1e010 05").u32(logs).x("4989c6")
	p.x("c1e104 83c1").b8(tss0).x("80a1").u32(gdt + 5).x("fd 0f00d9 4531ed") // no longer busy; ltr; r13 = 0
	if ap == 0 {
		p.x("b0ff e621 e6a1 b030 e643") // mask the PICs and stop the timer, which would wake HLT
		// The trampoline to its place.
		p.x("be").u32(trampoline).x("bf").u32(startup).x("b900010000 f3a4")
		p.x("b8").u32(program).x("ffe0")
	} else {
		p.x("b8ff010000 a3").u64(apicSVR) // enabled
		p.x("b8").u32(programAP).x("f0ff0425").u32(spare + 0xff8).x("ffe0")
	}
	return p.b
}

// host keeps what the guest prints.
type host struct{ out, debug []byte }

func (h *host) Poll() bool              { return false }
func (h *host) Idle(devices.Nanos) bool { return true }
func (h *host) Output(b byte)           { h.out = append(h.out, b) }
func (h *host) Debug(b byte)            { h.debug = append(h.debug, b) }

// limit is far more counts than any guest needs.
const limit = 40_000_000

// guest is a program and the machine for it.
type guest struct {
	cpus   int
	model  string // CPU model; "" is max
	main   func(p *prog)
	others func(p *prog) // nil: halt for interrupts

	noReboot bool
}

// run runs the guest to its exit on both engines, which must agree, and gives
// the vCPUs' logs.
func (g *guest) run(t *testing.T) [][]uint64 {
	t.Helper()
	kernel := g.kernel()
	var first [][]uint64
	for _, e := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		m := g.boot(t, kernel, e)
		stop := m.Run(limit)
		got := readLogs(t, m)
		var at []string
		for _, c := range m.CPUs() {
			at = append(at, fmt.Sprintf("%x:%x", c.Seg[1].Sel, c.RIP))
		}
		require.Equal(t, machine.Exited, stop, "at %v, logs %x", at, got)
		if first == nil {
			first = got
		} else {
			require.Equal(t, first, got, "the engines differ")
		}
		require.NoError(t, m.Close())
	}
	return first
}

// kernel is the guest's image.
func (g *guest) kernel() []byte {
	var main, others prog
	g.main(&main)
	main.exit()
	if g.others != nil {
		g.others(&others)
	}
	others.x("fb f4 ebfc") // sti; hlt
	kernel := image(main.b, others.b)
	copy(kernel[0x300:], start(0))
	copy(kernel[0x380:], start(1))
	binary.LittleEndian.PutUint16(kernel[0x3e0:], 0xfff)
	binary.LittleEndian.PutUint64(kernel[0x3e2:], idt)
	binary.LittleEndian.PutUint16(kernel[0x3f0:], 0xff)
	binary.LittleEndian.PutUint32(kernel[0x3f2:], gdt)
	return kernel
}

// boot makes a machine that begins with the guest.
func (g *guest) boot(t *testing.T, kernel []byte, e machine.Engine) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.CPU, cfg.TestDev, cfg.DebugExit = 32<<20, max(g.cpus, 1), "max", true, machine.DebugExitGodwit
	cfg.NoReboot = g.noReboot
	if g.model != "" {
		cfg.CPU = g.model
	}
	m, err := machine.New(cfg, machine.Images{Kernel: kernel}, &host{})
	require.NoError(t, err)
	m.SetEngine(e)
	require.NoError(t, m.Boot())
	return m
}

func readLogs(t *testing.T, m *machine.Machine) [][]uint64 {
	var all [][]uint64
	for i, c := range m.CPUs() {
		from := uint64(logs + i*0x10000)
		n := c.R[14] - from
		n = min(n, 0x200)
		b := make([]byte, n)
		require.True(t, m.Memory().Read(from, b))
		var l []uint64
		for ; len(b) >= 8; b = b[8:] {
			l = append(l, binary.LittleEndian.Uint64(b))
		}
		all = append(all, l)
	}
	return all
}

// What exceptions log.
const (
	gp = 0xe0d // and the error code follows
	ud = 0xe06
	pf = 0xe0e
	db = 0xe01
	nm = 0xe02 // NMI
)

// rule is a guest with one vCPU whose whole log is given.
type rule struct {
	name  string
	model string
	main  func(p *prog)
	want  []uint64
}

func check(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			g := guest{model: r.model, main: r.main}
			assert.Equal(t, hexes(r.want), hexes(g.run(t)[0]))
		})
	}
}

// hexes makes differences readable.
func hexes(v []uint64) []string {
	s := make([]string, len(v))
	for i, x := range v {
		s[i] = fmt.Sprintf("%x", x)
	}
	return s
}

func TestEntry(t *testing.T) {
	g := guest{main: func(p *prog) {
		p.x("8b0425").u32(spare + 0xf00).log()
		p.x("8b1c25").u32(spare + 0xf04).x("8b03 83e045").log() // flags of the information
		p.read(apicSVR)
		p.rdmsr(msrBase)
		p.in(0x3fd)
	}}
	got := g.run(t)[0]
	assert.Equal(t, hexes([]uint64{0x2badb002, 0x45, 0x1ff, baseDefault, 0x60}), hexes(got))
}
