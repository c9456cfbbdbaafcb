package machine

import (
	"crypto/sha256"
	"encoding/binary"

	"godwit/devices/vmgenid"
	"godwit/firmware"
	"godwit/firmware/acpi"
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
}
