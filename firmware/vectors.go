package firmware

// What a BIOS leaves of interrupts for a multiboot kernel, which may go back to
// real mode and enable them: the PICs at vectors 8 and 70h, the timer ticking at
// 18.2 Hz, and vectors that return. Services there are none. Kernels of the other
// protocols do not look at any of it, and get none.

// vectorCode is where the handlers lie, in the segment f000.
const vectorCode = 0xff000

// Handlers, 16-bit code.
const (
	vectorReturn = "\xcf"                                 // iret
	vectorMaster = "\x50\xb0\x20\xe6\x20\x58\xcf"         // EOI to the master: push ax; mov al, 20h; out 20h, al; pop ax; iret
	vectorSlave  = "\x50\xb0\x20\xe6\xa0\xe6\x20\x58\xcf" // to both
	// The tick counter at 40:6c, then the EOI: push ax; push ds; xor ax, ax; mov ds, ax; inc dword [46ch]; ...
	vectorTimer = "\x50\x1e\x31\xc0\x8e\xd8\x66\xff\x06\x6c\x04\xb0\x20\xe6\x20\x1f\x58\xcf"
)

// Vectors of the PICs' inputs 0.
const (
	masterVector = 0x08
	slaveVector  = 0x70
)

// writeVectors writes the vector table and its handlers.
func writeVectors(m Memory) error {
	var code []byte
	place := func(handler string) uint32 {
		at := uint32(vectorCode&0xf0000)<<12 | uint32(vectorCode&0xffff+len(code))
		code = append(code, handler...)
		return at
	}
	other, timer, master, slave := place(vectorReturn), place(vectorTimer), place(vectorMaster), place(vectorSlave)
	var table []byte
	for v := range 256 {
		switch {
		case v == masterVector:
			table = le32(table, timer)
		case v&^7 == masterVector:
			table = le32(table, master)
		case v&^7 == slaveVector:
			table = le32(table, slave)
		default:
			table = le32(table, other)
		}
	}
	if err := put(m, vectorCode, code); err != nil {
		return err
	}
	return put(m, 0, table)
}

// VectorWrites returns the setup of the PICs and the timer for an Entry with
// Vectors. Only the timer and the cascade are unmasked.
func VectorWrites() []DeviceWrite {
	var list []DeviceWrite
	for _, w := range [...][2]uint16{
		{0x43, 0x34}, {0x40, 0}, {0x40, 0}, // counter 0, rate generator, 65536 [8254]; ICW1 clears the edge this makes
		{0x20, 0x11}, {0x21, masterVector}, {0x21, 4}, {0x21, 1}, {0x21, 0xfa}, // ICW1 to ICW4, OCW1 [8259A]
		{0xa0, 0x11}, {0xa1, slaveVector}, {0xa1, 2}, {0xa1, 1}, {0xa1, 0xff},
	} {
		list = append(list, DeviceWrite{Port: true, Addr: uint64(w[0]), Size: 1, Value: uint32(w[1])})
	}
	return list
}
