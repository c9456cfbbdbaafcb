package stopped

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"godwit/snapshot"
)

// Strategies, as HELLO names them; others are reserved for their issues.
const stopAndCopy = 1

// Payloads of the control frames: CBOR maps with integer keys. A key that is not
// known is skipped; a new one gets a number of its own.
type (
	hello struct {
		Mode    uint8  `cbor:"1,keyasint"`
		Pages   uint32 `cbor:"2,keyasint"` // of memory
		Present uint32 `cbor:"3,keyasint"` // at most so many will travel: for progress
	}
	sectionCount struct { // CONFIG, DEVSTATE
		Sections uint32 `cbor:"1,keyasint"`
		Bytes    uint64 `cbor:"2,keyasint"` // of data together
	}
	sectionHead struct { // SECTION
		Name     string                    `cbor:"1,keyasint"`
		Instance string                    `cbor:"2,keyasint"`
		Version  uint16                    `cbor:"3,keyasint"`
		Required bool                      `cbor:"4,keyasint"`
		State    bool                      `cbor:"5,keyasint"`
		Size     uint64                    `cbor:"6,keyasint"`
		Sum      [snapshot.DigestSize]byte `cbor:"7,keyasint"` // sha256 of the data
	}
	empty  struct{} // RESERVE, START
	reason struct { // REFUSE, ABORT
		Code  uint16 `cbor:"1,keyasint"`
		Text  string `cbor:"2,keyasint"`
		Field string `cbor:"3,keyasint,omitempty"`
		Have  string `cbor:"4,keyasint,omitempty"`
		Want  string `cbor:"5,keyasint,omitempty"`
	}
	root struct { // ROOT
		Root [snapshot.DigestSize]byte `cbor:"1,keyasint"`
	}
	ready struct { // READY
		Root   [snapshot.DigestSize]byte `cbor:"1,keyasint"`
		Groups []byte                    `cbor:"2,keyasint,omitempty"` // group digests end to end, if the roots differ and it fits
	}
	commit struct { // COMMIT, ACK
		Epoch uint64                    `cbor:"1,keyasint"` // of ownership; 0 until disks have one
		Root  [snapshot.DigestSize]byte `cbor:"2,keyasint"`
	}
)

var encMode, decMode = modes()

func modes() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 64,
	}.DecMode()
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	return enc, dec
}

func mustEncode(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic("godwit bug: encode message: " + err.Error())
	}
	return b
}

func decode(b []byte, v any) error { return decMode.Unmarshal(b, v) }

func reasonOf(err error) *reason {
	r := &reason{Code: uint16(CodeOf(err)), Text: err.Error()}
	if e, ok := err.(*Error); ok {
		bare := *e // the fields travel by themselves
		bare.Field, bare.Peer = "", false
		r.Text, r.Field, r.Have, r.Want = bare.Error(), e.Field, e.Have, e.Want
	}
	for _, s := range []*string{&r.Text, &r.Field, &r.Have, &r.Want} {
		*s = clean(*s)
	}
	return r
}

// reported is the error a peer's REFUSE or ABORT stands for.
func reported(f frame) error {
	var r reason
	if err := decode(f.payload, &r); err != nil {
		return &Error{Code: Protocol, Text: fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), Err: err}
	}
	return &Error{
		Code: Code(r.Code), Peer: true, Text: clean(r.Text),
		Field: clean(r.Field), Have: clean(r.Have), Want: clean(r.Want),
	}
}
