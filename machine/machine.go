// Package machine wires vCPUs, memory and devices into a PC. It owns guest
// time, the event queue, the door through which every outside influence enters,
// and the run loop; it saves and restores the whole as data.
//
// A machine is deterministic: its configuration, its images and the inputs that
// came through the door decide every bit of its state at every count. Machine
// itself never asks the host for anything; a Host does, between instructions.
package machine

import (
	"errors"
	"fmt"

	"godwit/cpu"
	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/devices/bus"
	"godwit/devices/hpet"
	"godwit/devices/ioapic"
	"godwit/devices/lapic"
	"godwit/devices/pci"
	"godwit/devices/pic"
	"godwit/devices/pit"
	"godwit/devices/rtc"
	"godwit/devices/uart"
	"godwit/devices/virtio/blk"
	"godwit/devices/vmclock"
	"godwit/devices/vmgenid"
	"godwit/mem"
)

// Host is the outside world as the run loop meets it: at poll points, which no
// guest can observe.
type Host interface {
	// Poll may let inputs in and says whether to return from Run with Paused.
	Poll() bool
	// Idle is called instead of running when all vCPUs wait for guest time until
	// (Forever: for input only). It returns when the machine should look again.
	// In virtual time the machine then jumps to until.
	Idle(until devices.Nanos) (paused bool)
	// Output takes a byte that the guest sent to its serial console.
	Output(b byte)
}

// DebugHost is a Host that keeps the debug console apart; others get its bytes
// with those of the serial console.
type DebugHost interface{ Debug(b byte) }

// Forever is later than every deadline.
const Forever = devices.Nanos(1<<63 - 1)

// state is what belongs to the machine as a whole.
type state struct {
	Count    uint64     `cbor:"1,keyasint"`
	Clock    Segment    `cbor:"2,keyasint"`
	Queue    queue      `cbor:"3,keyasint"`
	Levels   [24]uint32 `cbor:"4,keyasint"` // by GSI: which of its sources are high
	PRNG     uint64     `cbor:"5,keyasint"`
	Turn     uint32     `cbor:"6,keyasint"` // vCPU whose turn it is
	SliceEnd uint64     `cbor:"7,keyasint"` // count at which its turn ends
	Console  []byte     `cbor:"8,keyasint"` // typed, not yet taken by the serial port
	End      Stop       `cbor:"9,keyasint"` // why the machine stopped for good; 0: it runs
	ExitCode uint32     `cbor:"10,keyasint"`
	Reset    bool       `cbor:"11,keyasint,omitempty"` // the next thing to happen is a reset
	Held     []Input    `cbor:"12,keyasint,omitempty"` // what came in while memory held something up
	Sleep    Sleep      `cbor:"13,keyasint,omitempty"` // how far it is into S3
}

// Machine is one PC.
type Machine struct {
	cfg    Config
	images Images
	fetch  func() (Images, error) // reads them, where they are still in a file; else nil
	mem    *mem.Memory
	shared *cpu.Shared
	cpus   []*cpu.CPU
	lapics []*lapic.LAPIC
	cur    *cpu.CPU // running, else nil
	mmio   mem.Space
	ports  mem.Space
	devs   []devices.Device
	sinks  []uint32 // sources allotted so far, by GSI

	pic    *pic.PIC
	pit    *pit.PIT
	ioapic *ioapic.IOAPIC
	uart   *uart.UART
	pm     *acpipm.PM
	hpet   *hpet.HPET
	pci    *pci.Bus

	dmaStalled bool // a device waits for memory or a disk; its state says what for
	diskLate   bool // for a disk
	disks      []Disk
	blks       []*blk.Device
	rtc        *rtc.RTC
	genID      *vmgenid.Device // this and the next: nil under a BIOS, which knows nothing of them
	vmclock    *vmclock.Device

	st       state
	fed      bool // the guest took the last console byte
	host     Host
	log      func(Input)
	replay   []Input
	nextPoll uint64
	poll     uint64 // counts between polls
	engine   Engine
	apicBus  *lapic.Bus
	noted    [MaxCPUs]notes

	trouble  error // see Trouble
	restored bool  // Restore was called

	halted  bool          // see Halt
	lag     devices.Nanos // see Lag
	stall   stall
	horizon devices.Nanos                  // see RunTime
	point   uint64                         // count at which onPoint is called
	onPoint func(count uint64) uint64      // returns the next point
	onStall []func(r mem.Refusal, on bool) // told when Run stalls, and when it goes on
}

