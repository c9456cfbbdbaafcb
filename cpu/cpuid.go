package cpu

import (
	"encoding/binary"
	"math/bits"

	"godwit/cpu/isa"
)

// Highest leaves [SDM 2 CPUID, APM 3 appendix E].
const (
	maxLeaf    = 0x16
	maxExtLeaf = 0x80000021

	tscMHz     = 1000
	crystalHz  = 25_000_000
	lineSize   = 64
	cacheLevel = 3
)

// cache is one level of the cache that CPUID tells of.
type cache struct {
	kind, level, ways, sets uint32 // kind: 1 data, 2 instructions, 3 both
	shared                  bool   // by all vCPUs, not by one core
}

// caches are 32 KiB, 32 KiB, 512 KiB and 16 MiB, as programs size their tables
// by them.
var caches = [...]cache{
	{1, 1, 8, 64, false},
	{2, 1, 8, 64, false},
	{3, 2, 8, 1024, false},
	{3, 3, 16, 16384, true},
}

func hCpuid(c *CPU, _ *isa.Inst) bool {
	r := c.cpuid(uint32(c.R[RAX]), uint32(c.R[RCX]))
	c.R[RAX], c.R[RBX], c.R[RCX], c.R[RDX] = uint64(r[eax]), uint64(r[ebx]), uint64(r[ecx]), uint64(r[edx])
	return true
}

// cpuid answers one leaf: the model's feature bits, what is computed here, and
// the bits that follow the state of the vCPU. Leaves beyond the last read as
// zeros, as AMD's processors do.
func (c *CPU) cpuid(leaf, sub uint32) (r [4]uint32) {
	if leaf == leafHypervisor || leaf == leafFeatures {
		cpuidHypervisor(leaf, &r)
		return r
	}
	if leaf > maxLeaf && leaf>>31 == 0 || leaf > maxExtLeaf {
		return r
	}
	for i := range r {
		s := sub
		if leaf != 7 && leaf != 0xd {
			s = 0
		}
		r[i] = c.model.words[cpuidReg{leaf, s, uint8(i)}]
	}
	if leaf>>31 != 0 {
		c.cpuidExt(leaf, sub, &r)
	} else {
		c.cpuidStd(leaf, sub, &r)
	}
	return r
}

func (c *CPU) cpuidStd(leaf, sub uint32, r *[4]uint32) {
	m := c.model
	switch leaf {
	case 0:
		r[eax] = maxLeaf
		r[ebx], r[edx], r[ecx] = vendorWords(m.Vendor)
	case 1:
		r[eax] = m.signature()
		r[ebx] = uint32(c.id)<<24 | min(c.vcpus(), 255)<<16 | lineSize/8<<8
		if v, ok := c.apic.ReadMSR(msrAPICBase); ok && v>>11&1 == 0 {
			r[edx] &^= 1 << 9
		}
		if c.CR4&cr4OSXSAVE != 0 {
			r[ecx] |= 1 << 27
		}
		if c.vcpus() == 1 {
			r[edx] &^= 1 << 28 // HTT: the count in EBX is valid
		}
	case 2:
		if !m.amd() {
			r[eax], r[edx] = 0x00feff01, 0xf0 // look at leaf 4; 64-byte prefetch
		}
	case 4:
		if !m.amd() {
			c.cpuidCache(sub, r)
			r[eax] |= min(c.vcpus()-1, 63) << 26
		}
	case 5:
		if m.on["monitor"] {
			*r = [4]uint32{monitorLine, monitorLine, mwaitExtensions, mwaitStates}
		}
	case 7:
		if sub == 0 && c.CR4&cr4PKE != 0 {
			r[ecx] |= 1 << 4 // OSPKE
		}
		if sub == 0 && m.on["bhi_ctrl"] {
			r[eax] = 2 // the last subleaf
		}
	case 0xb:
		c.cpuidTopology(sub, r)
	case 0xd:
		c.cpuidXSAVE(sub, r)
	case 0x15:
		r[eax], r[ebx], r[ecx] = 1, tscMHz*1_000_000/crystalHz, crystalHz
	case 0x16:
		r[eax], r[ebx], r[ecx] = tscMHz, tscMHz, 100
	}
}

