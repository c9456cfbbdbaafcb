package testkit

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/bus"
)

var update = flag.Bool("update", false, "write golden files anew")

// Specimen is one device under conformance test.
type Specimen struct {
	Dev     devices.Device
	Windows []bus.Window
	// Poke does something else that can happen to the device and tells what came
	// of it; nil if nothing can.
	Poke func(r *rand.Rand) string
	// Release lets go of all inputs, whose levels a reset does not change.
	Release func()
	// Enable makes registers writable that reset leaves locked.
	Enable func()
}

// Kind is a device type: its name and how to build one in a world.
type Kind struct {
	Name string
	New  func(w *World) Specimen
}

// build makes a device in a world of its own.
func (k Kind) build() (*World, Specimen) {
	w := &World{}
	s := k.New(w)
	w.Dev = s.Dev
	w.Log = nil
	return w, s
}

// T is what the checks need of a *testing.T.
type T interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
}

// checks are the suite.
var checks = []struct {
	name string
	run  func(t T, k Kind)
}{
	{"state is all there is", checkShape},
	{"round trip", checkRoundTrip},
	{"reset equals new", checkReset},
	{"registers match their table", checkRegs},
	{"golden", checkGolden},
	{"hostile state", checkHostile},
}

// Conform runs the device conformance suite (see checks).
func Conform(t *testing.T, kinds []Kind) {
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) { c.run(t, k) })
			}
		})
	}
}

// Encode returns the canonical encoding of a device's state.
func Encode(t T, d devices.Device) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	require.NoError(t, err)
	b, err := mode.Marshal(d.State())
	require.NoError(t, err)
	return b
}

// decode fills a device's state.
func decode(b []byte, d devices.Device) error {
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		return err
	}
	return mode.Unmarshal(b, d.State())
}

// step does one random thing: an access, a poke, or letting time pass. It tells
// what the guest, or the device's neighbour, saw.
func step(w *World, s Specimen, r *rand.Rand) string {
	switch n := r.IntN(10); {
	case n == 0:
		d := devices.Nanos(r.Int64N(1 << r.IntN(31)))
		w.Advance(d)
		return fmt.Sprintf("+%d", d)
	case (n <= 3 || len(s.Windows) == 0) && s.Poke != nil:
		return s.Poke(r)
	}
	win := s.Windows[r.IntN(len(s.Windows))]
	size := []int{1, 1, 1, 2, 4, 4, 8}[r.IntN(7)]
	off := pickOffset(s.Dev.Regs(), win, r)
	if r.IntN(2) == 0 {
		return fmt.Sprintf("%s[%x]%d=%x", win.Name, off, size, win.Read(off, size))
	}
	v := []uint64{0, ^uint64(0), r.Uint64(), uint64(r.IntN(256))}[r.IntN(4)]
	win.Write(off, size, v)
	return fmt.Sprintf("%s[%x]%d:=%x", win.Name, off, size, v)
}

// pickOffset prefers offsets that are registers.
func pickOffset(regs []devices.Reg, win bus.Window, r *rand.Rand) uint64 {
	if reg := regs[r.IntN(len(regs))]; reg.Space == win.Name && r.IntN(8) != 0 {
		return reg.Off
	}
	return r.Uint64N(win.Size)
}

func checkRoundTrip(t T, k Kind) {
	for seed := range uint64(20) {
		w1, s1 := k.build()
		r := rand.New(rand.NewPCG(seed, 1))
		for range r.IntN(400) {
			step(w1, s1, r)
		}
		saved := Encode(t, s1.Dev)

		w2, s2 := k.build()
		require.NoError(t, decode(saved, s2.Dev), "seed %d", seed)
		w2.Take()
		require.NoError(t, s2.Dev.Restored(), "seed %d", seed)
		require.Empty(t, w2.Take(), "seed %d: Restored must not call out", seed)
		require.Equal(t, saved, Encode(t, s2.Dev), "seed %d: encodes to other bytes", seed)

		w1.Take()
		w2.follow(w1)
		sameFuture(t, seed, w1, s1, w2, s2)
	}
}

