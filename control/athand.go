package control

import (
	"crypto/sha256"
	"os"

	"godwit/migrate"
)

// atHand returns what a machine boots from, of this sha256 and as many bytes, if a
// VM of this home boots from the same; else nil. A peer learns of it no more than
// that.
func (h Home) atHand(sum [migrate.DigestSize]byte, size uint64) []byte {
	type files struct{ kernel, initrd, bios string }
	tried := map[files]bool{}
	for _, n := range h.Names() {
		s, err := h.spec(n)
		f := files{s.Kernel, s.Initrd, s.Bios}
		if err != nil || s.Kernel == "" && s.Bios == "" || tried[f] || !fits(size, s.Kernel, s.Initrd, s.Bios) {
			continue
		}
		tried[f] = true
		im, err := s.images()
		if err != nil {
			continue // it need not be there any more
		}
		if b, err := im.Data(); err == nil && sha256.Sum256(b) == sum {
			return b
		}
	}
	return nil
}

// fits tells whether files may make so many bytes, so that few are read.
func fits(size uint64, paths ...string) bool {
	const around = 128 // bytes of encoding
	have := uint64(0)
	for _, p := range paths {
		if p == TinyName {
			return size < 1<<20
		}
		if p == "" {
			continue
		}
		fi, err := os.Stat(p)
		if err != nil || !fi.Mode().IsRegular() {
			return false
		}
		have += uint64(fi.Size())
	}
	return have <= size && size <= have+around
}
