package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"godwit/devices"
	"godwit/devices/vmclock"
	"godwit/devices/vmgenid"
	"godwit/firmware"
	"godwit/firmware/acpi"
	"godwit/snapshot"
)

// newGenID makes the generation counter.
func (m *Machine) newGenID() *vmgenid.Device {
	_, first := identity(m.cfg.Seed, nil)
	return vmgenid.New(vmgenid.Wiring{
		ID: "vmgenid0", Addr: firmware.GenID, First: first, Mem: m.dma(),
		Stall:   func() { m.dmaStalled = true },
		Changed: func() { m.pm.GPE(acpi.GenIDEvent) },
	})
}

// newVMClock makes the page that relates the time stamp counter to UTC.
func (m *Machine) newVMClock() *vmclock.Device {
	return vmclock.New(vmclock.Wiring{
		ID: "vmclock0", Addr: firmware.VMClock, Epoch: m.cfg.RTCEpoch, Mem: m.dma(),
		Stall:   func() { m.dmaStalled = true },
		Changed: func() { m.pm.GPE(acpi.VMClockEvent) },
	})
}

// lasting tells the devices that only a power-on makes forget who the machine is.
func (m *Machine) lasting(d devices.Device) bool {
	return d == devices.Device(m.genID) || d == devices.Device(m.vmclock)
}

// omit takes the devices out of the machine that a file from before them lacks. With
// them it would be another machine than the one that was saved, with another hash.
func (m *Machine) omit(secs []snapshot.Section) {
	m.devs = slices.DeleteFunc(m.devs, func(d devices.Device) bool {
		return m.lasting(d) && snapshot.Find(secs, secDevice, d.ID()) == nil
	})
	if !slices.Contains(m.devs, devices.Device(m.genID)) {
		m.genID = nil
	}
	if !slices.Contains(m.devs, devices.Device(m.vmclock)) {
		m.vmclock = nil
	}
}

// identityAt is where firmware's tables say that the two devices are; 0: there is none.
func (m *Machine) identityAt() (genID, clock uint32) {
	if m.genID != nil {
		genID = firmware.GenID
	}
	if m.vmclock != nil {
		clock = firmware.VMClock
	}
	return genID, clock
}

// showIdentity writes what a guest finds there.
func (m *Machine) showIdentity(to firmware.Memory) error {
	ok := m.genID == nil || to.Write(firmware.GenID, m.genID.GUID[:])
	ok = ok && (m.vmclock == nil || to.Write(firmware.VMClock, m.vmclock.Page()))
	if !ok {
		return fmt.Errorf("the identity at %#x or the clock at %#x does not fit", firmware.GenID, firmware.VMClock)
	}
	return nil
}

// identity makes an identity, and a seed of random numbers, of the seed so far and
// of entropy. Neither tells anything about the other.
func identity(seed uint64, entropy []byte) (next uint64, guid [vmgenid.Size]byte) {
	h := sha256.Sum256(append(binary.LittleEndian.AppendUint64([]byte("godwit identity"), seed), entropy...))
	return binary.LittleEndian.Uint64(h[:]), [vmgenid.Size]byte(h[8:])
}

// become makes the machine another one than it was.
func (m *Machine) become(entropy []byte) {
	seed, guid := identity(m.st.PRNG, entropy)
	m.st.PRNG = seed
	if m.genID != nil {
		m.genID.Change(guid)
	}
	m.disrupt(true)
}

// disrupt tells the guest that its time stamp counter did not go on as before.
func (m *Machine) disrupt(another bool) {
	if m.vmclock != nil {
		m.vmclock.Disrupt(another)
	}
}
