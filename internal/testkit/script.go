package testkit

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/bus"
)

// Subject is a device with what a test does to it.
type Subject struct {
	World   *World
	Dev     devices.Device
	Windows []bus.Window
	// Ops are further script commands by their first word; what they return is
	// output.
	Ops map[string]func(args []string) string
}

// Script runs commands separated by semicolons and compares their output, joined
// by spaces, with want:
//
//	w REG HEX    write a register by its name in Regs, or SPACE.NAME
//	r REG        read it: outputs the value in hex
//	+N           let N pass (ns, or with the suffix us, ms, s)
//	>N           the same in one jump
//	? LINE       outputs 1 or 0
//	log          outputs the calls since the last log, in brackets
func Script(t *testing.T, s *Subject, do, want string) {
	t.Helper()
	var out []string
	for cmd := range strings.SplitSeq(do, ";") {
		f := strings.Fields(cmd)
		if len(f) == 0 {
			continue
		}
		if o := s.run(t, f); o != "" {
			out = append(out, o)
		}
	}
	assert.Equal(t, want, strings.Join(out, " "), do)
}

func (s *Subject) run(t *testing.T, f []string) string {
	t.Helper()
	switch op := f[0]; {
	case op == "w":
		r, h := s.reg(t, f[1])
		h.Write(r.Off, r.Size, number(t, f[2]))
	case op == "r":
		r, h := s.reg(t, f[1])
		return strconv.FormatUint(h.Read(r.Off, r.Size), 16)
	case op == "?":
		if s.World.Level(f[1]) {
			return "1"
		}
		return "0"
	case op == "log":
		return "[" + strings.Join(s.World.Take(), ", ") + "]"
	case op[0] == '+':
		s.World.Advance(Duration(t, op[1:]))
	case op[0] == '>':
		s.World.Skip(Duration(t, op[1:]))
	default:
		require.Contains(t, s.Ops, op, "no such command")
		return s.Ops[op](f[1:])
	}
	return ""
}

// reg finds a register and the window it is in.
func (s *Subject) reg(t *testing.T, name string) (devices.Reg, devices.Handler) {
	t.Helper()
	for _, r := range s.Dev.Regs() {
		if r.Name != name && r.Space+"."+r.Name != name {
			continue
		}
		for _, w := range s.Windows {
			if w.Name == r.Space {
				return r, w.Handler
			}
		}
	}
	require.FailNow(t, "no such register", name)
	return devices.Reg{}, nil
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, 64)
	require.NoError(t, err)
	return v
}

// Duration reads "12", "12us", "12ms" or "12s".
func Duration(t *testing.T, s string) devices.Nanos {
	t.Helper()
	unit := devices.Nanos(1)
	for _, u := range []struct {
		suffix string
		ns     devices.Nanos
	}{{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}} {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = n, u.ns
			break
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err, fmt.Sprintf("duration %q", s))
	return devices.Nanos(v) * unit
}
