package control

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestShowBytes: a bar that is written again and taken away at terminals, a line a
// second elsewhere.
func TestShowBytes(t *testing.T) {
	at := time.Unix(0, 0)
	for tty, want := range map[bool]string{
		true:  "\rconverting  ██████████░░░░░░░░░░  50 %\rconverting  ████████████████████ 100 %\r\x1b[K",
		false: "converting  100 %  8192 of 8192 bytes\n",
	} {
		var b bytes.Buffer
		show := showBytes(&b, "converting", tty, func() time.Time { return at })
		for _, done := range []int64{4096, 4097, 8192} {
			show(done, 8192)
			at = at.Add(500 * time.Millisecond)
		}
		require.Equal(t, want, b.String())
	}
}