// sameFuture checks that two devices answer and call alike from now on.
func sameFuture(t T, seed uint64, w1 *World, s1 Specimen, w2 *World, s2 Specimen) {
	t.Helper()
	r1, r2 := rand.New(rand.NewPCG(seed, 2)), rand.New(rand.NewPCG(seed, 2))
	for i := range 300 {
		a, b := step(w1, s1, r1), step(w2, s2, r2)
		require.Equal(t, a, b, "seed %d: answer %d after the restore", seed, i)
		require.Equal(t, w1.Take(), w2.Take(), "seed %d: calls of step %d, %s", seed, i, a)
	}
	require.Equal(t, Encode(t, s1.Dev), Encode(t, s2.Dev), "seed %d: later state", seed)
}

// checkShape finds state outside State(): the device may embed it and hold
// wiring, nothing else. Every field of it has a key of its own.
func checkShape(t T, k Kind) {
	_, s := k.build()
	typ, st := reflect.TypeOf(s.Dev).Elem(), reflect.TypeOf(s.Dev.State()).Elem()
	embedded := false
	for i := range typ.NumField() {
		switch f := typ.Field(i); {
		case f.Anonymous && f.Type == st:
			embedded = true
		case f.Type.Name() == "Wiring":
			checkWiring(t, f.Type)
		default:
			assert.True(t, isWire(f.Type), "%s.%s is %s: hidden state?", typ, f.Name, f.Type)
		}
	}
	assert.True(t, embedded, "%s does not embed %s", typ, st)
	checkKeys(t, st)
	assert.NotEmpty(t, s.Dev.ID())
	assert.Equal(t, len(s.Windows) == 0, len(s.Dev.Regs()) == 0, "registers without a window, or the reverse")
}

func isWire(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Func, reflect.String:
		return true
	}
	return false
}

// checkWiring allows plain configuration and a bus beside interfaces.
func checkWiring(t T, typ reflect.Type) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		kind := f.Type.Kind()
		if kind == reflect.Array {
			kind = f.Type.Elem().Kind()
		}
		plain := kind >= reflect.Bool && kind <= reflect.Uint64
		isBus := kind == reflect.Pointer && f.Type.Elem().Name() == "Bus"
		assert.True(t, isWire(f.Type) || plain || isBus, "%s.%s is %s", typ, f.Name, f.Type)
	}
}

// checkKeys wants exported fields of fixed size with unique integer keys.
func checkKeys(t T, typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Slice, reflect.Array:
		checkKeys(t, typ.Elem())
		return
	case reflect.Struct:
	default:
		kind := typ.Kind()
		ok := kind == reflect.Bool || kind >= reflect.Int8 && kind <= reflect.Int64 ||
			kind >= reflect.Uint8 && kind <= reflect.Uint64
		assert.True(t, ok, "state holds a %s", typ)
		return
	}
	seen := map[string]string{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, ok := strings.CutSuffix(f.Tag.Get("cbor"), ",keyasint")
		assert.True(t, ok && f.IsExported(), "%s.%s: want an exported field with `cbor:\"N,keyasint\"`", typ, f.Name)
		assert.Empty(t, seen[key], "%s.%s: key %s is taken", typ, f.Name, key)
		seen[key] = f.Name
		checkKeys(t, f.Type)
	}
}

func checkReset(t T, k Kind) {
	for seed := range uint64(10) {
		w, s := k.build()
		blank, fresh := k.build()
		r := rand.New(rand.NewPCG(seed, 3))
		for range 200 {
			step(w, s, r)
		}
		if s.Release != nil {
			s.Release()
		}
		blank.now = w.now
		s.Dev.Reset(devices.PowerOn)
		fresh.Dev.Reset(devices.PowerOn)
		require.Equal(t, Encode(t, fresh.Dev), Encode(t, s.Dev), "seed %d", seed)
		require.Equal(t, quiet(blank), quiet(w), "seed %d: deadlines and lines", seed)
	}
	_, born := k.build()
	_, reset := k.build()
	reset.Dev.Reset(devices.PowerOn)
	require.Equal(t, Encode(t, born.Dev), Encode(t, reset.Dev), "new is not as after power-on")
}

