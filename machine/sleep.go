package machine

import (
	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/firmware"
)

// Sleep is how far a machine is into and out of ACPI's S3, in which nothing but
// memory, the real-time clock and the power management block have current.
type Sleep uint8

// Steps of S3.
const (
	awake  Sleep = iota
	dozing       // asked for: before the next instruction everything else is reset
	asleep
	waking // the next thing to happen is what firmware does after S3
)

// Sleep is what the guest asks for by SLP_TYP: S3, or S4, which is to be off, its
// state having been kept by the guest. Machines with a BIOS have neither: it would
// have to do what wake does. Other types are ignored, as boards without them do.
func (p *power) Sleep(typ uint8) {
	switch {
	case len(p.images.Bios) != 0:
	case typ == acpipm.SleepS3:
		p.st.Sleep = dozing
	case typ == acpipm.SleepS4:
		p.st.End = Hibernated
	}
}

// Asleep tells whether the guest is in S3.
func (m *Machine) Asleep() bool { return m.st.Sleep == dozing || m.st.Sleep == asleep }

// Waits tells whether no vCPU has anything to do before something happens.
func (m *Machine) Waits() bool {
	if m.st.Sleep != awake {
		return m.st.Sleep == asleep && !m.pm.Rouses()
	}
	for _, c := range m.cpus {
		if !c.Idle() {
			return false
		}
	}
	return true
}

// rouse ends S3, if the guest is in it.
func (m *Machine) rouse() {
	if m.st.Sleep == asleep {
		m.st.Sleep = waking
	}
}

// step takes the next step into or out of S3. False: memory refuses it for now, and
// nothing has happened yet.
func (m *Machine) step() bool {
	if m.st.Sleep == dozing {
		m.doze()
	}
	if m.st.Sleep == asleep && m.pm.Rouses() {
		m.st.Sleep = waking
	}
	return m.st.Sleep != waking || m.wake()
}

// doze takes current from all but what stays on.
func (m *Machine) doze() {
	m.st.Sleep = asleep
	for _, d := range m.devs {
		if d != devices.Device(m.rtc) && d != devices.Device(m.pm) && !m.lasting(d) {
			d.Reset(devices.Warm)
		}
	}
	for _, c := range m.cpus {
		c.Reset()
		m.placeAPIC(c)
	}
	m.st.Turn, m.st.SliceEnd = 0, m.st.Count+m.cfg.Slice
}

// wake is what firmware does after S3: it makes the settings that kernels take for
// granted and goes where the kernel wants to go on. One that says no place boots.
func (m *Machine) wake() bool {
	r := rehearsal{m.mem, true}
	e, ok := firmware.Wake(&r)
	if !r.ok {
		return false
	}
	m.st.Sleep = awake
	m.pm.Wake()
	if !ok {
		m.st.Reset = true
		return true
	}
	err := m.asAfterFirmware(e)
	if err == nil {
		err = m.enter(m.cpus[0], e)
	}
	if err != nil { // of a state that no machine saved: its vCPUs are not as doze leaves them
		m.st.Reset = true
	}
	return true
}
