package migrate

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
)

// TestOtherVersions: another major version is refused by its number and whose it is,
// another minor one is taken; what is no preface says what it looks like.
func TestOtherVersions(t *testing.T) {
	ours := preface{major: Major, minor: Minor, side: sideSource, session: snapshot.UUID{1}, caps: capabilities{Agent: "godwit 9", Codecs: ourCodecs}}
	said := func(change func(*preface)) []byte {
		p := ours
		change(&p)
		return p.encode()
	}
	damaged := said(func(*preface) {})
	damaged[9] ^= 1
	for _, tt := range []struct {
		name string
		b    []byte
		code Code
		err  string
	}{
		{"ours", said(func(*preface) {}), 0, ""},
		{"a newer minor", said(func(p *preface) { p.minor = Minor + 7 }), 0, ""},
		{"a newer major", said(func(p *preface) { p.major = Major + 1 }), Newer, "the other side (godwit 9) speaks a newer protocol"},
		{"an older major", said(func(p *preface) { p.major = Major - 1 }), Older, "the other side (godwit 9) speaks an older protocol"},
		{"the same part", said(func(p *preface) { p.side = sideDest }), Protocol, "one must send and one receive"},
		{"a role too many", said(func(p *preface) { p.role = RoleQuery + 1 }), Protocol, "connection of role 3, at most 2"},
		{"damage", damaged, Damaged, "does not match its checksum"},
		{"less", said(func(*preface) {})[:50], Truncated, "the connection ended in the preface"},
		{"SSH", []byte("SSH-2.0-OpenSSH_9"), NotGodwit, "an SSH server"},
		{"QEMU", []byte("QEVM\x00\x00\x00\x03"), NotGodwit, "QEMU"},
		{"noise", []byte("what is this?"), NotGodwit, `it says "what is "`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _, err := NewReader(bytes.NewReader(tt.b), false).Read(nil)
			if err == nil {
				err = m.err
			}
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			require.Equal(t, tt.code, CodeOf(err))
			if tt.code == Newer || tt.code == Older {
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, "protocol", e.Mismatches[0].Field)
			}
		})
	}
}

// TestUnknownFrames: one that is optional is skipped, another one is refused.
func TestUnknownFrames(t *testing.T) {
	p := preface{major: Major, side: sideSource, session: snapshot.UUID{1}}
	read := func(flags uint16) (*Message, error) {
		b := appendFrame(p.encode(), &frame{typ: 999, flags: flags, payload: []byte("from times to come")})
		r := NewReader(bytes.NewReader(appendFrame(b, &frame{typ: frReserve, seq: 1, payload: mustEncode(&empty{})})), false)
		_, _, err := r.Read(nil)
		require.NoError(t, err)
		m, _, err := r.Read(nil)
		return m, err
	}
	m, err := read(flagOptional)
	require.NoError(t, err)
	require.Equal(t, frReserve, m.typ)
	_, err = read(0)
	require.ErrorContains(t, err, "frame #0 has type 999, which is required and unknown here")
	require.Equal(t, Protocol, CodeOf(err))
}
