package cpu

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// GPRs is the register file that memory operands index. The first sixteen are
// the general registers in encoding order; isa.RegRIP is the base of
// RIP-relative operands, isa.RegZero is always 0, and regTmp, regFS and regGS
// let an op fold a computed address or a segment base into its operand. Only
// the general registers are state.
//
// There are as many as an op's uint8 can name, so that no index needs a check.
type GPRs [256]uint64

// General registers in encoding order [SDM 1 3.7.2.1].
const (
	RAX = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	regTmp = 18 // address computed by the op before
	regFS  = 19 // FS.base
	regGS  = 20 // GS.base
)

// MarshalCBOR encodes the sixteen general registers.
func (g GPRs) MarshalCBOR() ([]byte, error) { return cbor.Marshal([16]uint64(g[:16])) }

// UnmarshalCBOR decodes the sixteen general registers.
func (g *GPRs) UnmarshalCBOR(b []byte) error {
	var v []uint64
	if err := cbor.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("general registers: %w", err)
	}
	if len(v) != 16 {
		return fmt.Errorf("general registers: %d values, need 16", len(v))
	}
	copy(g[:16], v)
	return nil
}

// Segment attribute bits: the descriptor's bytes 5 and 6 [SDM 3A 3.4.5], with
// the four limit bits zero.
const (
	segAccessed = 1 << 0
	segWritable = 1 << 1 // data: writable
	segReadable = 1 << 1 // code: readable
	segDown     = 1 << 2 // data: expands down
	segConform  = 1 << 2 // code: conforming
	segCode     = 1 << 3
	segS        = 1 << 4 // code or data, not system
	segDPLShift = 5
	segP        = 1 << 7
	segL        = 1 << 13
	segDB       = 1 << 14
	segG        = 1 << 15
)

// Segment is a segment register with its hidden part. P clear means unusable:
// a null selector was loaded.
type Segment struct {
	Sel   uint16 `cbor:"1,keyasint"`
	Attr  uint16 `cbor:"2,keyasint"`
	Limit uint32 `cbor:"3,keyasint"` // last byte, granularity applied
	Base  uint64 `cbor:"4,keyasint"`
}

func (s *Segment) dpl() uint8 { return uint8(s.Attr>>segDPLShift) & 3 }

// Table is GDTR or IDTR.
type Table struct {
	Base  uint64 `cbor:"1,keyasint"`
	Limit uint16 `cbor:"2,keyasint"`
}

// Activity says what the vCPU does between instructions [SDM 3C 25.4.2].
type Activity uint8

// Activity states.
const (
	Running  Activity = iota
	Halted            // HLT or MWAIT: until an interrupt
	WaitSIPI          // after INIT: until a start-up IPI
	Shutdown          // triple fault: until reset
)

// F80 is an x87 register: sign and exponent above a 64-bit significand.
type F80 struct {
	Mant uint64 `cbor:"1,keyasint"`
	SE   uint16 `cbor:"2,keyasint"`
}

