package lapic_test

import (
	"fmt"
	"reflect"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/lapic"
	"godwit/internal/testkit"
)

// core notes what happens to one vCPU, under its number.
type core struct {
	w *testkit.World
	n int
}

func (c core) INTR(level bool)               { c.w.Line(fmt.Sprint("intr", c.n)).Set(level) }
func (c core) NMI()                          { c.w.Logf("nmi%d", c.n) }
func (c core) Init()                         { c.w.Logf("init%d", c.n) }
func (c core) SIPI(v uint8)                  { c.w.Logf("sipi%d %x", c.n, v) }
func (c core) TSC() uint64                   { return 2 * uint64(c.w.Now()) }
func (c core) EOI(v uint8)                   { c.w.Logf("eoi %x", v) }
func (c core) Time(tsc uint64) devices.Nanos { return devices.Nanos(min(tsc/2+tsc%2, 1<<62)) }

func (c core) Vector() uint8 { return 0x33 }

// Ack is the PIC: its request falls when it is acknowledged.
func (c core) Ack() uint8 {
	c.w.Logf("pic")
	return 0x33
}

// rig is a bus of local APICs in one world; only the first has timed events here.
type rig struct {
	w   *testkit.World
	bus *lapic.Bus
	cpu []*lapic.LAPIC
}

func newRig(n int) *rig {
	r := &rig{w: &testkit.World{}, bus: lapic.NewBus()}
	r.bus.OnEOI(core{w: r.w})
	for i := range n {
		c := core{r.w, i}
		r.w.Line(fmt.Sprint("intr", i))
		r.cpu = append(r.cpu, lapic.New(lapic.Wiring{
			ID: fmt.Sprint("lapic", i), APICID: uint32(i), BSP: i == 0,
			PhysBits: 40, Core: c, Clock: r.w, TSC: c, PIC: c, Bus: r.bus,
		}))
	}
	r.w.Dev = r.cpu[0]
	return r
}

func hex(s string) uint64 {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// subject lets scripts act on the first APIC: "ack", "msi ADDR DATA", "rdmsr N",
// "wrmsr N V", "lint N 0|1", "cr8 [N]", "on" (enable by software), "x2" (x2APIC mode)
// and "cpuN REG HEX" to write to another one.
func (r *rig) subject() *testkit.Subject {
	l := r.cpu[0]
	s := &testkit.Subject{World: r.w, Dev: l, Windows: l.Windows()}
	s.Ops = map[string]func([]string) string{
		"on": func([]string) string {
			for _, l := range r.cpu {
				l.Write(0xf0, 4, 0x1ff)
			}
			return ""
		},
		"x2": func([]string) string {
			for _, l := range r.cpu {
				v, _ := l.ReadMSR(0x1b)
				l.WriteMSR(0x1b, v|0xc00)
			}
			return ""
		},
		"ack": func([]string) string {
			if v, ok := l.Ack(); ok {
				return fmt.Sprintf("%x", v)
			}
			return "-"
		},
		"msi": func(a []string) string { r.bus.MSI(hex(a[0]), uint32(hex(a[1]))); return "" },
		"rdmsr": func(a []string) string {
			if v, ok := l.ReadMSR(uint32(hex(a[0]))); ok {
				return fmt.Sprintf("%x", v)
			}
			return "GP"
		},
		"wrmsr": func(a []string) string {
			if l.WriteMSR(uint32(hex(a[0])), hex(a[1])) {
				return ""
			}
			return "GP"
		},
		"lint": func(a []string) string { r.bus.Input(int(hex(a[0]))).Set(a[1] == "1"); return "" },
		"cr8": func(a []string) string {
			if len(a) == 0 {
				return fmt.Sprintf("%x", l.TPR())
			}
			l.SetTPR(uint8(hex(a[0])))
			return ""
		},
		"init": func([]string) string { l.Reset(devices.Init); return "" },
	}
	for i, l := range r.cpu {
		s.Ops[fmt.Sprint("cpu", i)] = func(a []string) string { l.Write(hex(a[0]), 4, hex(a[1])); return "" }
	}
	return s
}

func run(t *testing.T, cpus int, do, want string) {
	t.Helper()
	testkit.Script(t, newRig(cpus).subject(), do, want)
}

type row struct{ name, do, want string }

func runAll(t *testing.T, cpus int, rows []row) {
	t.Helper()
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) { run(t, cpus, tt.do, tt.want) })
	}
}

