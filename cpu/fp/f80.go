package fp

// F80 is an x87 register or an 80-bit operand in memory: sign and exponent
// above a 64-bit significand with an explicit integer bit [SDM 1 8.2].
type F80 struct {
	Mant uint64 `cbor:"1,keyasint"`
	SE   uint16 `cbor:"2,keyasint"` // sign in bit 15, biased exponent below
}
