package cpu

import (
	"encoding/binary"

	"godwit/mem"
)

// The paravirtual clock: a page that tells the guest how time follows from the
// TSC [LINUX virt/kvm/x86/msr, virt/kvm/x86/cpuid]. Guest time is the TSC here,
// so the page is written once and stays true: it is stable, and vCPUs agree.

const (
	leafHypervisor = 0x40000000
	leafFeatures   = 0x40000001

	kvmClockSource2      = 1 << 3  // the two MSRs below exist
	kvmClockSourceStable = 1 << 24 // all vCPUs' pages tell the same time

	msrWallClock  = 0x4b564d00
	msrSystemTime = 0x4b564d01

	// Asynchronous page faults: memory that is not there is awaited before the
	// access, so none ever comes. No feature bit tells of the register, but test
	// kernels enable them unasked, as they make hypercalls.
	msrAsyncPF  = 0x4b564d02
	asyncPFMask = ^uint64(0x30)
)

// cpuidHypervisor answers the leaves by which guests know a hypervisor.
func cpuidHypervisor(leaf uint32, r *[4]uint32) {
	const signature = "KVMKVMKVM\x00\x00\x00"
	switch leaf {
	case leafHypervisor:
		r[eax] = leafFeatures
		for i, reg := range [...]int{ebx, ecx, edx} {
			r[reg] = binary.LittleEndian.Uint32([]byte(signature[4*i : 4*i+4]))
		}
	case leafFeatures:
		r[eax] = kvmClockSource2 | kvmClockSourceStable
	}
}

// SetWallClock tells what the time was at guest time 0, in Unix seconds.
func (c *CPU) SetWallClock(sec int64) { c.wallClock = sec }

// writeWallClock stores the date of guest time 0 where the guest wants it.
func (c *CPU) writeWallClock(v uint64) bool {
	b := make([]byte, 0, 12)
	b = binary.LittleEndian.AppendUint32(b, 2) // version: even, not being written
	b = binary.LittleEndian.AppendUint32(b, uint32(c.wallClock))
	b = binary.LittleEndian.AppendUint32(b, 0)
	if !c.dma(v, b) {
		return false
	}
	c.MSRs.WallClock = v
	return true
}

// writeSystemTime puts the time page at v, if its bit 0 enables it.
func (c *CPU) writeSystemTime(v uint64) bool {
	if v&1 != 0 {
		b := make([]byte, 0, 32)
		b = binary.LittleEndian.AppendUint32(b, 2)
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint64(b, c.TSCAdjust) // the TSC at time 0
		b = binary.LittleEndian.AppendUint64(b, 0)
		b = binary.LittleEndian.AppendUint32(b, 1<<31) // time = (tsc << 1) * 2^31 >> 32
		b = append(b, 1, 1, 0, 0)                      // shift 1; flags: stable
		if !c.dma(v&^3, b) {
			return false
		}
	}
	c.MSRs.SystemTime = v
	return true
}

// dma writes past the page tables. False: memory refuses it now, and the
// instruction must be executed again.
func (c *CPU) dma(pa uint64, b []byte) bool {
	c.mem.SetWriter(mem.Writer{RIP: c.RIP, CPL: c.CPL, VCPU: int16(c.id)})
	return c.stall(c.mem.Write(pa, b))
}
