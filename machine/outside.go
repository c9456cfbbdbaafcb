package machine

import "godwit/devices"

// Wall lets the host's clock in: guest time moves forward to t, never back.
func (m *Machine) Wall(t devices.Nanos) { m.admit(Input{Kind: InputWall, Time: int64(t)}) }

// SetRate makes guest time go on at num/den nanoseconds per count.
func (m *Machine) SetRate(num, den uint32) {
	m.admit(Input{Kind: InputWall, Time: int64(m.Now()), Num: num, Den: den})
}

// Rate is the present rate of guest time.
func (m *Machine) Rate() (num, den uint32) { return m.st.Clock.Num, m.st.Clock.Den }

// Backlog is how many typed bytes the serial port has not taken yet.
func (m *Machine) Backlog() int {
	n := len(m.st.Console)
	for _, in := range m.st.Held {
		n += len(in.Data)
	}
	return n
}

// End tells why the machine stopped for good (0: it did not), and the code that
// the guest wrote to the exit device.
func (m *Machine) End() (Stop, uint32) { return m.st.End, m.st.ExitCode }

// Replaying tells whether logged inputs are still to come.
func (m *Machine) Replaying() bool { return len(m.replay) > 0 }

// SetPoll sets how many counts lie between two calls of Host.Poll. It cannot
// change what the guest does.
func (m *Machine) SetPoll(counts uint64) {
	m.poll = max(counts, 1)
	m.nextPoll = m.st.Count
}
