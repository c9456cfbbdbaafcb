package machine

import "godwit/mem"

// stall is what is known of an access that memory refuses. Nothing of it is
// state: the machine that stalls is the one before the access.
type stall struct {
	on      bool
	count   uint64
	refusal mem.Refusal
	spent   bool // refusal is that of a budget, at count
	excused bool // one operation may pass the budget
}

// Stall says, after Run returned Stalled, what it waits for. When that may be over
// the memory's Room receives, and Run goes on as if there had been no wait.
func (m *Machine) Stall() mem.Refusal { return m.stall.refusal }

// OnStall has f told when Run returns Stalled, and again, with on false, when Run
// is called the next time. The result ends it.
func (m *Machine) OnStall(f func(r mem.Refusal, on bool)) (end func()) {
	m.onStall = append(m.onStall, f)
	i := len(m.onStall) - 1
	return func() { m.onStall[i] = nil }
}

func (m *Machine) tellStall() {
	for _, f := range m.onStall {
		if f != nil {
			f(m.stall.refusal, m.stall.on)
		}
	}
}

func (m *Machine) hold() {
	m.stall.on, m.stall.refusal = true, m.mem.Refused()
	m.tellStall()
}

func (m *Machine) goOn() {
	if m.stall.on {
		m.stall.on = false
		m.tellStall()
	}
}

// excuse lets an operation pass the dirty budget that it alone exhausts: it was
// held up at this count already in an earlier interval, and since then nothing has
// happened. Else it would be held up for ever.
func (m *Machine) excuse() bool {
	s, r := &m.stall, m.mem.Refused()
	if r.Why != mem.BudgetSpent {
		s.spent = false
		return false
	}
	again := s.spent && s.count == m.st.Count && s.refusal.Interval != r.Interval
	s.spent, s.count = true, m.st.Count
	if s.refusal = r; !again {
		return false
	}
	s.excused = true
	m.mem.SetGrace(true)
	return true
}

func (m *Machine) endExcuse() {
	if m.stall.excused {
		m.stall.excused = false
		m.mem.SetGrace(false)
	}
}

// Halt keeps the machine from running, whoever calls Run, or lets it run again.
// What comes in meanwhile waits.
func (m *Machine) Halt(on bool) { m.halted = on }
