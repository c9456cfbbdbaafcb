package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/bus"
)

// fault is something wrong with the chip below.
type fault uint8

const (
	none fault = iota
	restoredCalls
	restoredChanges
	restoredAccepts
	resetForgets
	newDiffers
	writesReserved
	losesWrites
)

type Wiring struct {
	Line  devices.Line
	Clock devices.Clock
	Fault fault
}

type chipState struct {
	V     uint8 `cbor:"1,keyasint"` // four bits
	Index uint8 `cbor:"2,keyasint"` // at most 3
	Fired bool  `cbor:"3,keyasint"`
}

// chip has one register, an index that moves on with each write, and a timer.
type chip struct {
	chipState
	w Wiring
}

func newChip(w Wiring) *chip {
	c := &chip{w: w}
	if w.Fault == newDiffers {
		c.Index = 1
	}
	return c
}

func (c *chip) ID() string { return "chip" }
func (c *chip) State() any { return &c.chipState }
func (c *chip) Reset(devices.ResetKind) {
	if c.w.Fault == resetForgets {
		c.chipState = chipState{Fired: c.Fired}
	} else {
		c.chipState = chipState{}
	}
	c.w.Line.Set(false)
	c.w.Clock.Never(0)
}

func (c *chip) Restored() error {
	switch c.w.Fault {
	case restoredCalls:
		c.w.Clock.At(1, 0)
	case restoredChanges:
		c.Index = 0
	}
	if c.Index > 3 && c.w.Fault != restoredAccepts || c.V > 15 {
		return errors.New("restore chip: out of range")
	}
	return nil
}

func (c *chip) Event(devices.EventID) {
	c.Fired = true
	c.w.Line.Set(true)
}

func (c *chip) Read(uint64, int) uint64 {
	return uint64(c.V | [4]uint8{0, 0, 0, 0}[c.Index])
}

func (c *chip) Write(_ uint64, _ int, v uint64) {
	c.Index = (c.Index + 1) & 3
	c.V = uint8(v & 15)
	switch c.w.Fault {
	case writesReserved:
		c.V = uint8(v & 31)
	case losesWrites:
		c.V = uint8(v & 7)
	}
	c.w.Line.Set(false)
	c.w.Clock.At(c.w.Clock.Now()+devices.Nanos(v&15), 0)
}

func (c *chip) Regs() []devices.Reg {
	return []devices.Reg{{Space: "pio", Size: 1, Name: "V", Mask: 15, Ref: "[CHIP]"}}
}

// hiding is a chip with a field outside its state; forgetful one whose field has
// no key, doubled one with a key used twice.
type hiding struct {
	chip
	n uint8
}

func (h *hiding) Read(uint64, int) uint64 { h.n++; return uint64(h.n) }

type forgetful struct {
	forgetfulState
	*chip
}

type forgetfulState struct {
	N uint8 `cbor:"-"`
	M uint8 `cbor:"1,keyasint"`
}

func (f *forgetful) State() any              { return &f.forgetfulState }
func (f *forgetful) Read(uint64, int) uint64 { f.N++; return uint64(f.N) }

func kindOf(build func(w *World) (devices.Device, devices.Handler)) Kind {
	return Kind{Name: "chip", New: func(w *World) Specimen {
		d, h := build(w)
		return Specimen{
			Dev: d, Windows: []bus.Window{{Name: "pio", IO: true, Size: 1, Handler: h}},
			Poke: func(*rand.Rand) string { return "" },
		}
	}}
}

func faulty(f fault) Kind {
	return kindOf(func(w *World) (devices.Device, devices.Handler) {
		c := newChip(Wiring{Line: w.Line("irq"), Clock: w, Fault: f})
		return c, c
	})
}

// verdict is a T that only remembers whether the check failed.
type verdict struct {
	failed bool
	why    string
}

func (v *verdict) Errorf(format string, args ...any) {
	v.failed, v.why = true, v.why+fmt.Sprintf(format, args...)
}
func (v *verdict) FailNow()            { v.failed = true; runtime.Goexit() }
func (v *verdict) Helper()             {}
func (v *verdict) Logf(string, ...any) {}

