package machine

import (
	"godwit/cpu"
	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/virtio/blk"
)

// Stop says why Run returned.
type Stop uint8

// Reasons to stop. From Off on they are for good, and part of the state.
const (
	Reached    Stop = iota // the count asked for
	Paused                 // the host asked
	Stalled                // memory refuses an access for now: Stall says why
	Idle                   // all vCPUs wait and nothing can wake them
	Off                    // the guest powered off
	Exited                 // the guest wrote to the exit device
	Tripled                // triple fault
	Rebooted               // the guest asked for a reset and the configuration says not to
	Hibernated             // off by S4: the guest has kept its state itself
)

func (s Stop) String() string {
	return [...]string{"count reached", "paused", "stalled", "idle for ever", "powered off", "exited", "triple fault", "reboot refused", "hibernated"}[s]
}

// Run executes until the count reaches until, or a reason to stop. The state at
// count N is the one before anything due at N is delivered.
func (m *Machine) Run(until uint64) Stop {
	m.goOn()
	s := m.run(until)
	if s == Stalled {
		m.hold()
	}
	return s
}

// RunTime executes until guest time has reached t, or a reason to stop. Where all
// vCPUs wait, time is not skipped beyond t: Reached then means that the guest has
// nothing to do before t. In what order counts and times are asked for leaves no
// trace in the guest.
func (m *Machine) RunTime(t devices.Nanos) Stop {
	m.horizon = t
	defer func() { m.horizon = Forever }()
	return m.Run(^uint64(0))
}

func (m *Machine) run(until uint64) Stop {
	for {
		switch {
		case m.st.End != 0:
			return m.st.End
		case m.halted:
			return Paused
		}
		if !m.retry() {
			switch s := m.await(); {
			case s == Reached, s == Stalled && m.excuse():
				continue
			default:
				return s
			}
		}
		m.release()
		if m.st.Count >= m.point {
			m.point = m.onPoint(m.st.Count)
		}
		if m.st.Reset {
			if m.cfg.NoReboot {
				m.st.End = Rebooted
				continue
			}
			if m.trouble = m.fetchImages(); m.trouble != nil {
				return Paused
			}
			if !m.reboot() {
				if m.excuse() {
					continue
				}
				return Stalled
			}
		}
		if m.st.Sleep != awake && !m.step() {
			if m.excuse() {
				continue
			}
			return Stalled
		}
		if m.st.Count >= until || m.horizon != Forever && m.Now() >= m.horizon {
			return Reached
		}
		if m.host != nil && m.st.Count >= m.nextPoll {
			m.nextPoll = m.st.Count + m.poll
			if m.host.Poll() {
				return Paused
			}
		}
		if m.replayDue() || m.fireDue() {
			continue
		}
		c := m.pick()
		if c == nil {
			m.endExcuse()
			next := m.next()
			if next > m.horizon || next == Forever && m.horizon != Forever {
				return Reached
			}
			if s := m.idle(next); s != Reached {
				return s
			}
			continue
		}
		if m.runCPU(c, until) && !m.excuse() {
			return Stalled
		}
	}
}

// pick chooses the vCPU whose turn it is; nil when all wait.
func (m *Machine) pick() *cpu.CPU {
	n := uint32(len(m.cpus))
	if m.st.Sleep != awake {
		return nil
	}
	if n == 1 {
		if m.cpus[0].Idle() {
			return nil
		}
		return m.cpus[0]
	}
	if m.st.Count >= m.st.SliceEnd {
		m.endTurn()
	}
	for i := uint32(0); i < n; i++ {
		c := m.cpus[m.st.Turn]
		if !c.Idle() {
			return c
		}
		m.endTurn()
	}
	return nil
}

func (m *Machine) endTurn() {
	m.st.Turn = (m.st.Turn + 1) % uint32(len(m.cpus))
	m.st.SliceEnd = m.st.Count + m.cfg.Slice
}

