package cpu

// Exception vectors [SDM 3A 6.15].
const (
	vecDE  = 0
	vecDB  = 1
	vecNMI = 2
	vecBP  = 3
	vecOF  = 4
	vecBR  = 5
	vecUD  = 6
	vecNM  = 7
	vecDF  = 8
	vecTS  = 10
	vecNP  = 11
	vecSS  = 12
	vecGP  = 13
	vecPF  = 14
	vecMF  = 16
	vecAC  = 17
	vecMC  = 18
	vecXM  = 19
)

// Fault is an exception to be delivered instead of the instruction's effect. It
// is a value: raising one allocates nothing.
type Fault struct {
	Vec    uint8
	HasErr bool
	Err    uint32 // error code
	Addr   uint64 // linear address of a #PF, DR6 bits of a #DB

	unblocks bool // of an IRET after which NMIs come through again
}

// The raise functions note the fault and return false, so that a handler can
// end with `return c.gp(0)`.

func (c *CPU) raise(vec uint8) bool {
	c.fault = Fault{Vec: vec}
	return false
}

func (c *CPU) raiseErr(vec uint8, err uint32) bool {
	c.fault = Fault{Vec: vec, HasErr: true, Err: err}
	return false
}

func (c *CPU) gp(err uint32) bool { return c.raiseErr(vecGP, err) }
func (c *CPU) ud() bool           { return c.raise(vecUD) }
