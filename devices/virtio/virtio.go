// Package virtio is the part that all virtio devices share: the transport over
// PCI and the split virtqueues.
//
// Specification: [VIRTIO 1.3], sections 2 and 4.1. Modelled: the modern interface
// with its five capabilities, feature negotiation, split rings with indirect
// descriptors and event indexes, MSI-X with the pin as fallback. Not modelled:
// the legacy interface, packed rings, queue reset, notification data, shared
// memory, administration queues.
//
// What the driver supplies is checked: a queue whose rings make no sense stops the
// device with DEVICE_NEEDS_RESET [VIRTIO 1.3 2.1.2], as does a chain that is
// longer than its queue or than MaxChain bytes.
//
// A device answers at the moment of the driver's notification or, for a device
// whose work takes time, later: it takes chains with Take, keeps their heads and
// segments in its own state together with the instant they are due, and ends each
// with Done. Nothing is in flight outside of state.
package virtio

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/pci"
)

// Device status bits [VIRTIO 1.3 2.1].
const (
	statusDriverOK   = 1 << 2
	statusFeaturesOK = 1 << 3
	statusNeedsReset = 1 << 6
)

// Feature bits that do not belong to a type of device [VIRTIO 1.3 6].
const (
	FeatureIndirect = 1 << 28
	FeatureEventIdx = 1 << 29
	FeatureVersion1 = 1 << 32

	commonFeatures = FeatureIndirect | FeatureEventIdx | FeatureVersion1
)

// noVector is the vector of what does not interrupt [VIRTIO 1.3 4.1.5.1.2].
const noVector = 0xffff

const (
	isrQueue  = 1 << 0 // [VIRTIO 1.3 4.1.4.5]
	isrConfig = 1 << 1
)

// Bounds of what a driver can ask for.
const (
	MaxQueueSize = 1024
	MaxQueues    = 62 // the MSI-X vectors of package pci, without the configuration's
	MaxSegments  = 1024
	MaxChain     = 256 << 20 // bytes of a chain; the standard would allow 4 GiB
)

// DMA is guest memory. False means that the host cannot do it now: it lacks room to
// keep what a page held before, or the page itself. The machine stands still until
// that is over, and what was asked for is asked for again.
type DMA interface {
	Read(pa uint64, b []byte) bool
	Write(pa uint64, b []byte) bool
}

// Wiring is what a device's transport is connected to.
type Wiring struct {
	Bus  *pci.Bus
	Slot uint8
	Line devices.Line // the slot's INTA
	MSI  bus.MSI
	Mem  DMA
	// Stall asks the machine to run no instruction before it has called Retry and
	// that did not ask again.
	Stall func()
	// GuestError counts a driver's mistake; nil: nobody counts.
	GuestError func(id, what string)
}

// Spec is what a type of device is.
type Spec struct {
	ID         uint16 // [VIRTIO 1.3 5]
	Class      uint32 // PCI class
	Features   uint64 // beyond the common ones
	Queues     []uint16
	ConfigSize uint64        // bytes of the device configuration
	Regs       []devices.Reg // of it, as space "device"
}

// Type is what a type of device does.
type Type interface {
	// Serve looks at queue q: the driver has notified it, or work on it could not
	// go on before. The device runs.
	Serve(q int)
	// Restart is the driver's reset of the device.
	Restart()
	// ReadConfig and WriteConfig answer the device configuration.
	ReadConfig(off uint64, size int) uint64
	WriteConfig(off uint64, size int, v uint64)
}

// State is the guest-visible state of a transport.
type State struct {
	Config       pci.Config  `cbor:"1,keyasint"`
	MSIX         pci.Vectors `cbor:"2,keyasint"`
	Features     uint64      `cbor:"3,keyasint"` // the driver's
	DeviceSelect uint32      `cbor:"4,keyasint"`
	DriverSelect uint32      `cbor:"5,keyasint"`
	Status       uint8       `cbor:"6,keyasint"`
	ISR          uint8       `cbor:"7,keyasint"`
	Generation   uint8       `cbor:"8,keyasint"`
	ConfigVector uint16      `cbor:"9,keyasint"`
	QueueSelect  uint16      `cbor:"10,keyasint"`
	Queues       []Queue     `cbor:"11,keyasint"`
}

// Queue is the state of a virtqueue.
type Queue struct {
	Size    uint16 `cbor:"1,keyasint"`
	Vector  uint16 `cbor:"2,keyasint"`
	Enabled bool   `cbor:"3,keyasint"`
	Kicked  bool   `cbor:"4,keyasint"` // to be served as soon as that is possible
	Desc    uint64 `cbor:"5,keyasint"` // guest physical addresses
	Driver  uint64 `cbor:"6,keyasint"`
	Device  uint64 `cbor:"7,keyasint"`
	Avail   uint16 `cbor:"8,keyasint"` // index of the next chain to take
	Used    uint16 `cbor:"9,keyasint"` // index of the next used entry to write
}