// runCPU runs one vCPU up to the next thing that is due.
func (m *Machine) runCPU(c *cpu.CPU, until uint64) (stalled bool) {
	limit := until
	if len(m.cpus) > 1 {
		limit = min(limit, m.st.SliceEnd)
	}
	if m.host != nil {
		limit = min(limit, m.nextPoll)
	}
	if len(m.st.Queue) > 0 {
		limit = min(limit, m.st.Clock.count(devices.Nanos(m.st.Queue[0].At)))
	}
	if len(m.replay) > 0 {
		limit = min(limit, m.replay[0].Count)
	}
	if len(m.st.Held) > 0 {
		limit = min(limit, max(m.st.Held[0].Count, m.st.Count+1))
	}
	if m.horizon != Forever {
		limit = min(limit, m.st.Clock.count(m.horizon))
	}
	limit = min(limit, m.point)
	if m.stall.excused {
		limit = m.st.Count + 1
	}
	m.cur = c
	c.Count = m.st.Count
	if m.engine == EngineReference {
		c.RunReference(limit)
	} else {
		c.Run(limit)
	}
	m.st.Count = c.Count
	m.cur = nil
	m.after(c)
	if !c.Stalled() {
		m.endExcuse()
	}
	return c.Stalled()
}

// after looks at what the vCPU did to the machine.
func (m *Machine) after(c *cpu.CPU) {
	m.note(c)
	if c.Activity == cpu.Shutdown {
		m.st.End = Tripled
	}
	if len(m.cpus) > 1 && c.Yielded() {
		m.endTurn()
	}
	if c.Event() {
		m.placeAPIC(c)
	}
	if m.fed {
		m.fed = false
		m.feed()
	}
}

// placeAPIC tells a vCPU where its local APIC hides memory.
func (m *Machine) placeAPIC(c *cpu.CPU) {
	if base, on := m.lapics[c.ID()].Base(); on {
		c.SetAPICPage(base)
	} else {
		c.SetAPICPage(^uint64(0))
	}
}

// fireDue lets the events happen whose time has come, until one of them cannot be
// finished: those behind it must not overtake it.
func (m *Machine) fireDue() bool {
	now := m.Now()
	fired := false
	for len(m.st.Queue) > 0 && devices.Nanos(m.st.Queue[0].At) <= now && !m.dmaStalled {
		d := m.st.Queue[0]
		m.st.Queue = append(m.st.Queue[:0], m.st.Queue[1:]...)
		m.devs[d.Dev].Event(devices.EventID(d.Ev))
		fired = true
	}
	return fired
}

// replayDue applies the logged inputs whose count and time have come.
func (m *Machine) replayDue() bool {
	did := false
	for len(m.replay) > 0 && !m.dmaStalled {
		in := m.replay[0]
		if in.Count > m.st.Count || (in.Kind != InputWall && in.Time > int64(m.Now())) {
			break
		}
		m.replay = m.replay[1:]
		m.apply(in)
		did = true
	}
	return did
}

// next is when something is due at last: the next deadline, or an input that is
// replayed. Forever: nothing is, or nothing that makes a vCPU run.
func (m *Machine) next() devices.Nanos {
	next := Forever
	if m.Deaf() {
		return next
	}
	if len(m.st.Queue) > 0 {
		next = devices.Nanos(m.st.Queue[0].At)
	}
	if m.replaying() && m.replay[0].Kind == InputWall {
		next = min(next, devices.Nanos(m.replay[0].Time))
	}
	return next
}

// replaying tells that the next input of a log belongs to the present count.
func (m *Machine) replaying() bool { return len(m.replay) > 0 && m.replay[0].Count == m.st.Count }

// Deaf tells that no vCPU executes anything again, whatever becomes due, before an input
// comes: they have all halted with interrupts off or never begun, and nothing sends
// what wakes them then. It follows from the state alone. In virtual time a guest's end
// is then seen, though its timers tick; by the wall clock time goes on. What a log says
// came later in guest time has it go on too, and so do requests to disks, which may fail.
func (m *Machine) Deaf() bool {
	if m.cfg.Clock == ClockWall || m.st.Sleep != awake || m.replaying() {
		return false
	}
	for _, c := range m.cpus {
		if !c.Deaf() {
			return false
		}
	}
	for _, d := range m.devs {
		if w, ok := d.(bus.Waker); ok && w.Wakes() {
			return false
		}
	}
	for _, d := range m.st.Queue {
		if _, ok := m.devs[d.Dev].(*blk.Device); ok {
			return false
		}
	}
	return true
}

// idle passes the time until the next deadline: at once in virtual time, as long
// as the host says otherwise.
func (m *Machine) idle(next devices.Nanos) Stop {
	if !m.replaying() && m.host != nil && (next == Forever || m.cfg.Clock == ClockWall) {
		before := len(m.st.Console)
		if m.host.Idle(next) {
			return Paused
		}
		if m.cfg.Clock == ClockWall || len(m.st.Console) != before || next == Forever {
			return Reached
		}
	}
	if next == Forever {
		return Idle
	}
	m.st.Clock.jump(m.st.Count, next)
	return Reached
}