// Arch is everything of one vCPU that a guest can see, and nothing else. It is
// first in CPU, so that generated code finds every field at a fixed offset.
type Arch struct {
	R      GPRs   `cbor:"1,keyasint"`
	RIP    uint64 `cbor:"2,keyasint"`
	RFLAGS uint64 `cbor:"3,keyasint"`

	Seg  [6]Segment `cbor:"4,keyasint"` // ES CS SS DS FS GS
	LDTR Segment    `cbor:"5,keyasint"`
	TR   Segment    `cbor:"6,keyasint"`
	GDTR Table      `cbor:"7,keyasint"`
	IDTR Table      `cbor:"8,keyasint"`
	CPL  uint8      `cbor:"9,keyasint"`

	CR0  uint64    `cbor:"10,keyasint"`
	CR2  uint64    `cbor:"11,keyasint"`
	CR3  uint64    `cbor:"12,keyasint"`
	CR4  uint64    `cbor:"13,keyasint"`
	XCR0 uint64    `cbor:"14,keyasint"`
	DR   [8]uint64 `cbor:"15,keyasint"` // 4 and 5 unused
	PDPT [4]uint64 `cbor:"16,keyasint"` // PAE page-directory pointers, loaded with CR3 [SDM 3A 4.4.1]

	EFER         uint64 `cbor:"20,keyasint"`
	STAR         uint64 `cbor:"21,keyasint"`
	LSTAR        uint64 `cbor:"22,keyasint"`
	CSTAR        uint64 `cbor:"23,keyasint"`
	FMASK        uint64 `cbor:"24,keyasint"`
	KernelGSBase uint64 `cbor:"25,keyasint"`
	SysenterCS   uint64 `cbor:"26,keyasint"`
	SysenterESP  uint64 `cbor:"27,keyasint"`
	SysenterEIP  uint64 `cbor:"28,keyasint"`
	PAT          uint64 `cbor:"29,keyasint"`
	TSCAux       uint64 `cbor:"30,keyasint"`
	TSCAdjust    uint64 `cbor:"31,keyasint"` // added to the machine's TSC
	PKRU         uint32 `cbor:"32,keyasint"`
	MSRs         MSRs   `cbor:"33,keyasint"` // stored but without effect here: MTRRs, MCA...

	ST    [8]F80        `cbor:"40,keyasint"` // physical registers; MMX is their significand
	FCW   uint16        `cbor:"41,keyasint"`
	FSW   uint16        `cbor:"42,keyasint"`
	FTW   uint8         `cbor:"43,keyasint"` // FXSAVE's abridged tag: bit set is valid
	FOP   uint16        `cbor:"44,keyasint"`
	FIP   uint64        `cbor:"45,keyasint"`
	FCS   uint16        `cbor:"46,keyasint"`
	FDP   uint64        `cbor:"47,keyasint"`
	FDS   uint16        `cbor:"48,keyasint"`
	V     [16][4]uint64 `cbor:"49,keyasint"` // YMM registers, least significant quadword first
	MXCSR uint32        `cbor:"50,keyasint"`

	Activity   Activity `cbor:"60,keyasint"`
	Shadow     uint8    `cbor:"61,keyasint"` // instructions before interrupts are looked at: STI, MOV SS
	NMIBlocked bool     `cbor:"62,keyasint"`
	NMIPending bool     `cbor:"63,keyasint"`
	DBPending  uint64   `cbor:"64,keyasint"`           // DR6 bits of a trap not yet delivered
	MonArmed   bool     `cbor:"65,keyasint"`           // MONITOR armed
	MonAddr    uint64   `cbor:"66,keyasint"`           // physical address of its line
	SSLoaded   bool     `cbor:"67,keyasint,omitempty"` // the shadow is that of MOV SS or POP SS
	MonSum     uint64   `cbor:"68,keyasint,omitempty"` // of the line's content when it was armed
	MonMasked  bool     `cbor:"69,keyasint,omitempty"` // masked interrupts end MWAIT
}

// RFLAGS bits [SDM 1 3.4.3].
const (
	flagCF   = 1 << 0
	flagPF   = 1 << 2
	flagAF   = 1 << 4
	flagZF   = 1 << 6
	flagSF   = 1 << 7
	flagTF   = 1 << 8
	flagIF   = 1 << 9
	flagDF   = 1 << 10
	flagOF   = 1 << 11
	flagIOPL = 3 << 12
	flagNT   = 1 << 14
	flagRF   = 1 << 16
	flagVM   = 1 << 17
	flagAC   = 1 << 18
	flagVIF  = 1 << 19
	flagVIP  = 1 << 20
	flagID   = 1 << 21

	flagsStatus = flagCF | flagPF | flagAF | flagZF | flagSF | flagOF
	flagsFixed  = 1 << 1
)

// Control register and EFER bits [SDM 3A 2.5].
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0EM = 1 << 2
	cr0TS = 1 << 3
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0AM = 1 << 18
	cr0NW = 1 << 29
	cr0CD = 1 << 30
	cr0PG = 1 << 31

	cr4VME        = 1 << 0
	cr4PVI        = 1 << 1
	cr4TSD        = 1 << 2
	cr4DE         = 1 << 3
	cr4PSE        = 1 << 4
	cr4PAE        = 1 << 5
	cr4MCE        = 1 << 6
	cr4PGE        = 1 << 7
	cr4PCE        = 1 << 8
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10
	cr4UMIP       = 1 << 11
	cr4LA57       = 1 << 12
	cr4FSGSBASE   = 1 << 16
	cr4PCIDE      = 1 << 17
	cr4OSXSAVE    = 1 << 18
	cr4SMEP       = 1 << 20
	cr4SMAP       = 1 << 21
	cr4PKE        = 1 << 22
	cr4PKS        = 1 << 24

	eferSCE = 1 << 0
	eferLME = 1 << 8
	eferLMA = 1 << 10
	eferNXE = 1 << 11
)
