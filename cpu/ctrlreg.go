package cpu

import "godwit/cpu/isa"

const (
	cr3NoFlush = 1 << 63

	cr0Kept   = cr0PE | cr0MP | cr0EM | cr0TS | cr0ET | cr0NE | cr0WP | cr0AM | cr0NW | cr0CD | cr0PG
	cr0Paging = cr0PE | cr0WP | cr0PG
	cr0PDPT   = cr0PG | cr0NW | cr0CD // reload the PDPTEs [SDM 3A 4.4.1]

	cr4Paging = cr4PSE | cr4PAE | cr4PGE | cr4LA57 | cr4PCIDE | cr4SMEP | cr4SMAP | cr4PKE | cr4PKS
	cr4PDPT   = cr4PSE | cr4PAE | cr4PGE | cr4SMEP
)

// Debug register bits [SDM 3B 18.2].
const (
	dr6Points = 0xf // B0...B3
	dr6BD     = 1 << 13
	dr6BS     = 1 << 14
	dr6BT     = 1 << 15
	dr7GD     = 1 << 13
	dr6One    = 0xffff0ff0 // read as 1
	dr6Set    = dr6Points | dr6BD | dr6BS | dr6BT
	dr7One    = 1 << 10
	dr7Set    = 0xffff23ff
)

func init() {
	register(map[isa.Op]handler{
		isa.MOVTOCR: knownReg(0x11d, hMovToCR), isa.MOVFROMCR: knownReg(0x11d, hMovFromCR),
		isa.MOVTODR: knownReg(0xff, hMovToDR), isa.MOVFROMDR: knownReg(0xff, hMovFromDR),
		isa.LMSW: supervisor(hLmsw), isa.SMSW: umip(hSmsw), isa.CLTS: supervisor(hClts),
	})
}

func hMovFromCR(c *CPU, in *isa.Inst) bool {
	var v uint64
	switch in.Reg {
	case 0:
		v = c.CR0
	case 2:
		v = c.CR2
	case 3:
		v = c.CR3
	case 4:
		v = c.CR4
	case 8:
		v = uint64(c.apic.TPR())
	default:
		return c.ud()
	}
	c.setReg(in, in.RM, int(in.OpSize), v)
	return true
}

func hMovToCR(c *CPU, in *isa.Inst) bool {
	v := c.reg(in, in.RM, int(in.OpSize))
	switch in.Reg {
	case 0:
		return c.setCR0(v)
	case 2:
		c.CR2 = v
		return true
	case 3:
		return c.setCR3(v)
	case 4:
		return c.setCR4(v)
	case 8:
		if v > 15 {
			return c.gp(0)
		}
		c.apic.SetTPR(uint8(v))
		c.event = true
		return true
	}
	return c.ud()
}

// setCR0 checks and loads CR0, entering or leaving long mode with PG
// [SDM 2 MOV CR, SDM 3A 10.8.5].
func (c *CPU) setCR0(v uint64) bool {
	if v>>32 != 0 || v&(cr0PG|cr0PE) == cr0PG || v&(cr0NW|cr0CD) == cr0NW {
		return c.gp(0)
	}
	v = v&cr0Kept | cr0ET
	if v&cr0PG == 0 && (c.mode == isa.Mode64 || c.CR4&cr4PCIDE != 0) {
		return c.gp(0)
	}
	efer := c.EFER
	if (v^c.CR0)&cr0PG != 0 && c.EFER&eferLME != 0 {
		if v&cr0PG != 0 && (c.CR4&cr4PAE == 0 || c.Seg[isa.CS].Attr&segL != 0 || c.TR.Attr&8 == 0) {
			return c.gp(0)
		}
		efer = efer&^eferLMA | v&cr0PG>>31*eferLMA
	}
	if v&cr0PG != 0 && efer&eferLMA == 0 && c.CR4&cr4PAE != 0 && (v^c.CR0)&cr0PDPT != 0 && !c.loadPDPT(c.CR3) {
		return false
	}
	old := c.CR0
	c.CR0, c.EFER = v, efer
	if (old^v)&cr0Paging != 0 {
		c.FlushTLB()
	}
	c.changed()
	return true
}