func TestPriorities(t *testing.T) {
	runAll(t, 1, []row{
		{"disabled by software drops fixed", "msi fee00000 4031; ? intr0; ack", "0 -"},
		{"accept and acknowledge", "on; msi fee00000 4031; ? intr0; r IRR1; ack; ? intr0; r IRR1; r ISR1", "1 20000 31 0 0 20000"},
		{"highest first", "on; msi fee00000 4031; msi fee00000 4041; ack; ? intr0; w EOI 0; ? intr0; ack", "41 0 1 31"},
		{"a higher class interrupts", "on; msi fee00000 4031; ack; msi fee00000 4039; ? intr0; msi fee00000 4040; ? intr0; ack", "31 0 1 40"},
		{"TPR holds back", "on; w TPR 40; msi fee00000 404f; ? intr0; w TPR 3f; ? intr0", "0 1"},
		{"CR8 is TPR 7:4", "on; cr8 5; r TPR; w TPR 6f; cr8; r PPR", "50 6 6f"},
		{"PPR follows service", "on; msi fee00000 4075; ack; r PPR; w TPR 80; r PPR; w EOI 0; r PPR", "75 70 80 80"},
		{"the same vector twice", "on; msi fee00000 4031; ack; msi fee00000 4031; ? intr0; w EOI 0; ack; w EOI 0; ack", "31 0 31 -"},
		{"EOI with nothing in service", "on; w EOI 0; log", "[]"},
		{"edge EOIs stay here", "on; msi fee00000 4031; ack; w EOI 0; log", "31 [intr0=true, intr0=false]"},
		{"level EOIs go out", "on; msi fee00000 c031; r TMR1; ack; log; w EOI 0; log", "20000 31 [intr0=true, intr0=false] [eoi 31]"},
		{"unless suppressed", "w SVR 11ff; msi fee00000 c031; ack; log; w EOI 0; log", "31 [intr0=true, intr0=false] []"},
	})
}

func TestLocalPins(t *testing.T) {
	runAll(t, 1, []row{
		{"APIC off: LINT0 is INTR, LINT1 is NMI", "wrmsr 1b fee00100; lint 0 1; ? intr0; ack; lint 1 1; log", "1 33 [intr0=true, pic, nmi0]"},
		{"masked after reset", "on; lint 0 1; ? intr0; lint 1 1; log", "0 []"},
		{"ExtINT", "on; w LVT_LINT0 700; lint 0 1; ? intr0; ack; lint 0 0; ? intr0", "1 33 0"},
		{"ExtINT ignores TPR and ISR", "on; w LVT_LINT0 700; w TPR ff; lint 0 1; ack; r ISR1", "33 0"},
		{"unmasking finds the level", "on; lint 0 1; w LVT_LINT0 700; ? intr0", "1"},
		{"NMI", "on; w LVT_LINT1 400; lint 1 1; lint 1 1; lint 1 0; lint 1 1; log", "[nmi0, nmi0]"},
		{"fixed edge", "on; w LVT_LINT0 31; lint 0 1; lint 0 0; ack", "31"},
		{"fixed level", "on; w LVT_LINT0 8031; lint 0 1; r LVT_LINT0; ack; w EOI 0; ack; lint 0 0; w EOI 0; r LVT_LINT0; ack", "c031 31 31 8031 -"},
		{"ExtINT message", "on; msi fee00000 4700; ? intr0; ack; ? intr0", "1 33 0"},
		{"disabling by software masks", "on; w LVT_LINT0 700; lint 0 1; w SVR ff; ? intr0; r LVT_LINT0; w LVT_LINT0 700; r LVT_LINT0", "0 10700 10700"},
	})
}

