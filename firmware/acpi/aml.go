package acpi

import (
	"encoding/binary"
	"strings"
)

// An aml is an encoded AML object or term [ACPI 6.5 20.2]. The functions below
// each build one construct, so that a table's source reads like ASL.
type aml []byte

// AML opcodes [ACPI 6.5 20.3].
const (
	opZero, opOne                    = 0x00, 0x01
	opName                           = 0x08
	opByte, opWord, opDWord, opQWord = 0x0a, 0x0b, 0x0c, 0x0e
	opString                         = 0x0d
	opScope                          = 0x10
	opBuffer                         = 0x11
	opPackage                        = 0x12
	opMethod                         = 0x14
	opExt, opDevice                  = 0x5b, 0x82
	opArg0                           = 0x68
	opStore                          = 0x70
	opNotify                         = 0x86
	opIf                             = 0xa0
	opReturn                         = 0xa4
)

// concat joins terms.
func concat(terms ...aml) aml {
	var b aml
	for _, t := range terms {
		b = append(b, t...)
	}
	return b
}

// pkgLength encodes the length of a package of n bytes, itself included
// [ACPI 6.5 20.2.4].
func pkgLength(n int) aml {
	switch {
	case n+1 < 1<<6:
		return aml{byte(n + 1)}
	case n+2 < 1<<12:
		n += 2
		return aml{1<<6 | byte(n&0xf), byte(n >> 4)}
	default: // up to 1 MiB
		n += 3
		return aml{2<<6 | byte(n&0xf), byte(n >> 4), byte(n >> 12)}
	}
}

// sized encodes op, the package length, and the body.
func sized(op aml, body aml) aml { return concat(op, pkgLength(len(body)), body) }

// path encodes a name such as `\_SB.PCI0` [ACPI 6.5 20.2.2].
func path(s string) aml {
	var b aml
	if rest, ok := strings.CutPrefix(s, `\`); ok {
		b, s = append(b, '\\'), rest
	}
	segs := strings.Split(s, ".")
	switch len(segs) {
	case 1:
	case 2:
		b = append(b, 0x2e)
	default:
		b = append(b, 0x2f, byte(len(segs)))
	}
	for _, seg := range segs {
		b = append(b, (seg + "____")[:4]...)
	}
	return b
}

// integer encodes a constant in its shortest form.
func integer(v uint64) aml {
	switch {
	case v <= 1:
		return aml{byte(v)} // ZeroOp, OneOp
	case v < 1<<8:
		return aml{opByte, byte(v)}
	case v < 1<<16:
		return binary.LittleEndian.AppendUint16(aml{opWord}, uint16(v))
	case v < 1<<32:
		return binary.LittleEndian.AppendUint32(aml{opDWord}, uint32(v))
	}
	return binary.LittleEndian.AppendUint64(aml{opQWord}, v)
}

func str(s string) aml             { return concat(aml{opString}, aml(s), aml{0}) }
func name(n string, v aml) aml     { return concat(aml{opName}, path(n), v) }
func scope(n string, t ...aml) aml { return sized(aml{opScope}, concat(path(n), concat(t...))) }
func device(n string, t ...aml) aml {
	return sized(aml{opExt, opDevice}, concat(path(n), concat(t...)))
}
func ifTrue(cond aml, t ...aml) aml  { return sized(aml{opIf}, concat(cond, concat(t...))) }
func ret(v aml) aml                  { return concat(aml{opReturn}, v) }
func store(v aml, target string) aml { return concat(aml{opStore}, v, path(target)) }
func notify(object string, v uint64) aml {
	return concat(aml{opNotify}, path(object), integer(v))
}
func arg(n byte) aml { return aml{opArg0 + n} }

// pkg encodes Package () { ... }.
func pkg(elems ...aml) aml {
	return sized(aml{opPackage}, append(aml{byte(len(elems))}, concat(elems...)...))
}

// method encodes a method that is not serialised.
func method(n string, args byte, t ...aml) aml {
	return sized(aml{opMethod}, concat(path(n), aml{args}, concat(t...)))
}

// eisaID packs an id such as "PNP0501" [ACPI 6.5 19.6.36].
func eisaID(s string) aml {
	v := uint32(s[0]-'@')<<26 | uint32(s[1]-'@')<<21 | uint32(s[2]-'@')<<16
	for i, c := range []byte(s[3:7]) {
		v |= uint32(strings.IndexByte("0123456789ABCDEF", c)) << (12 - 4*i)
	}
	return binary.BigEndian.AppendUint32(aml{opDWord}, v)
}

// resources encodes a resource template with its end tag. The checksum 0 means
// unchecked [ACPI 6.5 6.4.2.9].
func resources(items ...aml) aml {
	body := append(concat(items...), 0x79, 0)
	return sized(aml{opBuffer}, concat(integer(uint64(len(body))), body))
}

// ioPorts is a fixed range of 16-bit decoded ports [ACPI 6.5 6.4.2.5].
func ioPorts(base uint16, n byte) aml {
	b := aml{0x47, 1}
	b = binary.LittleEndian.AppendUint16(b, base)
	b = binary.LittleEndian.AppendUint16(b, base)
	return append(b, 1, n)
}

// irq is an edge-triggered, active-high ISA interrupt [ACPI 6.5 6.4.2.1].
func irq(n uint) aml {
	return binary.LittleEndian.AppendUint16(aml{0x22}, 1<<n)
}

// memory32 is a fixed memory range [ACPI 6.5 6.4.3.4].
func memory32(writable bool, base, n uint32) aml {
	b := aml{0x86, 9, 0, 0}
	if writable {
		b[3] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, base)
	return binary.LittleEndian.AppendUint32(b, n)
}

// Address space descriptors: resource types and their flags
// [ACPI 6.5 6.4.3.5].
const (
	spaceMemory, spaceIO, spaceBus = 0, 1, 2

	rangeFixed  = 0x0c // minimum and maximum are fixed, a producer, positively decoded
	memWritable = 0x01 // writable, not cacheable
	ioEntire    = 0x03 // ISA and non-ISA ranges
)

// busRange, ioRange, memRange32 and memRange64 are what a host bridge hands
// down: everything from first to last.
func busRange(first, last uint16) aml { return wordSpace(spaceBus, 0, first, last) }
func ioRange(first, last uint16) aml  { return wordSpace(spaceIO, ioEntire, first, last) }

func wordSpace(kind, flags byte, first, last uint16) aml {
	b := aml{0x88, 13, 0, kind, rangeFixed, flags}
	// Granularity, minimum, maximum, translation, length.
	for _, v := range []uint16{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func memRange32(first, last uint32) aml {
	b := aml{0x87, 23, 0, spaceMemory, rangeFixed, memWritable}
	for _, v := range []uint32{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func memRange64(first, last uint64) aml {
	b := aml{0x8a, 43, 0, spaceMemory, rangeFixed, memWritable}
	for _, v := range []uint64{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