// Transport is the shared part of a device. A device embeds it beside its state,
// which has the transport's State as a part. (It is an interface so that nobody
// can reach what is behind it: wiring and pointers into that state.)
type Transport interface {
	ID() string
	Reset(kind devices.ResetKind)
	Restored() error
	Regs() []devices.Reg

	// Retry serves the queues that could not be served; see Wiring.Stall.
	Retry()
	// Has tells whether the driver accepted all bits of a feature mask.
	Has(features uint64) bool
	// Wakes is bus.Waker's, of the interrupt messages.
	Wakes() bool
	// Live tells whether the device runs: configured and not broken.
	Live() bool
	// Changed tells the driver that the device configuration is a new one.
	Changed()
	// Broken marks a driver's mistake after which nothing can go on.
	Broken(what string)
	// GuestError counts a lesser one.
	GuestError(what string)

	// Available is how many chains the driver has put into queue q.
	Available(q int) int
	// Next shows the next of them, valid until the following call. It makes sure
	// that nothing written to its segments, Take and Done can stall; nil: there is
	// none, or it would, and then the queue is served again later.
	// Preconditions: Available(q) counted it.
	Next(q int) *Chain
	// Look is Next for a device that answers later: nothing is made sure of but that
	// Take cannot stall and what the driver supplies can be read.
	Look(q int) *Chain
	// Capacity is how many bytes there are to write to in the chains available. It
	// has no effects.
	Capacity(q int) uint64
	// Take removes the chain that Next showed.
	Take(q int)
	// Done gives a chain back with the bytes written to it. False: it would stall,
	// and nothing was done.
	Done(q int, head uint16, written uint32) bool
	// Used is the index that Signal asks for.
	Used(q int) uint16
	// Signal interrupts the driver if it wants to know of what was done since
	// Used was old.
	Signal(q int, old uint16)
	// Touch makes sure that n bytes at pa can be written now. False: the machine
	// was asked to stall; queue q is served again.
	Touch(q int, pa, n uint64) bool
	// Gather copies bytes that the driver wrote to a chain, from offset off on, and
	// tells how many.
	Gather(c *Chain, off uint64, b []byte) int
	// Scatter is the other direction.
	// Preconditions: Next showed the chain, and nothing ran since.
	Scatter(c *Chain, off uint64, b []byte) int

	// Spaces lists the windows of the function's registers, for tests.
	Spaces() []bus.Window
}

// transport implements Transport. All that it has besides wiring and constants is
// in the device's state.
type transport struct {
	s     *State
	w     Wiring
	spec  Spec
	typ   Type
	fn    *pci.Function
	msix  pci.MSIX
	chain Chain // Next's answer
	away  bool  // a read since this was cleared met an absent page
}

// New makes the transport of a device of type typ, whose state has s as a part,
// and puts it on the bus. s becomes the state of power-on.
func New(w Wiring, spec Spec, s *State, typ Type) Transport {
	if len(spec.Queues) > MaxQueues {
		panic(fmt.Sprintf("godwit bug: virtio: %d queues", len(spec.Queues)))
	}
	t := &transport{s: s, w: w, spec: spec, typ: typ}
	t.fn = t.function()
	t.msix = pci.MSIX{Fn: t.fn, Cap: capMSIX, N: len(spec.Queues) + 1, Out: w.MSI, State: &s.MSIX}
	t.fn.BARs[barRegs] = pci.BAR{Size: barRegsSize, Wide: true, Handler: registers{t}}
	t.fn.BARs[barMSIX] = pci.BAR{Size: barMSIXSize, Handler: t.msix.Table(msixPBA)}
	w.Bus.Add(t.fn)
	t.clear()
	t.msix.Reset()
	return t
}

// ID is the function's place.
func (t *transport) ID() string { return t.fn.ID }

// Wakes asks the vectors.
func (t *transport) Wakes() bool { return t.msix.Wakes() }

// clear is the state after the driver's reset [VIRTIO 1.3 2.4].
func (t *transport) clear() {
	config, vectors := t.s.Config, t.s.MSIX
	*t.s = State{Config: config, MSIX: vectors, ConfigVector: noVector, Queues: make([]Queue, len(t.spec.Queues))}
	for i, size := range t.spec.Queues {
		t.s.Queues[i] = Queue{Size: size, Vector: noVector}
	}
}

// restart is the driver's reset of the device.
func (t *transport) restart() {
	t.clear()
	t.s.MSIX.Pending = 0
	t.fn.SetINTx(false)
	t.typ.Restart()
}