func TestTimer(t *testing.T) {
	runAll(t, 1, []row{
		{"one-shot", "on; w LVT_TIMER 31; w TDCR b; w TICR 3e8; +600; r TCCR; +399; ? intr0; +1; ? intr0; r TCCR; +9us; ack; ack", "190 0 1 0 31 -"},
		{"divided by 2 after reset", "on; w LVT_TIMER 31; w TICR 3e8; +1000; r TCCR; +1000; ? intr0", "1f4 1"},
		{"divided by 128", "on; w LVT_TIMER 31; w TDCR a; w TICR 2; +255; ? intr0; +1; ? intr0", "0 1"},
		{"periodic", "on; w LVT_TIMER 20031; w TDCR b; w TICR 2710; +10us; ack; w EOI 0; +9999; ack; +1; ack; r TCCR", "31 - 31 2710"},
		{"masked: counts on", "on; w LVT_TIMER 30031; w TDCR b; w TICR 2710; +15us; ack; r TCCR; w LVT_TIMER 20031; +5us; ack", "- 1388 31"},
		{"0 stops", "on; w LVT_TIMER 20031; w TDCR b; w TICR 64; w TICR 0; +1ms; ack; r TCCR", "- 0"},
		{"one-shot to periodic goes on", "on; w LVT_TIMER 31; w TDCR b; w TICR 2710; +5us; w LVT_TIMER 20031; r TCCR; +5us; ack; w EOI 0; +10us; ack", "1388 31 31"},
		{"expired stays at zero when made periodic", "on; w LVT_TIMER 31; w TDCR b; w TICR 64; +1us; w LVT_TIMER 20031; +1us; r TCCR; r TICR", "0 64"},
		{"periodic to one-shot ends with the period", "on; w LVT_TIMER 20031; w TDCR b; w TICR 2710; +15us; w LVT_TIMER 31; +5us; r TCCR; +9us; r TCCR", "0 0"},
		{"divisor changes under way", "on; w LVT_TIMER 31; w TDCR b; w TICR 3e8; +500; w TDCR 0; r TCCR; +999; ? intr0; +1; ? intr0", "1f4 0 1"},
		{"late: one interrupt, in phase", "on; w LVT_TIMER 20031; w TDCR b; w TICR 2710; >35us; ack; w EOI 0; ack; r TCCR; +5us; ack", "31 - 1388 31"},
		{"INIT stops it", "on; w LVT_TIMER 31; w TDCR b; w TICR 64; init; +1ms; r TICR; log", "0 [at 0 100, never 0]"},
	})
}

// The time stamp counter of this rig runs at 2 GHz.
func TestDeadline(t *testing.T) {
	runAll(t, 1, []row{
		{"fires and disarms", "on; w LVT_TIMER 40031; wrmsr 6e0 7d0; rdmsr 6e0; +999; ack; +1; ack; rdmsr 6e0", "7d0 - 31 0"},
		{"odd counts are never early", "on; w LVT_TIMER 40031; wrmsr 6e0 7d1; +1000; ack; +1; ack", "- 31"},
		{"in the past", "on; w LVT_TIMER 40031; +5us; wrmsr 6e0 1; +0; ack", "31"},
		{"0 disarms", "on; w LVT_TIMER 40031; wrmsr 6e0 7d0; wrmsr 6e0 0; +1ms; ack", "-"},
		{"ignored in other modes", "on; w LVT_TIMER 31; wrmsr 6e0 7d0; rdmsr 6e0; +1ms; ack", "0 -"},
		{"initial count ignored", "on; w LVT_TIMER 40031; w TICR 64; r TICR; r TCCR; +1ms; ack", "0 0 -"},
		{"leaving the mode disarms", "on; w LVT_TIMER 40031; wrmsr 6e0 7d0; w LVT_TIMER 31; w LVT_TIMER 40031; rdmsr 6e0; +1ms; ack", "0 -"},
		{"out of range", "on; w LVT_TIMER 40031; wrmsr 6e0 ffffffffffffffff; +1s; ack", "-"},
	})
}

