package system

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// say is 16-bit code that prints a character on the debug console.
func say(c byte) string { return fmt.Sprintf("b0%02x ba0204 ee", c) }

// A ROM starts at the reset vector, in real mode with the code segment at the
// end of 4 GiB; its end shows below 1 MiB too. POST codes go nowhere.
func TestROM(t *testing.T) {
	for _, size := range []int{64 << 10, 128 << 10, 256 << 10} {
		t.Run(fmt.Sprint(size>>10, " KiB"), func(t *testing.T) {
			t.Parallel()
			rom := bytes.Repeat([]byte{0xf4}, size)
			last := rom[size-64<<10:]
			at := func(off int, code string) { copy(last[off:], new(prog).x(code).b) }
			at(0xfff0, "e90d01") // near, still high
			at(0x0100, say('h')+"b011 e680 ba9001 ee"+"ea 000200f0")
			at(0x0200, say('l')+"8cc8 8ed8 a00003 ba0204 ee"+ // what is at f000:0300
				"c606000352 a00003 ee"+ // this is memory, as if shadowed
				"66b8040000 00 b007 e6f4 f4")
			last[0x300] = 'r'
			cfg := machine.DefaultConfig()
			cfg.Memory, cfg.DebugExit, cfg.Debugcon = 16<<20, machine.DebugExitGodwit, 0x402
			h := &host{}
			m, err := machine.New(cfg, machine.Images{Bios: rom}, h)
			require.NoError(t, err)
			defer m.Close()
			require.NoError(t, m.Boot())
			stop := m.Run(100_000)
			require.Equal(t, machine.Exited, stop, "%x:%x %q", m.CPUs()[0].Seg[1].Sel, m.CPUs()[0].RIP, h.debug)
			assert.Equal(t, "hlrR", string(h.debug))
			_, code := m.End()
			assert.Equal(t, uint32(7), code)
		})
	}
}

// SeaBIOS finds memory, vCPUs and buses, and looks for something to boot.
func TestSeaBIOS(t *testing.T) {
	const file = "/usr/share/seabios/bios-256k.bin"
	rom, err := os.ReadFile(file)
	if os.IsNotExist(err) && os.Getenv("CI") != "true" {
		t.Skip("no SeaBIOS: apt-get install seabios")
	}
	require.NoError(t, err)
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Debugcon = 5<<30, 2, 0x402
	h := &host{}
	m, err := machine.New(cfg, machine.Images{Bios: rom}, h)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Boot())
	for m.Count() < limit && !bytes.Contains(h.debug, []byte("No bootable device")) {
		require.Equal(t, machine.Reached, m.Run(m.Count()+100_000))
	}
	for _, line := range []string{
		"qemu/e820: addr 0x0000000100000000 len 0x0000000080000000 [RAM]", "Found 2 cpu(s) max supported 2 cpu(s)",
		"PS2 keyboard initialized", "No bootable device",
	} {
		assert.Contains(t, string(h.debug), line)
	}
}
