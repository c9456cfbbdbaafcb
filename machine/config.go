package machine

import (
	"fmt"
	"strconv"
	"strings"

	"godwit/cpu"
)

// Clock kinds of Config.Clock.
const (
	ClockVirtual = "virtual" // guest time is the count alone; idle time is skipped
	ClockWall    = "wall"    // guest time follows the host's clock
)

// Config is everything a machine is built from, and nothing that changes while
// it runs. Flags fill it, files hold it, snapshots store it, migration sends it.
type Config struct {
	Memory   uint64 `json:"memory" cbor:"1,keyasint"` // bytes, a multiple of 4096
	CPUs     int    `json:"cpus" cbor:"2,keyasint"`
	CPU      string `json:"cpu" cbor:"3,keyasint"` // model name
	Clock    string `json:"clock" cbor:"4,keyasint"`
	RateNum  uint32 `json:"rate_num" cbor:"5,keyasint"` // guest nanoseconds per count
	RateDen  uint32 `json:"rate_den" cbor:"6,keyasint"`
	Slice    uint64 `json:"slice" cbor:"7,keyasint"`     // counts of a vCPU's turn
	RTCEpoch int64  `json:"rtc_epoch" cbor:"8,keyasint"` // Unix seconds at guest time 0
	Seed     uint64 `json:"seed" cbor:"9,keyasint"`      // of the machine's PRNG
	Append   string `json:"append" cbor:"10,keyasint"`   // kernel command line
	NoReboot bool   `json:"no_reboot" cbor:"11,keyasint"`
	// Key 12 was a flag for what DebugExit says now.
	DebugExit string `json:"debug_exit,omitempty" cbor:"13,keyasint,omitempty"` // how port f4 ends the run: "", "godwit", "qemu"
	TestDev   bool   `json:"test_dev,omitempty" cbor:"14,keyasint,omitempty"`   // QEMU's pc-testdev
	Debugcon  uint16 `json:"debugcon,omitempty" cbor:"15,keyasint,omitempty"`   // port of the debug console, 0: none
	// ModuleArgs follow the name of a multiboot kernel's module.
	ModuleArgs string `json:"module_args,omitempty" cbor:"16,keyasint,omitempty"`

	Disks []DiskConfig `json:"disks,omitempty" cbor:"17,keyasint,omitempty"`
}

// Kinds of Config.DebugExit: the exit code is the value written, or what QEMU
// makes of it.
const (
	DebugExitGodwit = "godwit"
	DebugExitQEMU   = "qemu" // value<<1 | 1
)

// DefaultConfig is a machine with one vCPU and 512 MiB in virtual time.
func DefaultConfig() Config {
	return Config{
		Memory: 512 << 20, CPUs: 1, CPU: cpu.DefaultModel, Clock: ClockVirtual,
		RateNum: 8, RateDen: 1, Slice: 16384, RTCEpoch: 1767225600, Seed: 1,
	}
}

// Bounds of Config.
const (
	MinMemory = 1 << 20
	MaxMemory = 32 << 30
	MaxCPUs   = 8
	maxRate   = 1_000_000 // of either number of a rate
	MinBios   = 64 << 10
	MaxBios   = 8 << 20
)

// BadField is one thing that is wrong with a configuration.
type BadField struct {
	Field      string // as in JSON
	Have, Want string
}

func (b *BadField) Error() string { return b.Field + " is " + b.Have + ", needs " + b.Want }

// Validate returns everything that is wrong with the configuration.
func (c *Config) Validate() []*BadField {
	var errs []*BadField
	bad := func(field, have, want string, a ...any) {
		errs = append(errs, &BadField{field, have, fmt.Sprintf(want, a...)})
	}
	if c.Memory < MinMemory || c.Memory > MaxMemory || c.Memory%4096 != 0 {
		bad("memory", fmt.Sprintf("%d bytes", c.Memory), "a multiple of 4096 from %d to %d", MinMemory, uint64(MaxMemory))
	}
	if c.CPUs < 1 || c.CPUs > MaxCPUs {
		bad("cpus", fmt.Sprint(c.CPUs), "1 to %d", MaxCPUs)
	}
	if _, err := cpu.LookupModel(c.CPU); err != nil {
		want := "one of " + strings.Join(Models(), ", ")
		if strings.Contains(c.CPU, ",") {
			want += ", with changes of what is implemented, as in max,-pcid"
		}
		bad("cpu", strconv.Quote(c.CPU), "%s", want)
	}
	if c.Clock != ClockVirtual && c.Clock != ClockWall {
		bad("clock", strconv.Quote(c.Clock), "%s or %s", ClockVirtual, ClockWall)
	}
	if c.RateNum == 0 || c.RateDen == 0 || c.RateNum > maxRate || c.RateDen > maxRate {
		bad("rate", fmt.Sprintf("%d/%d ns per count", c.RateNum, c.RateDen), "numbers from 1 to %d", maxRate)
	}
	if c.Slice < 64 || c.Slice > 1<<24 {
		bad("slice", fmt.Sprintf("%d counts", c.Slice), "64 to %d", 1<<24)
	}
	if c.DebugExit != "" && c.DebugExit != DebugExitGodwit && c.DebugExit != DebugExitQEMU {
		bad("debug_exit", strconv.Quote(c.DebugExit), "%s or %s", DebugExitGodwit, DebugExitQEMU)
	}
	errs = append(errs, validateDisks(c.Disks)...)
	if len(c.Append) > 2047 {
		bad("append", fmt.Sprintf("%d bytes", len(c.Append)), "at most 2047")
	}
	if len(c.ModuleArgs) > 2047 {
		bad("module_args", fmt.Sprintf("%d bytes", len(c.ModuleArgs)), "at most 2047")
	}
	return errs
}

// Images are the files a machine boots from. They travel with it: a reset boots
// them again.
type Images struct {
	Kernel []byte `cbor:"1,keyasint"`
	Initrd []byte `cbor:"2,keyasint"`
	Bios   []byte `cbor:"3,keyasint,omitempty"` // ROM at the end of 4 GiB, entered at the reset vector
}

// Data is what the section of the images holds.
func (i *Images) Data() ([]byte, error) { return encode(i) }

// validate checks the images as far as they shape the machine.
func (i *Images) validate() error {
	n := len(i.Bios)
	if n != 0 && (n < MinBios || n > MaxBios || n%4096 != 0) {
		return fmt.Errorf("bios is %d bytes, needs a multiple of 4096 from %d to %d", n, MinBios, MaxBios)
	}
	return nil
}

// Models are the names of the CPU models, the default first.
func Models() []string {
	var names []string
	for _, m := range cpu.Models {
		names = append(names, m.Name)
	}
	return names
}