// Reset is the reset of the bus.
func (t *transport) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	t.fn.Reset()
	t.msix.Reset()
	t.restart()
}

// Restored checks a decoded state.
func (t *transport) Restored() error {
	s := t.s
	if len(s.Queues) != len(t.spec.Queues) {
		return fmt.Errorf("restore %s: %d queues, must be %d", t.ID(), len(s.Queues), len(t.spec.Queues))
	}
	for i := range s.Queues {
		if q := &s.Queues[i]; !goodSize(q.Size, t.spec.Queues[i]) || !t.goodVector(q.Vector) {
			return fmt.Errorf("restore %s: queue %d has size %d of %d and vector %#x of %d",
				t.ID(), i, q.Size, t.spec.Queues[i], q.Vector, t.msix.N)
		}
	}
	switch {
	case !t.goodVector(s.ConfigVector):
		return fmt.Errorf("restore %s: configuration vector %#x of %d", t.ID(), s.ConfigVector, t.msix.N)
	case s.ISR&^(isrQueue|isrConfig) != 0:
		return fmt.Errorf("restore %s: isr status is %#x, at most 3", t.ID(), s.ISR)
	case s.Status&statusFeaturesOK != 0 && !t.acceptable(s.Features):
		return fmt.Errorf("restore %s: driver features %#x accepted, offered are %#x", t.ID(), s.Features, t.offered())
	}
	if err := t.msix.Restored(); err != nil {
		return err
	}
	return t.fn.Restored()
}

func goodSize(n, most uint16) bool { return n != 0 && n&(n-1) == 0 && n <= most }

func (t *transport) goodVector(v uint16) bool { return v == noVector || int(v) < t.msix.N }

func (t *transport) offered() uint64 { return t.spec.Features | commonFeatures }

// acceptable tells whether a driver's choice of features works: nothing that was
// not offered, and not the legacy interface [VIRTIO 1.3 6.1].
func (t *transport) acceptable(f uint64) bool {
	return f&^t.offered() == 0 && f&FeatureVersion1 != 0
}

func (t *transport) Has(features uint64) bool { return t.s.Features&features == features }

func (t *transport) GuestError(what string) {
	if t.w.GuestError != nil {
		t.w.GuestError(t.ID(), what)
	}
}

func (t *transport) Broken(what string) {
	t.GuestError(what)
	if t.s.Status&statusNeedsReset == 0 {
		t.s.Status |= statusNeedsReset
		t.configInterrupt()
	}
}

func (t *transport) Live() bool {
	const need = statusDriverOK | statusFeaturesOK
	return t.s.Status&(need|statusNeedsReset) == need && t.fn.Master()
}

// setStatus is a write of the device status [VIRTIO 1.3 2.1, 3.1.1].
func (t *transport) setStatus(v uint8) {
	s := t.s
	if v == 0 {
		t.restart()
		return
	}
	if v&s.Status != s.Status&^statusNeedsReset {
		t.GuestError("device status bits cleared")
	}
	if v&^s.Status&statusFeaturesOK != 0 && !t.acceptable(s.Features) {
		t.GuestError("unacceptable features")
		v &^= statusFeaturesOK
	}
	s.Status = v&^statusNeedsReset | s.Status&statusNeedsReset
	t.Retry()
}

func (t *transport) Changed() {
	t.s.Generation++
	t.configInterrupt()
}

// configInterrupt tells the driver of a change [VIRTIO 1.3 4.1.5.4].
func (t *transport) configInterrupt() {
	if t.s.Status&statusDriverOK != 0 {
		t.interrupt(t.s.ConfigVector, isrConfig)
	}
}

// interrupt sends a message or, where the driver uses the pin, raises that.
func (t *transport) interrupt(vector uint16, isr uint8) {
	if t.msix.Enabled() {
		if vector != noVector {
			t.msix.Notify(int(vector))
		}
		return
	}
	t.s.ISR |= isr
	t.fn.SetINTx(true)
}

// kick is a driver's notification [VIRTIO 1.3 4.1.5.2].
func (t *transport) kick(n uint64) {
	if n >= uint64(len(t.s.Queues)) {
		t.GuestError("no such queue notified")
		return
	}
	q := &t.s.Queues[n]
	if !q.Enabled {
		t.GuestError("disabled queue notified")
		return
	}
	q.Kicked = true
	t.serve(int(n))
}

// serve lets the device look at a queue if it runs.
func (t *transport) serve(n int) {
	if q := &t.s.Queues[n]; q.Kicked && q.Enabled && t.Live() {
		q.Kicked = false
		t.typ.Serve(n)
	}
}

func (t *transport) Retry() {
	for n := range t.s.Queues {
		t.serve(n)
	}
}
