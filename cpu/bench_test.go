package cpu

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"godwit/cpu/isa"
	"godwit/mem"
)

// bench64 makes a vCPU in 64-bit mode, ring 0, with the first GiB mapped to
// itself: by 4 KiB pages up to 64 MiB, so that the TLB has work. Code is at 1 MiB
// and is entered with RSP at 512 KiB.
func bench64(b testing.TB, code []byte) *CPU {
	m, err := mem.New(64 << 20)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	model, err := LookupModel(DefaultModel)
	if err != nil {
		b.Fatal(err)
	}
	c := New(0, model, m, NewShared(m), &testBus{mmio: map[uint64]uint64{}}, &testAPIC{})
	c.apic.(*testAPIC).c = c
	const pml4, pdpt, pd, pt = 0x1000, 0x2000, 0x3000, 0x10000
	put := func(at, v uint64) { m.Write(at, binary.LittleEndian.AppendUint64(nil, v)) }
	put(pml4, pdpt|3)
	put(pdpt, pd|3)
	for i := uint64(0); i < 32; i++ {
		put(pd+8*i, pt+i<<12|3)
		for j := uint64(0); j < 512; j++ {
			put(pt+i<<12+8*j, (i*512+j)<<12|3)
		}
	}
	m.Write(1<<20, code)
	c.CR0, c.CR3, c.CR4, c.EFER = cr0PE|cr0PG|cr0WP|cr0NE, pml4, cr4PAE, eferLME|eferLMA|eferNXE
	c.Seg[isa.CS].Attr = segP | segS | segCode | segReadable | segL
	c.RFLAGS, c.RIP, c.R[RSP] = flagsFixed, 1<<20, 512<<10
	c.changed()
	c.FlushTLB()
	return c
}

func run(b *testing.B, c *CPU) {
	c.Run(c.Count + 2_000_000) // translate and warm
	start := c.Count
	b.ReportAllocs()
	b.ResetTimer()
	c.Run(start + uint64(b.N))
	if c.Count != start+uint64(b.N) {
		b.Fatalf("stopped at rip %#x after %d", c.RIP, c.Count-start)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "MIPS")
}

// BenchmarkHotLoop: add, xor, shift, lea, counted branch.
func BenchmarkHotLoop(b *testing.B) {
	run(b, bench64(b, []byte{
		0x48, 0x01, 0xc8, 0x48, 0x31, 0xc2, 0x48, 0xc1, 0xe2, 0x03, 0x48, 0x8d, 0x5c, 0x0b, 0x05,
		0x48, 0x83, 0xef, 0x01, 0x48, 0x85, 0xff, 0x75, 0xe8, 0xeb, 0xe6,
	}))
}

// largeCode is a megabyte of short functions with varied bodies, called in
// random order.
func largeCode() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	bodies := [][]byte{
		{0x48, 0x01, 0xd8},
		{0x31, 0xca},
		{0x48, 0x8b, 0x47, 0x10},
		{0x48, 0x89, 0x47, 0x18},
		{0x0f, 0xb6, 0x07},
		{0x48, 0x8d, 0x04, 0x0b},
		{0xc1, 0xe0, 0x03},
		{0x48, 0x83, 0xc1, 0x07},
		{0x85, 0xc0, 0x74, 0x02, 0x89, 0xd9},
		{0x39, 0xd8, 0x72, 0x03, 0x48, 0xff, 0xc3},
		{0x50, 0x58},
		{0x48, 0x63, 0xd0},
		{0x0f, 0x44, 0xc1},
		{0x25, 0xff, 0x0f, 0, 0},
	}
	const functions, size = 8192, 128
	code := make([]byte, functions*size)
	order := rng.Perm(functions)
	for k, f := range order {
		p := code[f*size : (f+1)*size]
		n := 0
		for n < size-24 {
			n += copy(p[n:], bodies[rng.IntN(len(bodies))])
		}
		next := order[(k+1)%functions]
		p[n] = 0xe9
		binary.LittleEndian.PutUint32(p[n+1:], uint32(int32(next*size-f*size-n-5)))
	}
	return code
}

func BenchmarkLargeCode(b *testing.B) {
	c := bench64(b, largeCode())
	c.R[RDI] = 32 << 20
	run(b, c)
}

// BenchmarkCopyLoop: a loop that moves eight bytes at a time over 1 MiB.
func BenchmarkCopyLoop(b *testing.B) {
	c := bench64(b, []byte{
		0x48, 0x8b, 0x04, 0x0e, 0x48, 0x89, 0x04, 0x0f, 0x48, 0x83, 0xc1, 0x08, 0x48, 0x81, 0xe1, 0xf8, 0xff, 0x0f, 0x00, 0xeb, 0xeb,
	})
	c.R[RSI], c.R[RDI] = 16<<20, 32<<20
	run(b, c)
}

// BenchmarkChase: dependent loads through 32 MiB of 4 KiB pages, one a page.
func BenchmarkChase(b *testing.B) {
	c := bench64(b, []byte{0x48, 0x8b, 0x00, 0xeb, 0xfb})
	const base, pages = 32 << 20, 8192
	order := rand.New(rand.NewPCG(3, 4)).Perm(pages)
	for i, p := range order {
		next := uint64(base + order[(i+1)%pages]<<12)
		c.mem.Write(uint64(base+p<<12), binary.LittleEndian.AppendUint64(nil, next))
	}
	c.R[RAX] = base
	run(b, c)
}

// BenchmarkReference: the hot loop on the reference engine.
func BenchmarkReference(b *testing.B) {
	c := bench64(b, []byte{
		0x48, 0x01, 0xc8, 0x48, 0x31, 0xc2, 0x48, 0xc1, 0xe2, 0x03, 0x48, 0x8d, 0x5c, 0x0b, 0x05,
		0x48, 0x83, 0xef, 0x01, 0x48, 0x85, 0xff, 0x75, 0xe8, 0xeb, 0xe6,
	})
	b.ReportAllocs()
	b.ResetTimer()
	c.RunReference(uint64(b.N))
}
