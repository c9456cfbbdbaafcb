package control

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readAll(t *testing.T, r *reader) string {
	var out bytes.Buffer
	for {
		b, err := r.next()
		if err != nil {
			require.Equal(t, io.EOF, err)
			return out.String()
		}
		out.Write(b)
	}
}

func TestConsoleScrollback(t *testing.T) {
	c := newConsole(nil, func() {})
	big := strings.Repeat("0123456789abcdef", 3*scrollback/16)
	for i := 0; i < len(big); i += 1000 {
		c.print([]byte(big[i:min(i+1000, len(big))]))
	}
	full, err := c.attach(1<<30, false, false)
	require.NoError(t, err)
	few, err := c.attach(10, false, false)
	require.NoError(t, err)
	none, err := c.attach(0, false, false)
	require.NoError(t, err)
	c.print([]byte("end"))
	c.close()
	assert.Equal(t, big[len(big)-scrollback:]+"end", readAll(t, full))
	assert.Equal(t, big[len(big)-10:]+"end", readAll(t, few))
	assert.Equal(t, "end", readAll(t, none))
}

// The writer misses nothing and makes the guest wait; a reader loses.
func TestConsoleLag(t *testing.T) {
	c := newConsole(nil, func() {})
	w, err := c.attach(0, true, false)
	require.NoError(t, err)
	r, err := c.attach(0, false, false)
	require.NoError(t, err)
	chunk := bytes.Repeat([]byte("x"), maxLag/2)
	assert.False(t, c.print(chunk))
	assert.False(t, c.print(chunk))
	assert.True(t, c.print(chunk), "more than maxLag waits for the writer")
	assert.True(t, c.print(nil))
	b, err := w.next()
	require.NoError(t, err)
	assert.Len(t, b, 3*len(chunk))
	assert.False(t, c.print(nil), "the writer has caught up")
	c.close()
	assert.Len(t, readAll(t, r), 2*len(chunk))
}

func TestConsoleOneWriter(t *testing.T) {
	c := newConsole(nil, func() {})
	a, err := c.attach(0, true, false)
	require.NoError(t, err)
	_, err = c.attach(0, true, false)
	require.ErrorContains(t, err, "in use")
	b, err := c.attach(0, true, true)
	require.NoError(t, err)
	assert.False(t, a.Type([]byte("lost")), "somebody took over")
	assert.True(t, b.Type([]byte("kept")))
	assert.Equal(t, "ke", string(c.take(2)))
	assert.False(t, c.silent())
	b.end()
	assert.Equal(t, "pt", string(c.take(100)))
	assert.True(t, c.silent())
	d, err := c.attach(0, true, false)
	require.NoError(t, err, "who types no more has a successor")
	assert.False(t, c.silent())
	d.detach()
	assert.False(t, d.Type([]byte("x")))
}