// quiet lists the deadlines and the levels of a world.
func quiet(w *World) []string {
	var out []string
	for i, d := range w.due {
		if d.set {
			out = append(out, fmt.Sprintf("%d at %d", i, d.at))
		}
	}
	for _, l := range w.levels {
		if l.high {
			out = append(out, l.name)
		}
	}
	return out
}

func checkRegs(t T, k Kind) {
	_, s := k.build()
	for i, reg := range s.Dev.Regs() {
		assert.NotEmpty(t, reg.Name, "register %d", i)
		assert.Regexp(t, `^\[.+\]$`, reg.Ref, reg.Name)
		assert.Contains(t, []int{1, 2, 4, 8}, reg.Size, reg.Name)
		all := ^uint64(0) >> (64 - 8*reg.Size)
		assert.Zero(t, (reg.Mask|reg.Reset)&^all, "%s: mask or reset value is wider than the register", reg.Name)
		if p, ok := s.Dev.(devices.Peeker); ok {
			before := Encode(t, s.Dev)
			p.Peek(i)
			assert.Equal(t, before, Encode(t, s.Dev), "%s: Peek changed the state", reg.Name)
		}
		if !reg.Banked {
			checkReg(t, k, reg, all)
		}
	}
}

// window builds a fresh device and returns the named window.
func (k Kind) window(t T, name string, enable bool) devices.Handler {
	_, s := k.build()
	if enable && s.Enable != nil {
		s.Enable()
	}
	for _, w := range s.Windows {
		if w.Name == name {
			return w.Handler
		}
	}
	require.FailNow(t, "no window", name)
	return nil
}

// checkReg compares one register's behaviour with its row.
func checkReg(t T, k Kind, reg devices.Reg, all uint64) {
	h := k.window(t, reg.Space, false)
	if reg.Acc == devices.WO {
		h.Write(reg.Off, reg.Size, all)
		return
	}
	assert.Equal(t, reg.Reset, h.Read(reg.Off, reg.Size), "%s after reset", reg.Name)
	h = k.window(t, reg.Space, true)
	before := h.Read(reg.Off, reg.Size)
	ones, zeros := reg.Mask, uint64(0)
	keep := reg.Reset &^ reg.Mask
	switch reg.Acc {
	case devices.RO, devices.RC:
		ones, zeros, keep = 0, 0, before
	case devices.W1C:
		ones = 0
	}
	h.Write(reg.Off, reg.Size, all)
	assert.Equal(t, ones|keep, h.Read(reg.Off, reg.Size), "%s after writing ones", reg.Name)
	h.Write(reg.Off, reg.Size, 0)
	assert.Equal(t, zeros|keep, h.Read(reg.Off, reg.Size), "%s after writing zeros", reg.Name)
}

// checkGolden keeps encodings readable for ever. The file holds the encoding of a
// state whose every field has a value of its own, and what it says: that must be
// read from the same bytes by every later version, which may add fields.
func checkGolden(t T, k Kind) {
	name := filepath.Join("testdata", k.Name+".golden")
	if *update {
		_, s := k.build()
		distinct(s.Dev)
		text := fold(Encode(t, s.Dev)) + "\n" + strings.Join(fields("", reflect.ValueOf(s.Dev.State()).Elem()), "\n") + "\n"
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err, "run the test with -update once")
	dump, want, found := strings.Cut(string(text), "\n\n")
	require.True(t, found, "no empty line between bytes and fields")
	golden, err := hex.DecodeString(strings.ReplaceAll(dump, "\n", ""))
	require.NoError(t, err)
	_, old := k.build()
	require.NoError(t, decode(golden, old.Dev))
	have := fields("", reflect.ValueOf(old.Dev.State()).Elem())
	for line := range strings.Lines(want) {
		assert.Contains(t, have, strings.TrimSpace(line), "an old encoding has a new meaning")
	}
	if len(have) == strings.Count(want, "\n") {
		assert.Equal(t, dump, strings.TrimSpace(fold(Encode(t, old.Dev))), "a state has a new encoding")
	}
}

