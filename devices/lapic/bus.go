package lapic

import "godwit/devices"

// EOI is told that a level-triggered interrupt has ended: the I/O APIC.
type EOI interface{ EOI(vector uint8) }

// Bus connects the local APICs with each other and with everything that sends
// interrupt messages. It has no state of its own.
type Bus struct {
	apics []*LAPIC // in the order of New
	eois  []EOI
}

// NewBus returns a bus with nothing on it.
func NewBus() *Bus { return &Bus{} }

// OnEOI adds a listener for ends of level-triggered interrupts.
func (b *Bus) OnEOI(e EOI) { b.eois = append(b.eois, e) }

func (b *Bus) eoi(vector uint8) {
	for _, e := range b.eois {
		e.EOI(vector)
	}
}

type lints struct {
	b *Bus
	n int
}

func (i lints) Set(level bool) {
	for _, l := range i.b.apics {
		l.SetLINT(i.n, level)
	}
}

// Input returns LINT0 or LINT1 of all local APICs together, as PCs wire them.
func (b *Bus) Input(n int) devices.Line { return lints{b, n} }

// message is an interrupt on its way.
type message struct {
	dest    uint32
	logical bool
	mode    uint8
	vector  uint8
	level   bool
}

const broadcast = 0xffffffff

// MSI takes an interrupt message, also those of the I/O APIC [SDM 3A 11.11].
func (b *Bus) MSI(addr uint64, data uint32) {
	m := message{
		dest:    uint32(addr >> 12 & 0xff),
		logical: addr&4 != 0,
		mode:    uint8(data >> 8 & 7),
		vector:  uint8(data),
		level:   data>>15&1 != 0,
	}
	if !m.logical && m.dest == 0xff {
		m.dest = broadcast
	}
	b.send(m)
}

// send delivers a message to all that it names, or to one of them.
func (b *Bus) send(m message) {
	if m.mode == modeLowest {
		if l := b.lowest(m); l != nil {
			l.deliver(modeFixed, m.vector, m.level)
		}
		return
	}
	for _, l := range b.apics {
		if l.named(m) {
			l.deliver(m.mode, m.vector, m.level)
		}
	}
}

// lowest picks the receiver of a lowest-priority message [SDM 3A 11.6.2.4].
func (b *Bus) lowest(m message) *LAPIC {
	var best *LAPIC
	for _, l := range b.apics {
		if l.named(m) && l.SVR&svrEnable != 0 && (best == nil || l.ppr() < best.ppr()) {
			best = l
		}
	}
	return best
}

// named says whether the message is addressed to l [SDM 3A 11.6.2].
func (l *LAPIC) named(m message) bool {
	switch {
	case l.BASE&baseEnable == 0:
		return false
	case m.dest == broadcast:
		return true
	case !m.logical && l.x2apic():
		return m.dest == l.w.APICID
	case !m.logical:
		return m.dest == l.w.APICID&0xff
	case l.x2apic():
		return m.dest>>16 == l.x2LDR()>>16 && m.dest&l.x2LDR()&0xffff != 0
	}
	return m.dest <= 0xff && l.inLogical(uint8(m.dest))
}

// inLogical matches an 8-bit logical destination in the flat and cluster models
// [SDM 3A 11.6.2.2].
func (l *LAPIC) inLogical(dest uint8) bool {
	ldr := uint8(l.LDR >> 24)
	if l.DFR>>28 == 0xf {
		return dest&ldr != 0
	}
	return (dest>>4 == ldr>>4 || dest>>4 == 0xf) && dest&ldr&0x0f != 0
}

// x2LDR is the logical ID that x2APIC mode derives [SDM 3A 11.12.10.2].
func (l *LAPIC) x2LDR() uint32 {
	return l.w.APICID>>4<<16 | 1<<(l.w.APICID&15)
}

// Interrupt command register [SDM 3A 11.6.1].
const (
	icrMask       = 0xccfff
	icrLogical    = 1 << 11
	icrAssert     = 1 << 14
	icrLevel      = 1 << 15
	icrHandPos    = 18
	handSelf      = 1
	handAll       = 2
	handAllButOne = 3
)

// command sends an interrupt to other processors, or to itself. Why so lenient
// with shorthands: the manual calls some combinations invalid, processors carry
// them out, and test kernels use them.
func (l *LAPIC) command(v uint64) {
	m := message{
		dest:    uint32(v >> 32),
		logical: v&icrLogical != 0,
		mode:    uint8(v >> 8 & 7),
		vector:  uint8(v),
	}
	if !l.validCommand(m, v) {
		return
	}
	switch v >> icrHandPos & 3 {
	case handSelf:
		l.deliver(m.mode, m.vector, false)
	case handAll:
		m.dest = broadcast
		l.w.Bus.send(m)
	case handAllButOne:
		l.w.Bus.sendOthers(l, m)
	default:
		if !m.logical && !l.x2apic() && m.dest == 0xff {
			m.dest = broadcast
		}
		l.w.Bus.send(m)
	}
}

// SendIPI is an interrupt command with a physical destination that does not pass
// through ICR. It reports whether somebody was addressed.
func (l *LAPIC) SendIPI(id, icr uint32) bool {
	m := message{dest: id, mode: uint8(icr >> 8 & 7), vector: uint8(icr)}
	if (m.mode != modeFixed || m.vector < 16) && m.mode != modeNMI {
		return false
	}
	found := false
	for _, o := range l.w.Bus.apics {
		if o.named(m) {
			o.deliver(m.mode, m.vector, false)
			found = true
		}
	}
	return found
}

// validCommand notes illegal vectors, and drops the INIT de-assert that only old
// processors knew and modes that cannot be sent [SDM 3A 11.6.1].
func (l *LAPIC) validCommand(m message, v uint64) bool {
	switch m.mode {
	case modeFixed, modeLowest:
		if m.vector < 16 {
			l.raise(errSendVector)
			return false
		}
	case modeInit:
		return v&(icrLevel|icrAssert) != icrLevel
	case modeExtINT, 3:
		return false
	}
	return true
}

// sendOthers sends to all but the sender.
func (b *Bus) sendOthers(from *LAPIC, m message) {
	m.dest = broadcast
	if m.mode == modeLowest {
		m.mode = modeFixed
		var best *LAPIC
		for _, l := range b.apics {
			if l != from && l.Enabled() && l.SVR&svrEnable != 0 && (best == nil || l.ppr() < best.ppr()) {
				best = l
			}
		}
		if best != nil {
			best.deliver(m.mode, m.vector, false)
		}
		return
	}
	for _, l := range b.apics {
		if l != from && l.Enabled() {
			l.deliver(m.mode, m.vector, false)
		}
	}
}
