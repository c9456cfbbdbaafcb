package conform

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/fwcfg"
	"godwit/devices/hpet"
	"godwit/devices/pci"
	"godwit/devices/pvpanic"
	"godwit/devices/virtio"
	"godwit/devices/virtio/balloon"
	"godwit/devices/virtio/blk"
	"godwit/devices/virtio/console"
	"godwit/devices/virtio/rng"
	"godwit/devices/virtio/virtiotest"
	"godwit/devices/vmclock"
	"godwit/devices/vmgenid"
	"godwit/internal/testkit"
)

func newPCIHost(w *testkit.World) testkit.Specimen {
	b := virtiotest.NewBus()
	h, err := pci.NewHost(pci.Wiring{Bus: b.Bus, Reset: outside{w}})
	if err != nil {
		panic(err)
	}
	return testkit.Specimen{Dev: h, Windows: []bus.Window{h.Ports(), cfgWindow(b, 0, 0)}, Poke: func(r *rand.Rand) string {
		h.Write(0, 4, 1<<31|r.Uint64N(0x100))
		if r.IntN(2) == 0 {
			h.Write(4+r.Uint64N(4), 1<<r.IntN(3), r.Uint64())
		}
		return fmt.Sprintf("%x", h.Read(4, 4))
	}}
}

// Read and Write are the reset control port.
func (o outside) Read(off uint64, size int) uint64 { o.w.Logf("read %x %d", off, size); return 0x12 }

func (o outside) Write(off uint64, size int, v uint64) {
	o.w.Logf("write %x %d %x", off, size, v)
}

func cfgWindow(b *virtiotest.Bus, slot, fn uint8) bus.Window {
	return bus.Window{Name: "cfg", Size: pci.ConfigSize, Handler: b.At(slot, fn).Config()}
}

func newPCIISA(*testkit.World) testkit.Specimen {
	b := virtiotest.NewBus()
	return testkit.Specimen{Dev: pci.NewISA(pci.Wiring{Bus: b.Bus}), Windows: []bus.Window{cfgWindow(b, 1, 0)}}
}

func newPCIPM(*testkit.World) testkit.Specimen {
	b := virtiotest.NewBus()
	return testkit.Specimen{Dev: pci.NewPM(pci.Wiring{Bus: b.Bus}), Windows: []bus.Window{cfgWindow(b, 1, 3)}}
}

// guestRAM is memory that is only there while a poke runs, since the suite does not
// carry memory from world to world: otherwise it reads as zero.
type guestRAM struct{ *virtiotest.RAM }

func (g *guestRAM) Read(pa uint64, b []byte) bool {
	if g.RAM != nil {
		return g.RAM.Read(pa, b)
	}
	clear(b)
	return true
}

func (g *guestRAM) Write(pa uint64, b []byte) bool { return g.RAM == nil || g.RAM.Write(pa, b) }

// newVirtio builds a device and the driver that pokes it.
func newVirtio(w *testkit.World, build func(virtio.Wiring) (virtioDevice, *virtio.State), more func(r *rand.Rand) string) testkit.Specimen {
	b, ram := virtiotest.NewBus(), &guestRAM{}
	d, s := build(virtio.Wiring{
		Bus: b.Bus, Slot: 3, Line: w.Line("inta"), MSI: outside{w}, Mem: ram,
		Stall:      func() { w.Logf("stall") },
		GuestError: func(_, what string) { w.Logf("%s", what) },
	})
	return testkit.Specimen{Dev: d, Windows: d.Spaces(), Poke: func(r *rand.Rand) string {
		ram.RAM = virtiotest.NewRAM(1 << 14)
		defer func() { ram.RAM = nil }()
		return pokeVirtio(d, s, ram.RAM, more, r)
	}}
}

type virtioDevice interface {
	virtio.Transport
	devices.Device
}

