package fp

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A denormal's remainder by infinity is itself, which AMD's processors call tiny and
// Intel's do not.
func TestRemByInfinity(t *testing.T) {
	tiny, inf := F80{Mant: 0x3c50803, SE: 0x8000}, F80{Mant: 1 << 63, SE: 0x7fff}
	for _, amd := range []bool{false, true} {
		for _, masks := range []uint8{AllExceptions, AllExceptions &^ UE} {
			e := Env{Masks: masks, Prec: Prec64, AMD: amd}
			r, cc := Rem80(&e, tiny, inf, false)
			assert.Zero(t, cc)
			if amd && masks&UE == 0 {
				assert.Equal(t, F80{Mant: 0xf14200c000000000, SE: 0xdfdb}, r)
				assert.Equal(t, DE|UE, e.Flags)
				continue
			}
			assert.Equal(t, tiny, r)
			assert.Equal(t, DE, e.Flags)
		}
	}
}
