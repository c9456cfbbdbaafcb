package mem

// Handler answers guest accesses to one window. off is relative to the window;
// size is 1, 2, 4 or 8 bytes. It never fails: like hardware, unknown registers
// read as all ones and bad writes are dropped.
type Handler interface {
	Read(off uint64, size int) uint64
	Write(off uint64, size int, v uint64)
}