// Engine selects what executes instructions.
type Engine uint8

// Engines. They cannot be told apart by a guest.
const (
	EngineFast      Engine = iota // blocks
	EngineReference               // one instruction at a time
)

// New builds a machine that has not booted: all memory zero, vCPU 0 in its
// power-on state. host may be nil.
func New(cfg Config, images Images, host Host) (*Machine, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, errs[0]
	}
	model, err := cpu.LookupModel(cfg.CPU)
	if err != nil {
		return nil, err
	}
	if err := images.validate(); err != nil {
		return nil, err
	}
	ram, err := mem.New(cfg.Memory, regions(&cfg, &images)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMemory, err)
	}
	m := &Machine{cfg: cfg, images: images, mem: ram, host: host, poll: 1 << 18, horizon: Forever, point: ^uint64(0)}
	m.st.PRNG = cfg.Seed
	m.st.Clock = Segment{Num: cfg.RateNum, Den: cfg.RateDen}
	m.st.SliceEnd = cfg.Slice
	m.shared = cpu.NewShared(ram)
	err = m.openDisks()
	if err == nil {
		err = m.wire(model)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.resetDevices(devices.PowerOn)
	return m, nil
}

// Close gives the machine's disks and memory back to the host.
func (m *Machine) Close() error { return errors.Join(m.CloseDisks(), m.mem.Close()) }

// Config is what the machine was built from.
func (m *Machine) Config() Config { return m.cfg }

// Memory is the guest's memory. Only the goroutine that calls Run may use it.
func (m *Machine) Memory() *mem.Memory { return m.mem }

// CPUs are the vCPUs.
func (m *Machine) CPUs() []*cpu.CPU { return m.cpus }

// Devices are the devices in the order of their event queue indices.
func (m *Machine) Devices() []devices.Device { return m.devs }

// SetEngine selects the engine. It cannot change what the guest does.
func (m *Machine) SetEngine(e Engine) { m.engine = e }

// SetLog names the function that is told of every input.
func (m *Machine) SetLog(f func(Input)) { m.log = f }

// SetHost replaces the host.
func (m *Machine) SetHost(h Host) { m.host = h }

// Replay gives the inputs that a log recorded, to take effect when their counts
// and times come.
func (m *Machine) Replay(in []Input) { m.replay = in }

// Input lets console bytes or the power button in, now.
func (m *Machine) Input(kind InputKind, data []byte) {
	m.admit(Input{Kind: kind, Time: int64(m.Now()), Data: data})
}

// count is the machine's count, also while a vCPU runs.
func (m *Machine) count() uint64 {
	if m.cur != nil {
		return m.cur.Count
	}
	return m.st.Count
}

// Count is how many instructions, REP iterations (of MOVS and STOS: lines of the
// destination) and deliveries there were.
func (m *Machine) Count() uint64 { return m.count() }

// Now is guest time.
func (m *Machine) Now() devices.Nanos { return m.st.Clock.at(m.count()) }

// add enters a device at the end of the list.
func (m *Machine) add(d devices.Device) error {
	m.devs = append(m.devs, d)
	w, ok := d.(interface{ Windows() []bus.Window })
	if !ok {
		return nil
	}
	for _, win := range w.Windows() {
		s := &m.mmio
		if win.IO {
			s = &m.ports
		}
		place := s.Map
		if win.Over {
			place = s.Overlay
		}
		if err := place(win.Base, win.Size, win.Handler); err != nil {
			return fmt.Errorf("device %s: window %s: %w", d.ID(), win.Name, err)
		}
	}
	return nil
}

// clock gives the next device to be added its view of time.
func (m *Machine) clock() *devClock { return &devClock{m, uint16(len(m.devs))} }
