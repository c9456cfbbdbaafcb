package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/zeebo/xxh3"

	"godwit/snapshot"
)

// The preface opens each direction [docs/format/migrate.md]. Its first 40 bytes
// mean the same in every version of the protocol, so that any two can tell each
// other why they do not talk.
const (
	Major = 1 // of the protocol: peers must agree
	Minor = 0 // additions a peer may ignore

	magic      = "GODWITmg"
	prefaceLen = 40
	maxCaps    = 4096 // bytes
)

// Sides of a connection.
const (
	sideSource = 1
	sideDest   = 2
)

// Role is what a connection is for.
type Role uint8

// Roles.
const (
	RoleControl Role = 0 // the conversation and the bulk of the pages
	RoleFault   Role = 1 // post-copy: pages the guest waits for, and their requests
	RoleQuery   Role = 2 // in doubt: what became of the session?
)

func (r Role) String() string {
	return [...]string{"control", "fault", "query"}[min(r, RoleQuery)]
}

// capabilities is the CBOR map at the end of a preface.
type capabilities struct {
	Agent  string `cbor:"1,keyasint"` // "godwit 0.1"
	Codecs uint32 `cbor:"2,keyasint"` // bit n: snapshot.Codec n can be read
}

const ourCodecs = 1<<snapshot.None | 1<<snapshot.S2 | 1<<snapshot.Zstd

type preface struct {
	major, minor uint16
	side         uint8
	role         Role
	session      snapshot.UUID
	caps         capabilities
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p *preface) encode() []byte {
	caps := mustEncode(&p.caps)
	b := append([]byte(nil), magic...)
	b = le.AppendUint16(b, p.major)
	b = le.AppendUint16(b, p.minor)
	b = append(b, p.side, uint8(p.role), 0, 0)
	b = append(b, p.session[:]...)
	b = le.AppendUint32(b, uint32(len(caps)))
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, caps...)
	return le.AppendUint64(b, xxh3.Hash(caps))
}

// readPreface reads and checks the other side's preface. An error with a preface
// says that it was understood but will not do.
func readPreface(r io.Reader, side uint8) (*preface, int, error) {
	var b [prefaceLen]byte
	// The magic first, alone: something else may have said less than 40 bytes
	// and now be waiting for us.
	if n, err := io.ReadFull(r, b[:len(magic)]); err != nil {
		return nil, 0, foreignOr(b[:n], readError("the preface", err))
	}
	if string(b[:len(magic)]) != magic {
		return nil, 0, foreignOr(b[:len(magic)], nil)
	}
	if _, err := io.ReadFull(r, b[len(magic):]); err != nil {
		return nil, 0, readError("the preface", err)
	}
	if crc32.Checksum(b[:36], castagnoli) != le.Uint32(b[36:]) {
		return nil, 0, errorf(Damaged, "the preface does not match its checksum")
	}
	p := &preface{major: le.Uint16(b[8:]), minor: le.Uint16(b[10:]), side: b[12], role: Role(b[13]), session: snapshot.UUID(b[16:32])}
	n := le.Uint32(b[32:])
	if err := readCaps(r, n, &p.caps); err != nil {
		return nil, 0, err
	}
	return p, prefaceLen + int(n) + 8, p.check(side)
}

func readCaps(r io.Reader, n uint32, caps *capabilities) error {
	if n > maxCaps {
		return errorf(Protocol, "the preface holds %d bytes of capabilities, at most %d", n, maxCaps)
	}
	b := make([]byte, n+8)
	if _, err := io.ReadFull(r, b); err != nil {
		return readError("the preface", err)
	}
	if xxh3.Hash(b[:n]) != le.Uint64(b[n:]) {
		return errorf(Damaged, "the preface's capabilities do not match their checksum")
	}
	if err := decode(b[:n], caps); err != nil {
		return &Error{Code: Protocol, Text: "the preface's capabilities", Err: err}
	}
	caps.Agent = clean(caps.Agent)
	return nil
}

func (p *preface) check(side uint8) error {
	differ := []Mismatch{{"protocol", fmt.Sprintf("%d.%d", p.major, p.minor), fmt.Sprintf("%d.%d", Major, Minor)}}
	switch {
	case p.major > Major:
		return &Error{Code: Newer, Text: "the other side (" + p.caps.Agent + ") speaks a newer protocol", Mismatches: differ}
	case p.major < Major:
		return &Error{Code: Older, Text: "the other side (" + p.caps.Agent + ") speaks an older protocol", Mismatches: differ}
	case p.side != side:
		return errorf(Protocol, "the other side wants to play the same part: one must send and one receive")
	case p.role > RoleQuery:
		return errorf(Protocol, "the other side opens a connection of role %d, at most %d", p.role, RoleQuery)
	}
	return nil
}

// foreignOr says what a peer with a wrong magic looks like; other is the error
// if nothing is wrong with the bytes there are.
func foreignOr(b []byte, other error) error {
	if other != nil && bytes.HasPrefix([]byte(magic), b) {
		return other
	}
	for _, k := range []struct{ prefix, name string }{
		{"SSH-", "an SSH server"},
		{"HTTP/", "a web server"},
		{"GET ", "a web browser"},
		{"POST ", "a web client"},
		{"\x16\x03", "TLS"},
		{"\x15\x03", "TLS"},
		{"QEVM", "QEMU"},
		{"RFB ", "a VNC server"},
		{"GODWIT\x1a\n", "a godwit snapshot file"},
	} {
		if bytes.HasPrefix(b, []byte(k.prefix)) {
			return errorf(NotGodwit, "the other side is not godwit: it looks like %s", k.name)
		}
	}
	return errorf(NotGodwit, "the other side is not godwit: it says %.16q", b)
}

func readError(what string, err error) *Error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errorf(Truncated, "the connection ended in %s", what)
	}
	return &Error{Code: Disconnected, Text: "read " + what, Err: err}
}