func TestInterprocessor(t *testing.T) {
	runAll(t, 4, []row{
		{"physical", "on; w ICR2 2000000; w ICR 4031; ? intr2; ? intr0", "1 0"},
		{"INIT and SIPI", "w ICR2 1000000; w ICR 4500; w ICR 8500; w ICR 4608; log", "[init1, sipi1 8]"},
		{"NMI to all but self", "w ICR c4400; log", "[nmi1, nmi2, nmi3]"},
		{"all with self", "on; w ICR 84031; log", "[intr0=true, intr1=true, intr2=true, intr3=true]"},
		{"self", "on; w ICR 44031; log; ack", "[intr0=true] 31"},
		{"physical broadcast", "on; w ICR2 ff000000; w ICR 4400; log", "[nmi0, nmi1, nmi2, nmi3]"},
		{"flat logical", "on; cpu1 d0 2000000; cpu2 d0 4000000; w ICR2 6000000; w ICR 4831; log", "[intr1=true, intr2=true]"},
		{"cluster logical", "on; cpu1 e0 0; cpu1 d0 12000000; cpu2 e0 0; cpu2 d0 22000000; w ICR2 22000000; w ICR 4831; log", "[intr2=true]"},
		{"cluster broadcast", "on; cpu1 e0 0; cpu1 d0 12000000; cpu2 e0 0; cpu2 d0 22000000; w ICR2 f2000000; w ICR 4831; log", "[intr1=true, intr2=true]"},
		{"lowest priority", "on; cpu0 80 50; cpu1 80 20; cpu2 80 30; cpu3 80 20; w ICR2 ff000000; w ICR 4131; log; msi feeff000 4132; log", "[intr1=true] []"},
		{"lowest priority only where enabled", "cpu2 f0 1ff; w ICR2 ff000000; w ICR 4131; log", "[intr2=true]"},
		{"delivery status stays idle", "on; w ICR 5031; r ICR", "4031"},
		{"reserved modes", "on; w ICR2 1000000; w ICR 4731; w ICR 4331; log", "[]"},
		{"disabled in APIC_BASE hears nothing", "on; wrmsr 1b fee00100; msi feeff000 4400; log", "[nmi1, nmi2, nmi3]"},
		{"MSI to one", "on; msi fee03000 4045; log", "[intr3=true]"},
	})
}

func TestErrors(t *testing.T) {
	runAll(t, 2, []row{
		{"sending an illegal vector", "on; w ICR 4005; r ESR; w ESR 0; r ESR; w ESR 0; r ESR", "0 20 0"},
		{"receiving one", "on; msi fee00000 4005; w ESR 0; r ESR", "40"},
		{"no such register", "on; w LVT_ERROR 35; cpu0 50 1; ? intr0; w ESR 0; r ESR; ack", "1 80 35"},
		{"once for each kind", "on; w LVT_ERROR 35; cpu0 50 1; ack; w EOI 0; cpu0 50 1; ack; w ESR 0; cpu0 50 1; ack", "35 - 35"},
		{"an illegal error vector ends", "on; w LVT_ERROR 5; cpu0 50 1; w ESR 0; r ESR", "c0"},
		{"writing read-only registers is none", "on; cpu0 30 0; cpu0 100 0; w ESR 0; r ESR", "0"},
	})
}

func TestX2APIC(t *testing.T) {
	runAll(t, 3, []row{
		{"MSRs need the mode", "rdmsr 802; wrmsr 80b 0; rdmsr 83f", "GP GP GP"},
		{"id and logical id", "x2; rdmsr 802; rdmsr 80d; rdmsr 803", "0 1 1060014"},
		{"no ICR2, DFR, APR", "x2; rdmsr 831; rdmsr 80e; rdmsr 809; wrmsr 831 0; wrmsr 80e 0", "GP GP GP GP GP"},
		{"read-only", "x2; wrmsr 802 0; wrmsr 803 0; wrmsr 80d 0; wrmsr 80a 0; wrmsr 810 0; wrmsr 839 0", "GP GP GP GP GP GP"},
		{"write-only", "x2; rdmsr 80b; rdmsr 83f", "GP GP"},
		{"EOI and ESR take 0", "x2; wrmsr 80b 1; wrmsr 828 1; wrmsr 80b 0; wrmsr 828 0", "GP GP"},
		{"reserved bits", "x2; wrmsr 808 100; wrmsr 80f 2000; wrmsr 832 80000; wrmsr 838 100000000; wrmsr 83e 4; wrmsr 830 1000; wrmsr 837 100", "GP GP GP GP GP GP GP"},
		{"status bits are not reserved", "x2; wrmsr 832 11000; wrmsr 835 15000; rdmsr 832; rdmsr 835", "10000 10000"},
		{"ICR in one write", "on; x2; wrmsr 830 200004031; ? intr2; rdmsr 830", "1 200004031"},
		{"ICR broadcast", "x2; wrmsr 830 ffffffff00004400; log", "[nmi0, nmi1, nmi2]"},
		{"logical", "on; x2; wrmsr 830 600004831; log", "[intr1=true, intr2=true]"},
		{"another cluster", "on; x2; wrmsr 830 1000600004831; log", "[]"},
		{"self IPI", "on; x2; wrmsr 83f 31; ack", "31"},
		{"MSI broadcast", "x2; msi feeff000 4400; log", "[nmi0, nmi1, nmi2]"},
		{"INIT keeps the mode", "x2; init; rdmsr 1b; rdmsr 80f", "fee00d00 ff"},
	})
}