// pokeVirtio initializes the device or gives it random requests, with the memory's
// pages sometimes refused.
func pokeVirtio(d virtioDevice, s *virtio.State, ram *virtiotest.RAM, more func(r *rand.Rand) string, r *rand.Rand) string {
	drv := virtiotest.NewDriver(d, ram)
	if r.IntN(3) == 0 {
		features := virtio.FeatureVersion1 | r.Uint64()&(virtio.FeatureIndirect|virtio.FeatureEventIdx|0x27)
		return fmt.Sprintf("init %x", drv.Init(features, r.IntN(2) == 0))
	}
	n := r.IntN(len(s.Queues))
	q := &s.Queues[n]
	for i := range ram.B[:0x800] {
		ram.B[i] = byte(r.IntN(16))
	}
	q.Desc, q.Driver, q.Device = 0, 0x1800, 0x2800
	for i := range uint64(8) { // what block devices take for headers
		binary.LittleEndian.PutUint32(ram.B[0x1000+16*i:], []uint32{0, 0, 1, 1, 4, 8, 11, 13}[i])
		binary.LittleEndian.PutUint64(ram.B[0x1008+16*i:], r.Uint64N(100))
	}
	for i := range uint16(8) { // mostly sensible
		s := virtio.Segment{Addr: r.Uint64N(1 << 14), Len: r.Uint32N(300)}
		if r.IntN(2) == 0 {
			s = virtio.Segment{Addr: 0x1000 + 16*r.Uint64N(8), Len: []uint32{16, 16, 512, 513, 528}[r.IntN(5)]}
		}
		drv.Desc(0, i, s,
			[]uint16{0, 0, 1, 2, 2, 3, 4, uint16(r.Uint32())}[r.IntN(8)], uint16(r.IntN(10)))
	}
	binary.LittleEndian.PutUint16(ram.B[q.Driver+2:], q.Avail+uint16(r.IntN(4)))
	for i := range uint64(q.Size) {
		binary.LittleEndian.PutUint16(ram.B[q.Driver+4+2*i:], uint16(r.IntN(9)))
	}
	ram.Full, ram.Room = r.IntN(4) == 0, r.IntN(4)
	drv.Kick(n)
	said := ""
	if more != nil {
		said = more(r)
	}
	ram.Full = false
	d.Retry()
	return fmt.Sprintf("kick %d: %s %x", n, said, ram.B[0x2800:0x2820])
}

func newRNG(w *testkit.World) testkit.Specimen {
	return newVirtio(w, func(v virtio.Wiring) (virtioDevice, *virtio.State) {
		d := rng.New(v, func() uint64 { return uint64(w.Now()) * 0x9e3779b97f4a7c15 })
		return d, &d.Virtio
	}, nil)
}

func newConsole(w *testkit.World) testkit.Specimen {
	var d *console.Device
	return newVirtio(w, func(v virtio.Wiring) (virtioDevice, *virtio.State) {
		d = console.New(v, outside{w}, func() { w.Logf("ready") })
		return d, &d.Virtio
	}, func(r *rand.Rand) string {
		if r.IntN(3) == 0 {
			d.Resize(uint16(r.Uint32()), uint16(r.Uint32()))
			return "resize"
		}
		return fmt.Sprint("receive ", d.Receive(make([]byte, r.IntN(40))), d.Room())
	})
}

func newBalloon(w *testkit.World) testkit.Specimen {
	var d *balloon.Device
	return newVirtio(w, func(v virtio.Wiring) (virtioDevice, *virtio.State) {
		d = balloon.New(v, outside{w})
		return d, &d.Virtio
	}, func(r *rand.Rand) string {
		if r.IntN(3) == 0 {
			d.Resize(r.Uint32N(1000))
			return "resize"
		}
		d.AskStats()
		v, ok := d.Stat(r.IntN(balloon.Tags))
		return fmt.Sprint("stats ", v, ok, d.Pages())
	})
}

// newBlk makes a disk of zeros: its content is no part of the state. A wall disk
// completes requests when they arrive.
func newBlk(ro, wall bool) func(w *testkit.World) testkit.Specimen {
	return func(w *testkit.World) testkit.Specimen {
		var d *blk.Device
		return newVirtio(w, func(v virtio.Wiring) (virtioDevice, *virtio.State) {
			disk := &virtiotest.Disk{B: make([]byte, 1<<16), RO: ro, Log: w.Logf}
			bw := blk.Wiring{Disk: disk, Clock: w, Serial: "serial", Queues: 2, Late: func() { w.Logf("late") }}
			if wall {
				bw.Clock = nil
			}
			d = blk.New(v, bw)
			return d, &d.Virtio
		}, func(r *rand.Rand) string {
			if wall && r.IntN(2) == 0 {
				d.Arrive(r.Uint32N(3))
			}
			return fmt.Sprint("ready ", d.Ready())
		})
	}
}

