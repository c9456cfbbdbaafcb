package firmware

import (
	"encoding/binary"
	"fmt"
)

// Code classes an Error for callers that branch on it.
type Code string

// The codes of Error.
const (
	CodeUnknown     Code = "image-unknown"     // no kernel that is known here
	CodeUnsupported Code = "image-unsupported" // a known kind that cannot be booted
	CodeCorrupt     Code = "image-corrupt"     // lengths or addresses contradict the file
	CodeMemory      Code = "memory-too-small"  // Have and Want are bytes of guest memory
	CodeCmdline     Code = "cmdline"           // the command line cannot be passed on
	CodePlatform    Code = "platform"          // the tables cannot describe the machine
)

// Error says what cannot be booted, why, and what to type instead.
type Error struct {
	Code       Code
	Field      string // what is at fault: kernel, initrd, memory, cmdline, cpus
	Have, Want uint64 // the bad value and its bound, in the unit of What; 0, 0 if it is no number
	What       string
	Why        string
	Hint       string // arguments or a command; empty if nothing can be typed
}

// Error is one line; the hint is left to whoever shows it.
func (e *Error) Error() string { return e.What + ": " + e.Why }

// corrupt is the error of an image whose parts contradict each other.
func corrupt(have, want uint64, why string, args ...any) error {
	return &Error{
		Code: CodeCorrupt, Field: "kernel", Have: have, Want: want,
		What: "kernel image is damaged", Why: fmt.Sprintf(why, args...),
	}
}

// mib shows bytes in MiB, with one decimal where it says something.
func mib(n uint64) string {
	tenths := (n%(1<<20)*10 + 1<<20 - 1) >> 20 // rounded up
	whole := n>>20 + tenths/10
	if tenths%10 == 0 {
		return fmt.Sprintf("%d MiB", whole)
	}
	return fmt.Sprintf("%d.%d MiB", whole, tenths%10)
}

// mibFlag shows bytes as the -m flag takes them, rounded up.
func mibFlag(n uint64) string { return fmt.Sprintf("%dM", (n+1<<20-1)>>20) }

// put writes b, which earlier checks have found to be inside memory.
func put(m Memory, pa uint64, b []byte) error {
	if m.Write(pa, b) {
		return nil
	}
	return &Error{
		Code: CodeMemory, Field: "memory", Have: pa, Want: pa + uint64(len(b)),
		What: fmt.Sprintf("memory has no RAM at %#x-%#x", pa, pa+uint64(len(b))),
		Why:  "the boot protocol puts data there",
	}
}

// zero clears [pa, pa+n). Why: it reads first, since most of it is untouched
// RAM, which need not be given host memory only to hold zeros.
func zero(m Memory, pa, n uint64) error {
	var have, zeros [4096]byte
	for n > 0 {
		k := min(n, uint64(len(have)))
		m.Read(pa, have[:k])
		if have != zeros {
			if err := put(m, pa, zeros[:k]); err != nil {
				return err
			}
			have = zeros
		}
		pa, n = pa+k, n-k
	}
	return nil
}

func le16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }
func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func le64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
