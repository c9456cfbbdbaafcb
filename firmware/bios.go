package firmware

// CMOSByte is a byte of the real-time clock's memory.
type CMOSByte struct{ Index, Value uint8 }

// CMOS returns what a BIOS expects to find of the machine there: the size of
// memory below 1 MiB, from 1 to 64 MiB in KiB, from 16 MiB to 4 GiB and above in
// units of 64 KiB, and the number of further CPUs [QEMU specs/cmos].
func CMOS(ram uint64, cpus int) []CMOSByte {
	var c []CMOSByte
	put := func(index uint8, n int, v uint64) {
		for i := range n {
			c = append(c, CMOSByte{index + uint8(i), uint8(v >> (8 * i))})
		}
	}
	low := LowRAM(ram)
	put(0x15, 2, 640)
	put(0x17, 2, min(low-1<<20, 63<<20)>>10)
	put(0x30, 2, min(low-1<<20, 63<<20)>>10)
	if low > 16<<20 {
		put(0x34, 2, (low-16<<20)>>16)
	}
	put(0x5b, 3, (ram-low)>>16)
	put(0x5f, 1, uint64(cpus-1))
	return c
}

// BiosE820 encodes the memory there is, as fw_cfg tells a BIOS: address, length
// and type of each range [QEMU specs/fw_cfg].
func BiosE820(ram uint64) []byte {
	low := LowRAM(ram)
	b := le32(le64(le64(nil, 0), low), uint32(E820RAM))
	if ram > low {
		b = le32(le64(le64(b, highRAMBase), ram-low), uint32(E820RAM))
	}
	return b
}