func (o outside) Discard(pa uint64) { o.w.Logf("discard %x", pa) }

func newHPET(w *testkit.World) testkit.Specimen {
	h := hpet.New(hpet.Wiring{ID: "hpet0", Clock: w, Timer: w.Line("irq0"), RTC: w.Line("irq8")})
	return testkit.Specimen{
		Dev: h, Windows: h.Windows(),
		Poke: func(r *rand.Rand) string {
			n := r.Uint64N(hpet.Timers)
			for i := range h.Timer { // a storm of events costs the test its time
				if p := h.Timer[i].Period; p != 0 && p < 10000 {
					h.Write(0x100+0x20*uint64(i), 8, 0x48)
					h.Write(0x108+0x20*uint64(i), 8, h.Read(0xf0, 8)+p*1000)
				}
			}
			switch r.IntN(5) {
			case 0:
				h.Input(r.IntN(2)).Set(r.IntN(2) == 0)
			case 1:
				h.Write(0x10, 4, 1+r.Uint64N(3))
			case 2:
				h.Write(0x100+0x20*n, 4, r.Uint64N(0x200)|8<<9*r.Uint64N(2))
			default: // soon
				h.Write(0x108+0x20*n, 8, h.Read(0xf0, 8)+r.Uint64N(10000))
			}
			return ""
		},
		Release: func() { h.Input(0).Set(false); h.Input(1).Set(false) },
	}
}

func newFWCfg(*testkit.World) testkit.Specimen {
	c, err := fwcfg.NewCatalogue(1<<30, 2, []fwcfg.File{{Name: "etc/x", Data: []byte("hello")}})
	if err != nil {
		panic(err)
	}
	d := fwcfg.New(fwcfg.Wiring{ID: "fwcfg0", Items: c})
	return testkit.Specimen{Dev: d, Windows: d.Windows(), Poke: func(r *rand.Rand) string {
		if r.IntN(3) == 0 {
			d.Write(0, 2, r.Uint64N(0x24))
		}
		return fmt.Sprintf("%x", d.Read(1, 1))
	}}
}

func newPVPanic(w *testkit.World) testkit.Specimen {
	d := pvpanic.New(pvpanic.Wiring{ID: "pvpanic0", Host: outside{w}})
	return testkit.Specimen{Dev: d, Windows: d.Windows()}
}

func newVMGenID(w *testkit.World) testkit.Specimen {
	ram := &guestRAM{}
	d := vmgenid.New(vmgenid.Wiring{
		ID: "vmgenid0", Addr: 0x40, Mem: ram, First: [16]byte{1}, Stall: func() { w.Logf("stall") }, Changed: func() { w.Logf("changed") },
	})
	return testkit.Specimen{Dev: d, Poke: func(r *rand.Rand) string {
		ram.RAM = virtiotest.NewRAM(1 << 12)
		defer func() { ram.RAM = nil }()
		d.Change([vmgenid.Size]byte{byte(r.Uint32()), 7: byte(r.Uint32())})
		return fmt.Sprintf("%x", ram.B[0x40:0x50])
	}}
}

func newVMClock(w *testkit.World) testkit.Specimen {
	ram := &guestRAM{}
	d := vmclock.New(vmclock.Wiring{
		ID: "vmclock0", Addr: 0x40, Mem: ram, Epoch: 1, Stall: func() { w.Logf("stall") }, Changed: func() { w.Logf("changed") },
	})
	return testkit.Specimen{Dev: d, Poke: func(r *rand.Rand) string {
		ram.RAM = virtiotest.NewRAM(1 << 12)
		defer func() { ram.RAM = nil }()
		d.Disrupt(r.IntN(2) == 0)
		return fmt.Sprintf("%x", ram.B[0x40:0xb0])
	}}
}

func (o outside) Panic(events uint8) { o.w.Logf("panic %x", events) }
