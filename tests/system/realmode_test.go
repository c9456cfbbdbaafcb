package system

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// multiboot makes a kernel of less than 0x100 bytes at 0x8000, entered at an offset, and
// what puts code into it.
func multiboot(entry uint32) (b []byte, at func(off int, code string)) {
	const base, magic, flags = 0x8000, 0x1badb002, 1 << 16
	var header prog
	header.u32(magic).u32(flags).u32(-(magic + flags) & 0xffffffff)
	header.u32(base).u32(base).u32(base + 0x100).u32(0).u32(base + entry)
	b = make([]byte, 0x100)
	copy(b, header.b)
	return b, func(off int, code string) { copy(b[off:], new(prog).x(code).b) }
}

// A multiboot kernel that goes back to real mode finds the interrupts of a BIOS:
// vectors that return, and a timer that wakes HLT and counts at 40:6c.
func TestRealModeInterrupts(t *testing.T) {
	b, at := multiboot(0x48)
	at(0x20, "1700 30800000 ff03 00000000")                          // for LGDT and LIDT
	at(0x38, "ffff0000009b0000 ffff000000930000")                    // the GDT: 16-bit code and data
	at(0x48, "0f011520800000 ea608000000800")                        // lgdt; far to 16-bit code
	at(0x60, "b81000 8ed8 8ec0 8ed0 0f20c0 24fe 0f22c0 ea80800000")  // PE off; far to real mode
	at(0x80, "31c0 8ed8 8ec0 8ed0 bc0070 0f011e2680 cd10 cd0b cd73"+ // lidt; interrupts that return
		"a16c04 0bc0 7510 fb f4 fa a16c04 e6f4 f4") // no tick yet; sti; hlt; cli; the ticks
	for _, e := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		cfg := machine.DefaultConfig()
		cfg.Memory, cfg.DebugExit = 16<<20, machine.DebugExitGodwit
		m, err := machine.New(cfg, machine.Images{Kernel: b}, &host{})
		require.NoError(t, err)
		m.SetEngine(e)
		require.NoError(t, m.Boot())
		require.Equal(t, machine.Exited, m.Run(limit))
		_, code := m.End()
		assert.Equal(t, uint32(1), code)
		const tick = 54_925_000 // 65536 / 1193182 s
		assert.InDelta(t, tick, int64(m.Now()), 100_000)
		require.NoError(t, m.Close())
	}
}