// failures runs the suite and names the checks that failed or panicked.
func failures(k Kind) []string {
	var names []string
	for _, c := range checks {
		v := &verdict{}
		done := make(chan bool)
		go func() {
			defer close(done)
			defer func() {
				if r := recover(); r != nil {
					v.failed = true
				}
			}()
			c.run(v, k)
		}()
		<-done
		if v.failed {
			names = append(names, c.name)
		}
	}
	return names
}

func TestSuiteFindsFaults(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("testdata", 0o755))
	golden := "a301010202" + "03f5\n\nV 1\nIndex 2\nFired true\n"
	require.NoError(t, os.WriteFile(filepath.Join("testdata", "chip.golden"), []byte(golden), 0o644))
	for _, tt := range []struct {
		name string
		kind Kind
		want string // one of the checks that must fail
	}{
		{"Restored calls out", faulty(restoredCalls), "round trip"},
		{"Restored changes the state", faulty(restoredChanges), "round trip"},
		{"Restored accepts anything", faulty(restoredAccepts), "hostile state"},
		{"reset forgets a field", faulty(resetForgets), "reset equals new"},
		{"new is not as reset", faulty(newDiffers), "reset equals new"},
		{"reserved bits can be written", faulty(writesReserved), "registers match their table"},
		{"a bit of the mask cannot", faulty(losesWrites), "registers match their table"},
		{"a field outside the state", kindOf(func(w *World) (devices.Device, devices.Handler) {
			h := &hiding{chip: *newChip(Wiring{Line: w.Line("irq"), Clock: w})}
			return h, h
		}), "round trip"},
		{"a field without a key", kindOf(func(w *World) (devices.Device, devices.Handler) {
			f := &forgetful{chip: newChip(Wiring{Line: w.Line("irq"), Clock: w})}
			return f, f
		}), "state is all there is"},
	} {
		assert.Contains(t, failures(tt.kind), tt.want, tt.name)
	}
	assert.Empty(t, failures(faulty(none)), "a good chip")
}

func TestGoldenNoticesNewMeanings(t *testing.T) {
	for name, golden := range map[string]string{
		"other field": "a301010202" + "03f5\n\nIndex 1\nV 2\nFired true\n",
		"other bytes": "a30301010202" + "03f5\n\nV 1\nIndex 2\nFired true\n",
		"no fields":   "a301010202" + "03f5\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			require.NoError(t, os.Mkdir("testdata", 0o755))
			require.NoError(t, os.WriteFile(filepath.Join("testdata", "chip.golden"), []byte(golden), 0o644))
			assert.Contains(t, failures(faulty(none)), "golden")
		})
	}
}

// recorder is a device that notes its events.
type recorder struct {
	chip
	got []string
}

func (r *recorder) Event(ev devices.EventID) {
	r.got = append(r.got, fmt.Sprintf("%d@%d", ev, r.w.Clock.Now()))
	if ev == 7 { // periodic, faster than time moves
		r.w.Clock.At(r.w.Clock.Now()+10, 7)
	}
}

func TestWorldOrdersEvents(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *World)
		want string
	}{
		{"by time, then by number", func(w *World) { w.At(5000, 1); w.At(3000, 3); w.At(3000, 2); w.Advance(9000) }, "2@3000 3@3000 1@5000"},
		{"not yet", func(w *World) { w.At(5000, 1); w.Advance(4999) }, ""},
		{"on time", func(w *World) { w.At(5000, 1); w.Advance(5000) }, "1@5000"},
		{"replaced and withdrawn", func(w *World) { w.At(1, 1); w.At(2000, 1); w.At(1, 2); w.Never(2); w.Advance(9000) }, "1@2000"},
		{"in the past", func(w *World) { w.Advance(7); w.At(3, 1); w.Advance(0) }, "1@7"},
		{"in one jump", func(w *World) { w.At(10, 1); w.At(20, 2); w.Skip(5000) }, "1@5000 2@5000"},
		{"fast timers coalesce", func(w *World) { w.At(0, 7); w.Advance(2500) }, "7@0 7@1000 7@2000 7@2500"},
	} {
		w := &World{}
		r := &recorder{}
		r.w.Clock, w.Dev = w, r
		tt.do(w)
		assert.Equal(t, tt.want, strings.Join(r.got, " "), tt.name)
	}
}