func TestBase(t *testing.T) {
	runAll(t, 1, []row{
		{"after reset", "rdmsr 1b", "fee00900"},
		{"xAPIC to x2APIC and back", "wrmsr 1b fee00d00; wrmsr 1b fee00900; wrmsr 1b fee00100; wrmsr 1b fee00900; rdmsr 1b", "GP fee00900"},
		{"x2APIC without enable", "wrmsr 1b fee00500", "GP"},
		{"disabled to x2APIC", "wrmsr 1b fee00100; wrmsr 1b fee00d00", "GP"},
		{"reserved bits", "wrmsr 1b fee00901; wrmsr 1b fee00b00; wrmsr 1b 10000000900; wrmsr 1b ff00000900", "GP GP GP"},
		{"disabling forgets", "on; w TPR 50; wrmsr 1b fee00100; wrmsr 1b fee00900; r TPR; r SVR", "0 ff"},
	})
	l := newRig(1).cpu[0]
	pa, on := l.Base()
	assert.EqualValues(t, 0xfee00000, pa)
	assert.True(t, on)
	require.True(t, l.WriteMSR(0x1b, 0xd0000d00))
	pa, on = l.Base()
	assert.EqualValues(t, 0xd0000000, pa)
	assert.False(t, on, "x2APIC mode has no page")
	assert.True(t, l.Enabled())
	require.True(t, l.WriteMSR(0x1b, 0xd0000100))
	assert.False(t, l.Enabled())
}

func TestVirtualWire(t *testing.T) {
	r := newRig(2)
	for _, l := range r.cpu {
		l.VirtualWire()
	}
	r.bus.Input(0).Set(true)
	assert.True(t, r.w.Level("intr0"))
	assert.False(t, r.cpu[1].Pending(), "only the bootstrap processor takes the PIC's interrupts")
	assert.EqualValues(t, 0x1ff, r.cpu[1].Read(0xf0, 4))
}

func TestOddAccesses(t *testing.T) {
	l := newRig(1).cpu[0]
	assert.EqualValues(t, 0x06, l.Read(0x32, 1), "a byte of VERSION")
	assert.EqualValues(t, 0, l.Read(0x34, 4), "the gap after it")
	assert.EqualValues(t, 0x01060014, l.Read(0x30, 8))
	l.Write(0x80, 1, 0xff)
	l.Write(0x84, 4, 0xff)
	assert.EqualValues(t, 0, l.Read(0x80, 4), "only 32-bit writes at 16-byte boundaries count")
}

func TestPMI(t *testing.T) {
	r := newRig(1)
	l := r.cpu[0]
	l.Write(0xf0, 4, 0x1ff)
	l.Write(0x340, 4, 0x400)
	l.PMI()
	l.PMI()
	assert.Equal(t, []string{"nmi0"}, r.w.Take(), "the entry masks itself")
	assert.EqualValues(t, 0x10400, l.Read(0x340, 4))
}

// states that would make the timer divide by zero or overflow, or break the
// invariants that the rest relies on.
func TestRestoredRefuses(t *testing.T) {
	for name, prepare := range map[string]string{
		"running without a count": "w TICR 64; w LVT_TIMER 20031; TICR 0",
		"start out of range":      "w TICR 64; TSTART 4611686018427387905",
		"x2APIC without enable":   "BASE 4276093952", // fee00400
		"illegal vector pending":  "IRR 1",
		"unmasked while disabled": "w SVR ff; LVT 49",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(1)
			s := r.subject()
			for _, field := range []string{"TICR", "TSTART", "BASE", "IRR", "LVT"} {
				s.Ops[field] = func(a []string) string { poke(r.cpu[0], field, a[0]); return "" }
			}
			testkit.Script(t, s, "on; "+prepare, "")
			assert.Error(t, r.cpu[0].Restored())
		})
	}
}

// poke sets a field of the state, the first element of an array.
func poke(l *lapic.LAPIC, field, value string) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		panic(err)
	}
	f := reflect.ValueOf(l.State()).Elem().FieldByName(field)
	if f.Kind() == reflect.Array {
		f = f.Index(0)
	}
	if f.CanInt() {
		f.SetInt(n)
	} else {
		f.SetUint(uint64(n))
	}
}
