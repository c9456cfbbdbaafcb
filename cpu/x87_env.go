package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

func init() {
	register(map[isa.Op]handler{
		isa.FNSTENV: hFnstenv, isa.FLDENV: hFldenv, isa.FNSAVE: hFnsave, isa.FRSTOR: hFrstor,
		isa.FNENI: hFneni, isa.FNDISI: hFneni, isa.FNSETPM: hFneni,
	})
}

// environment is the x87 environment in memory: seven fields, each in a word or
// doubleword of its own. Its four formats go by operand size and mode
// [SDM 1 8.1.10, figures 8-9 to 8-12].
type environment [7]uint32

// Fields of an environment. The last four hold the pointers, in the formats'
// own ways.
const (
	envFCW = iota
	envFSW
	envFTW
	envIP
	envCS
	envDP
	envDS
)

const regsX87 = 80 // the registers in an image of FNSAVE, after the environment

// envField is the size of a field.
func envField(in *isa.Inst) int {
	if in.OpSize == 2 {
		return 2
	}
	return 4
}

// linearEnv tells that pointers are linear addresses: in real-address and
// virtual-8086 mode. In the other modes they are selector and offset.
func (c *CPU) linearEnv() bool { return !c.protected() }

// environment makes an environment of the state. Reserved halves of doublewords
// read as ones.
func (c *CPU) environment(field int) (v environment) {
	v = environment{
		envFCW: uint32(c.FCW), envFSW: uint32(c.FSW), envFTW: uint32(c.tagWord()),
		envIP: uint32(c.FIP), envCS: uint32(c.FCS), envDP: uint32(c.FDP), envDS: uint32(c.FDS),
	}
	if field == 4 {
		for _, i := range [...]int{envFCW, envFSW, envFTW} {
			v[i] |= 0xffff0000
		}
	}
	switch {
	case c.linearEnv():
		c.linearPointers(&v, field)
	case field == 4:
		v[envCS] |= uint32(c.FOP) << 16
		v[envDS] |= 0xffff0000
	}
	return v
}

// linearPointers puts linear addresses into v: their low sixteen bits in one
// field, those above from bit 12 in the next, beside FOP.
func (c *CPU) linearPointers(v *environment, field int) {
	ip, dp := uint32(c.FIP)+uint32(c.FCS)<<4, uint32(c.FDP)+uint32(c.FDS)<<4
	v[envIP], v[envDP] = ip&0xffff, dp&0xffff
	v[envCS], v[envDS] = ip>>16<<12|uint32(c.FOP), dp>>16<<12
	if field == 4 {
		v[envIP] |= 0xffff0000
		v[envDP] |= 0xffff0000
	}
}

// setEnvironment loads the state from v.
func (c *CPU) setEnvironment(v environment, field int) {
	c.FCW = uint16(v[envFCW])&fcwMask | fcwFixed
	c.FSW = uint16(v[envFSW])
	c.setTagWord(uint16(v[envFTW]))
	c.summarizeX87()
	if c.linearEnv() {
		c.FIP, c.FCS = uint64(v[envIP]&0xffff|v[envCS]>>12<<16), 0
		c.FDP, c.FDS = uint64(v[envDP]&0xffff|v[envDS]>>12<<16), 0
		c.FOP = uint16(v[envCS]) & 0x7ff
		return
	}
	c.FIP, c.FCS = uint64(v[envIP]), uint16(v[envCS])
	c.FDP, c.FDS = uint64(v[envDP]), uint16(v[envDS])
	c.noSelectors()
	c.FOP = 0
	if field == 4 {
		c.FOP = uint16(v[envCS]>>16) & 0x7ff
	}
}

// tagWord is the full tag word, of physical registers: 0 valid, 1 zero, 2
// special, 3 empty [SDM 1 8.1.7].
func (c *CPU) tagWord() (w uint16) {
	for i := range c.ST {
		tag := uint16(2)
		switch cc := fp.Examine(fp.F80(c.ST[i])) &^ fp.C1; {
		case c.FTW>>i&1 == 0:
			tag = 3
		case cc == fp.C2:
			tag = 0
		case cc == fp.C3:
			tag = 1
		}
		w |= tag << (2 * i)
	}
	return w
}

func (c *CPU) setTagWord(w uint16) {
	c.FTW = 0
	for i := range c.ST {
		if w>>(2*i)&3 != 3 {
			c.FTW |= 1 << i
		}
	}
}

// putEnvironment writes to a place that was checked.
func (c *CPU) putEnvironment(p *placeX87, field int) {
	for i, v := range c.environment(field) {
		c.poke(p.at(uint64(i*field)), field, uint64(v))
	}
}

// getEnvironment reads from a place that was checked.
func (c *CPU) getEnvironment(p *placeX87, field int) (v environment) {
	for i := range v {
		v[i] = uint32(c.peek(p.at(uint64(i*field)), field))
	}
	return v
}

// hFnstenv stores the environment, and masks all exceptions.
func hFnstenv(c *CPU, in *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	field := envField(in)
	p, ok := c.placeX87(in, len(environment{})*field, field, accWrite)
	if !ok {
		return false
	}
	c.putEnvironment(&p, field)
	c.FCW |= fswErrors
	c.summarizeX87()
	return true
}

func hFldenv(c *CPU, in *isa.Inst) bool {
	if !c.useFPU() {
		return false
	}
	field := envField(in)
	p, ok := c.placeX87(in, len(environment{})*field, field, accRead)
	if !ok {
		return false
	}
	c.setEnvironment(c.getEnvironment(&p, field), field)
	return true
}

// hFnsave stores environment and registers, and then does what FNINIT does.
func hFnsave(c *CPU, in *isa.Inst) bool {
	if !c.fpuOn() {
		return false
	}
	field := envField(in)
	size := len(environment{}) * field
	p, ok := c.placeX87(in, size+regsX87, field, accWrite)
	if !ok {
		return false
	}
	c.putEnvironment(&p, field)
	for i := range uint8(8) {
		v := c.st(i)
		c.pokeImage(&p, uint64(size)+10*uint64(i), 10, image{v.Mant, v.SE})
	}
	c.initX87()
	return true
}

func hFrstor(c *CPU, in *isa.Inst) bool {
	if !c.useFPU() {
		return false
	}
	field := envField(in)
	size := len(environment{}) * field
	p, ok := c.placeX87(in, size+regsX87, field, accRead)
	if !ok {
		return false
	}
	c.setEnvironment(c.getEnvironment(&p, field), field)
	for i := range uint8(8) {
		at := uint64(size) + 10*uint64(i)
		c.ST[c.phys(i)] = F80{Mant: c.peek(p.at(at), 8), SE: uint16(c.peek(p.at(at+8), 2))}
	}
	return true
}

// hFneni is FNENI, FNDISI and FNSETPM, which the 80287 and 80387 made no-ops.
func hFneni(c *CPU, _ *isa.Inst) bool { return c.fpuOn() }