// setCR3 switches page tables. As a TLB entry lives only while a walk would give
// the same answer, the same value needs no flush.
func (c *CPU) setCR3(v uint64) bool {
	if c.CR4&cr4PCIDE != 0 {
		v &^= cr3NoFlush
	}
	if v&^physMask != 0 {
		return c.gp(0)
	}
	if c.CR0&cr0PG != 0 && !c.longMode() && c.CR4&cr4PAE != 0 && !c.loadPDPT(v) {
		return false
	}
	if v != c.CR3 {
		c.FlushTLB()
	}
	c.CR3 = v
	return true
}

// loadPDPT loads the four PAE page-directory pointers: the only paging entries
// that are registers [SDM 3A 4.4.1].
func (c *CPU) loadPDPT(cr3 uint64) bool {
	const reserved = 0x1e6
	var t [4]uint64
	if !c.here(cr3 & 0xffffffe0) {
		return false
	}
	for i := range t {
		t[i] = c.physRead64(cr3&0xffffffe0 + uint64(i)*8)
		if t[i]&pteP != 0 && t[i]&(^uint64(physMask)|reserved) != 0 {
			return c.gp(0)
		}
	}
	if t != c.PDPT {
		c.PDPT = t
		c.FlushTLB()
	}
	return true
}

func (c *CPU) setCR4(v uint64) bool {
	if v&^c.model.cr4 != 0 {
		return c.gp(0)
	}
	diff := v ^ c.CR4
	if c.longMode() && (v&cr4PAE == 0 || diff&cr4LA57 != 0) {
		return c.gp(0)
	}
	if diff&v&cr4PCIDE != 0 && (!c.longMode() || c.CR3&0xfff != 0) {
		return c.gp(0)
	}
	if c.CR0&cr0PG != 0 && !c.longMode() && v&cr4PAE != 0 && diff&cr4PDPT != 0 && !c.loadPDPT(c.CR3) {
		return false
	}
	c.CR4 = v
	if diff&cr4Paging != 0 {
		c.FlushTLB()
	}
	c.changed()
	return true
}

// knownReg guards a move of a control or debug register: one whose number is not
// in known is #UD at every privilege level, the others are for the supervisor.
func knownReg(known uint, h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if known>>in.Reg&1 == 0 {
			return c.ud()
		}
		return supervisor(h)(c, in)
	}
}

// hLmsw loads the low four bits of CR0, but cannot clear PE.
func hLmsw(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 0)
	return ok && c.setCR0(c.CR0&^(cr0MP|cr0EM|cr0TS)|v&(cr0PE|cr0MP|cr0EM|cr0TS))
}

// hSmsw stores CR0: sixteen bits to memory, the operand size to a register.
func hSmsw(c *CPU, in *isa.Inst) bool { return c.setArg(in, 0, c.CR0) }

func hClts(c *CPU, _ *isa.Inst) bool {
	c.CR0 &^= cr0TS
	return true
}

// debugReg resolves DR4 and DR5, which alias DR6 and DR7 unless CR4.DE is set,
// and raises general detection [SDM 3B 18.2.2, 18.2.4].
func (c *CPU) debugReg(n uint8) (uint8, bool) {
	if n > 7 {
		return 0, c.ud()
	}
	if n == 4 || n == 5 {
		if c.CR4&cr4DE != 0 {
			return 0, c.ud()
		}
		n += 2
	}
	if c.DR[7]&dr7GD != 0 {
		c.fault = Fault{Vec: vecDB, Addr: dr6BD}
		return 0, false
	}
	return n, true
}

func hMovFromDR(c *CPU, in *isa.Inst) bool {
	n, ok := c.debugReg(in.Reg)
	if ok {
		c.setReg(in, in.RM, int(in.OpSize), c.DR[n])
	}
	return ok
}

func hMovToDR(c *CPU, in *isa.Inst) bool {
	n, ok := c.debugReg(in.Reg)
	if !ok {
		return false
	}
	v := c.reg(in, in.RM, int(in.OpSize))
	if n >= 6 && v>>32 != 0 {
		return c.gp(0)
	}
	switch n {
	case 6:
		v = v&dr6Set | dr6One
	case 7:
		v = v&dr7Set | dr7One
	}
	c.DR[n] = v
	return true
}
