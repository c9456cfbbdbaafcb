package firmware

// smbios returns the 64-bit entry point for smbiosAddr, followed by the
// structures [SMBIOS 3.6 5.2.2]: BIOS information, system information, chassis
// and end of table. Guests use them to name the machine.
func smbios() []byte {
	const entrySize, tableOff = 24, 32
	var t []byte
	t = smbiosStruct(t, 0, 0x100, append([]byte{
		1, 2, // vendor, version
		0, 0xe0, // start segment e000
		3,                      // release date
		1,                      // ROM size: 128 KiB
		8, 0, 0, 0, 0, 0, 0, 0, // characteristics: not listed
		0, 0x14, // targeted content distribution, virtual machine
		0, 1, // release 0.1
	}, 0xff, 0xff), "godwit", "1", "01/01/2026")
	uuid := make([]byte, 16) // zero: not present
	t = smbiosStruct(t, 1, 0x101, append(append([]byte{1, 2, 3, 0}, uuid...), 6, 0, 0), "godwit", "PC", "1")
	t = smbiosStruct(t, 3, 0x103, []byte{1, 1, 0, 0, 0, 3, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "godwit")
	t = smbiosStruct(t, 127, 0x17f, nil)

	b := []byte("_SM3_\x00\x18\x03\x06\x00\x01\x00") // length 24, version 3.6.0, entry revision 1
	b = le32(b, uint32(len(t)))
	b = le64(b, smbiosAddr+tableOff)
	var sum byte
	for _, v := range b {
		sum += v
	}
	b[5] = -sum
	b = append(b, make([]byte, tableOff-entrySize)...)
	return append(b, t...)
}

// smbiosStruct appends one structure with its strings [SMBIOS 3.6 6.1.2].
func smbiosStruct(b []byte, kind byte, handle uint16, fields []byte, strs ...string) []byte {
	b = append(b, kind, byte(4+len(fields)))
	b = le16(b, handle)
	b = append(b, fields...)
	for _, s := range strs {
		b = append(append(b, s...), 0)
	}
	if len(strs) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}
