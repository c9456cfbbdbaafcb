package mem

import "encoding/binary"

// Guest memory is little endian on every host [SDM 1 1.3.1]. The compiler turns
// these into single loads and stores where the host allows it. Both bounds of the
// slices are written out because b[off:] costs three more instructions before
// the address is known: 2.0 instead of 1.1 ns in a chain of loads.

// Load16 reads two bytes at off.
func Load16(b []byte, off uint64) uint16 { return binary.LittleEndian.Uint16(b[off : off+2]) }

// Load32 reads four bytes at off.
func Load32(b []byte, off uint64) uint32 { return binary.LittleEndian.Uint32(b[off : off+4]) }

// Load64 reads eight bytes at off.
func Load64(b []byte, off uint64) uint64 { return binary.LittleEndian.Uint64(b[off : off+8]) }

// Store8 writes a byte at off.
func Store8(b []byte, off uint64, v uint8) { b[off] = v }

// Store16 writes two bytes at off.
func Store16(b []byte, off uint64, v uint16) { binary.LittleEndian.PutUint16(b[off:off+2], v) }

// Store32 writes four bytes at off.
func Store32(b []byte, off uint64, v uint32) { binary.LittleEndian.PutUint32(b[off:off+4], v) }

// Store64 writes eight bytes at off.
func Store64(b []byte, off uint64, v uint64) { binary.LittleEndian.PutUint64(b[off:off+8], v) }
