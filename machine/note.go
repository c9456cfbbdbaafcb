package machine

import (
	"fmt"

	"godwit/cpu"
	"godwit/devices"
)

// Noter is a Host that wants to be told, in a line, what a guest did that is
// likely to be a gap of this program or a bug of the guest. Minor is what kernels
// do on purpose: they try MSRs that many processors lack.
type Noter interface{ Note(line string, minor bool) }

// noteEvery is the least guest time between two notes of one kind.
const noteEvery = devices.Nanos(1e9)

// notes remembers what was told. It is not state.
type notes struct {
	undefined, msrs uint64
	nextUD, nextMSR devices.Nanos
	nextPanic       devices.Nanos // of the first vCPU's only
}

// note tells the host of unimplemented instructions and unknown MSRs, at most
// one line of each kind a second of guest time.
func (m *Machine) note(c *cpu.CPU) {
	s := c.Stats()
	n := &m.noted[c.ID()]
	if s.Undefined == n.undefined && s.UnknownMSRs == n.msrs {
		return
	}
	host, ok := m.host.(Noter)
	now := m.Now()
	if s.Undefined != n.undefined && now >= n.nextUD && ok {
		u := s.LastUndefined
		host.Note(fmt.Sprintf("vcpu %d at #%d: no such instruction at %#x: % x (%d so far); the guest gets #UD", c.ID(), m.count(), u.RIP, u.Bytes[:u.Len], s.Undefined), false)
		n.nextUD = now + noteEvery
	}
	if s.UnknownMSRs != n.msrs && now >= n.nextMSR && ok {
		host.Note(fmt.Sprintf("vcpu %d at #%d: no such msr %#x (%d so far); the guest gets #GP", c.ID(), m.count(), s.LastMSR, s.UnknownMSRs), true)
		n.nextMSR = now + noteEvery
	}
	n.undefined, n.msrs = s.Undefined, s.UnknownMSRs
}

// notePanic tells the host that the guest's kernel has crashed, at most once a
// second of guest time.
func (m *Machine) notePanic() {
	n := &m.noted[0]
	if host, ok := m.host.(Noter); ok && m.Now() >= n.nextPanic {
		host.Note(fmt.Sprintf("the guest's kernel says at #%d that it has panicked", m.count()), false)
		n.nextPanic = m.Now() + noteEvery
	}
}