func (c *CPU) cpuidExt(leaf, sub uint32, r *[4]uint32) {
	m := c.model
	switch leaf {
	case 0x80000000:
		r[eax] = maxExtLeaf
		if m.amd() {
			r[ebx], r[edx], r[ecx] = vendorWords(m.Vendor)
		}
	case 0x80000001:
		if m.amd() {
			r[eax] = m.signature()
			r[edx] |= m.words[cpuidReg{1, 0, edx}] & 0x0183f3ff // repeated here
			if c.vcpus() == 1 {
				r[ecx] &^= 1 << 1 // CmpLegacy
			}
		}
	case 0x80000002, 0x80000003, 0x80000004:
		var b [48]byte
		copy(b[:47], m.Brand)
		for i := range r {
			r[i] = binary.LittleEndian.Uint32(b[(leaf-0x80000002)*16+uint32(i)*4:])
		}
	case 0x80000005:
		if m.amd() {
			r[eax], r[ebx] = 0xff40ff40, 0xff40ff40 // 64-entry TLBs
			r[ecx], r[edx] = 0x20080140, 0x20080140 // 32 KiB, 8 ways, 64-byte lines
		}
	case 0x80000006:
		r[ecx] = 512<<16 | 6<<12 | 1<<8 | lineSize // 512 KiB, 8 ways
		if m.amd() {
			r[edx] = 32<<18 | 8<<12 | 1<<8 | lineSize // 16 MiB, 16 ways
		}
	case 0x80000008:
		r[eax] = uint32(m.vaBits())<<8 | physBits
		if m.amd() {
			r[ecx] = uint32(bits.Len32(c.vcpus()-1))<<12 | min(c.vcpus()-1, 255)
		}
	case 0x8000001d:
		if m.on["topoext"] {
			c.cpuidCache(sub, r)
		}
	case 0x8000001e:
		if m.on["topoext"] {
			r[eax], r[ebx] = uint32(c.id), uint32(c.id)&0xff
		}
	}
}

// vaBits is the width of linear addresses that the model can have.
func (m *Model) vaBits() uint {
	if m.cr4&cr4LA57 != 0 {
		return 57
	}
	return 48
}

// vendorWords splits the vendor's name in the order EBX, EDX, ECX.
func vendorWords(v string) (b, d, e uint32) {
	w := func(i int) uint32 { return binary.LittleEndian.Uint32([]byte(v[i : i+4])) }
	return w(0), w(4), w(8)
}

// signature is family, model and stepping as in leaf 1's EAX.
func (m *Model) signature() uint32 {
	base := min(m.family, 15)
	return (m.family-base)<<20 | m.model>>4<<16 | base<<8 | m.model&15<<4 | m.stepping
}

// vcpus is the number of vCPUs, which are single-threaded cores of one package.
func (c *CPU) vcpus() uint32 { return uint32(len(c.shared.cpus)) }

// cpuidCache describes one cache as leaf 4 and leaf 8000001D do.
func (c *CPU) cpuidCache(sub uint32, r *[4]uint32) {
	if sub >= uint32(len(caches)) {
		return
	}
	k := &caches[sub]
	r[eax] = k.kind | k.level<<5 | 1<<8
	if k.shared {
		r[eax] |= (c.vcpus() - 1) & 0xfff << 14
	}
	r[ebx] = (k.ways-1)<<22 | (lineSize - 1)
	r[ecx] = k.sets - 1
}

// cpuidTopology: level 0 is the thread, of which a core has one; level 1 the
// core [SDM 2 CPUID].
func (c *CPU) cpuidTopology(sub uint32, r *[4]uint32) {
	r[ecx], r[edx] = sub&0xff, uint32(c.id)
	switch sub {
	case 0:
		r[ebx] = 1
		r[ecx] |= 1 << 8
	case 1:
		r[eax] = uint32(bits.Len32(c.vcpus() - 1))
		r[ebx] = c.vcpus()
		r[ecx] |= 2 << 8
	}
}

// cpuidXSAVE describes the XSAVE area [SDM 1 13.2].
func (c *CPU) cpuidXSAVE(sub uint32, r *[4]uint32) {
	if !c.model.on["xsave"] {
		return
	}
	switch {
	case sub == 0:
		r[eax], r[edx] = uint32(c.model.xcr0), uint32(c.model.xcr0>>32)
		r[ebx], r[ecx] = xsaveSize(c.XCR0), xsaveSize(c.model.xcr0)
	case sub == 1:
		if c.model.on["xsavec"] {
			r[ebx] = compactSize(c.XCR0)
		}
	case sub < 64 && c.model.xcr0>>sub&1 != 0:
		for i := range xparts {
			if p := &xparts[i]; p.bit == uint(sub) {
				r[eax], r[ebx] = p.size, p.off
			}
		}
	}
}