// distinct gives every field of a device's state a value of its own.
func distinct(d devices.Device) {
	var leaves []reflect.Value
	collect(reflect.ValueOf(d.State()).Elem(), &leaves)
	for i, f := range leaves {
		switch {
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.CanInt():
			f.SetInt(int64(i%127 + 1))
		default:
			f.SetUint(uint64(i%255 + 1))
		}
	}
}

// fields lists a state as "path value".
func fields(path string, v reflect.Value) []string {
	var out []string
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, fields(strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i))...)
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			out = append(out, fields(fmt.Sprintf("%s[%d]", path, i), v.Index(i))...)
		}
	default:
		out = append(out, fmt.Sprintf("%s %v", path, v))
	}
	return out
}

// fold writes bytes in hex, 32 a line.
func fold(b []byte) string {
	var sb strings.Builder
	for len(b) > 0 {
		n := min(32, len(b))
		fmt.Fprintf(&sb, "%x\n", b[:n])
		b = b[n:]
	}
	return sb.String()
}

// checkHostile decodes damaged and invented states. What Restored lets through
// must work: no panic, whatever the guest does next.
func checkHostile(t T, k Kind) {
	refused, accepted := 0, 0
	for seed := range uint64(2000) {
		w, s := k.build()
		r := rand.New(rand.NewPCG(seed, 5))
		for range 50 {
			step(w, s, r)
		}
		b := Encode(t, s.Dev)
		if seed%2 == 0 {
			invent(reflect.ValueOf(s.Dev.State()).Elem(), r)
			b = Encode(t, s.Dev)
		} else {
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			}
		}
		if survive(t, k, b, w, r) {
			accepted++
		} else {
			refused++
		}
	}
	t.Logf("%d states refused, %d accepted", refused, accepted)
	require.NotZero(t, accepted, "no state got through: the test tests nothing")
}

// survive restores a device from b in the world of another and uses it; false: it
// was refused.
func survive(t T, k Kind, b []byte, from *World, r *rand.Rand) bool {
	w, s := k.build()
	if decode(b, s.Dev) != nil || s.Dev.Restored() != nil {
		return false
	}
	w.follow(from)
	for range 60 {
		step(w, s, r)
	}
	Encode(t, s.Dev)
	return true
}

// FuzzStates feeds encodings to the devices: what Restored accepts must work.
func FuzzStates(f *testing.F, kinds []Kind) {
	for i, k := range kinds {
		_, s := k.build()
		f.Add(uint8(i), uint64(i), Encode(f, s.Dev))
		distinct(s.Dev)
		f.Add(uint8(i), uint64(i), Encode(f, s.Dev))
	}
	f.Fuzz(func(t *testing.T, i uint8, seed uint64, b []byte) {
		k := kinds[int(i)%len(kinds)]
		w, _ := k.build()
		survive(t, k, b, w, rand.New(rand.NewPCG(seed, 6)))
	})
}

// invent changes a few leaves of a state to random or extreme values.
func invent(v reflect.Value, r *rand.Rand) {
	var leaves []reflect.Value
	collect(v, &leaves)
	for range 1 + r.IntN(5) {
		if len(leaves) == 0 {
			return
		}
		n := []uint64{r.Uint64(), ^uint64(0), 1 << 63, 1<<63 - 1, uint64(r.IntN(300))}[r.IntN(5)]
		switch f := leaves[r.IntN(len(leaves))]; {
		case f.Kind() == reflect.Bool:
			f.SetBool(n&1 != 0)
		case f.CanInt():
			f.SetInt(int64(n) << (64 - f.Type().Bits()) >> (64 - f.Type().Bits()))
		default:
			f.SetUint(n >> (64 - f.Type().Bits()))
		}
	}
}

func collect(v reflect.Value, leaves *[]reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			collect(v.Field(i), leaves)
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), leaves)
		}
	default:
		*leaves = append(*leaves, v)
	}
}
