// Command underqemu writes what package firmware makes of a kernel as files for
// run.sh, which boots them with QEMU's CPU and devices: the independent judge of
// the loaders and the tables. A guest that fails in godwit and boots here has
// met a fault of the CPU or a device, not of the firmware.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"godwit/firmware"
)

const (
	lowEnd  = 0xa0000
	romAddr = 0xe0000
	highRAM = 0x100000
	// scratch holds the ROM area, which QEMU keeps for its own firmware until
	// the stub has unlocked it.
	scratch = 0x8000000
)

// ram is guest memory below 3 GiB.
type ram []byte

func (r ram) Write(pa uint64, b []byte) bool {
	if pa > uint64(len(r)) || uint64(len(b)) > uint64(len(r))-pa {
		return false
	}
	copy(r[pa:], b)
	return true
}

func (r ram) Read(pa uint64, b []byte) { copy(b, r[pa:]) }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "underqemu:", err)
		os.Exit(1)
	}
}

// run takes MIB KERNEL INITRD CMDLINE DIR; an empty INITRD means none.
func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("have %d arguments, want MIB KERNEL INITRD CMDLINE DIR", len(args))
	}
	mib, err := strconv.ParseUint(args[0], 10, 12)
	if err != nil || mib < 256 || mib > 3072 {
		return fmt.Errorf("memory of %q MiB is not in 256-3072", args[0])
	}
	c := firmware.Config{RAM: mib << 20, Cmdline: args[3], Platform: firmware.Platform{
		APICIDs: []uint32{0, 1}, HPET: true, I8042: true,
	}}
	if c.Kernel, err = os.ReadFile(args[1]); err != nil {
		return err
	}
	if args[2] != "" {
		if c.Initrd, err = os.ReadFile(args[2]); err != nil {
			return err
		}
	}
	m := make(ram, c.RAM)
	e, err := firmware.Boot(m, c)
	if err != nil {
		return err
	}
	copy(m[scratch:], m[romAddr:highRAM])
	files := map[string][]byte{"low.bin": m[:lowEnd], "high.bin": m[highRAM:], "setup.inc": setup()}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(args[4], name), b, 0o600); err != nil {
			return err
		}
	}
	long := 0
	if e.Mode == firmware.Long64 {
		long = 1
	}
	_, err = fmt.Printf("--defsym LONG=%d --defsym rip=%#x --defsym rsi=%#x --defsym rbx=%#x --defsym cr3=%#x"+
		" --defsym gdtbase=%#x --defsym gdtlimit=%d\n", long, e.RIP, e.RSI, e.RBX, e.CR3, e.GDT.Base, e.GDT.Limit)
	return err
}

// setup is the firmware's device and MSR setup as assembly for the stub.
func setup() []byte {
	var b strings.Builder
	for _, w := range firmware.DeviceWrites() {
		if w.Port {
			fmt.Fprintf(&b, "\tmov $%#x, %%dx\n\tmov $%#x, %%al\n\tout %%al, %%dx\n", w.Addr, w.Value)
			continue
		}
		fmt.Fprintf(&b, "\tmovl $%#x, %#x\n", w.Value, w.Addr)
	}
	for _, r := range firmware.MSRs(40) {
		fmt.Fprintf(&b, "\tmov $%#x, %%ecx\n\tmov $%#x, %%eax\n\tmov $%#x, %%edx\n\twrmsr\n",
			r.Index, uint32(r.Value), r.Value>>32)
	}
	return []byte(b.String())
}
