package migrate

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// What the destination has of a session, as WELCOME and ANSWER say.
const (
	haveNothing = 0 // WELCOME: begin; ANSWER: never heard of it
	haveMemory  = 1 // WELCOME: pages of an earlier connection
	haveGuest   = 2 // it runs here
	haveNever   = 3 // it does not run here and never will
)

// Payloads of the control frames: CBOR maps with integer keys. A key that is not
// known is skipped; a new one gets a number of its own.
type (
	hello struct {
		Pages uint32 `cbor:"1,keyasint"` // of memory
	}
	welcome struct { // WELCOME, ANSWER
		Have    uint8  `cbor:"1,keyasint"`
		Epoch   uint64 `cbor:"2,keyasint,omitempty"` // of haveGuest
		Missing uint32 `cbor:"3,keyasint,omitempty"` // of haveGuest: pages that MISSING frames will name
	}
	sectionCount struct { // CONFIG, DEVSTATE
		Sections uint32 `cbor:"1,keyasint"`
		Bytes    uint64 `cbor:"2,keyasint"` // of data together
	}
	sectionHead struct { // SECTION
		Name     string           `cbor:"1,keyasint"`
		Instance string           `cbor:"2,keyasint"`
		Version  uint16           `cbor:"3,keyasint"`
		Required bool             `cbor:"4,keyasint"`
		State    bool             `cbor:"5,keyasint"`
		Size     uint64           `cbor:"6,keyasint"`
		Sum      [DigestSize]byte `cbor:"7,keyasint"`           // sha256 of the data
		OnDemand bool             `cbor:"8,keyasint,omitempty"` // the data comes if FETCH names it
	}
	fetch struct { // FETCH
		Sums [][DigestSize]byte `cbor:"1,keyasint"`
	}
	verdict struct { // VERDICT
		Mismatches []Mismatch `cbor:"1,keyasint,omitempty"`
		Copies     uint32     `cbor:"2,keyasint,omitempty"` // disks that it will take
		Images     uint64     `cbor:"3,keyasint,omitempty"` // a bit for each disk whose image it can read
	}
	empty  struct{} // RESERVE, END, DONE
	reason struct { // ABORT
		Code       uint16     `cbor:"1,keyasint"`
		Text       string     `cbor:"2,keyasint"`
		Mismatches []Mismatch `cbor:"3,keyasint,omitempty"`
	}
	probed struct { // PROBED
		Bytes uint32 `cbor:"1,keyasint"`
	}
	start struct { // START
		Held uint32 `cbor:"1,keyasint"` // pages that HAVE frames will name
	}
	passMark struct { // PASS_BEGIN, PASS_END, PASSED
		Pass  uint32 `cbor:"1,keyasint"`
		Pages uint32 `cbor:"2,keyasint,omitempty"` // PASS_END: in this pass
		Final bool   `cbor:"3,keyasint,omitempty"` // PASS_BEGIN: the guest stands still
	}
	root struct { // ROOT
		Root  [DigestSize]byte `cbor:"1,keyasint"`
		Count uint64           `cbor:"2,keyasint"`           // instructions executed
		Disks []byte           `cbor:"3,keyasint,omitempty"` // digest of the disks that were sent
	}
	ready struct { // READY
		Root   [DigestSize]byte `cbor:"1,keyasint"`
		Count  uint64           `cbor:"2,keyasint"`
		LoadNS uint64           `cbor:"3,keyasint"`
		Groups []byte           `cbor:"4,keyasint,omitempty"` // group digests end to end, if the roots differ and it fits
		Disks  []byte           `cbor:"5,keyasint,omitempty"` // digest of the disks that arrived
	}
	wantLeaves struct { // WANT_LEAVES
		Groups []uint32 `cbor:"1,keyasint"`
	}
	leaves struct { // LEAVES
		Group  uint32 `cbor:"1,keyasint"`
		Leaves []byte `cbor:"2,keyasint"`
	}
	commit struct { // COMMIT, ACK
		Epoch      uint64           `cbor:"1,keyasint"` // of ownership
		Root       [DigestSize]byte `cbor:"2,keyasint"`
		JournalNS  uint64           `cbor:"3,keyasint,omitempty"` // ACK
		ActivateNS uint64           `cbor:"4,keyasint,omitempty"` // ACK
		Name       string           `cbor:"5,keyasint,omitempty"` // ACK: of the machine at the destination
	}
	reqPage struct { // REQ_PAGE
		Page uint32 `cbor:"1,keyasint"`
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
		MaxNestedLevels: 4, MaxArrayElements: 1024, MaxMapPairs: 64,
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

// maxMismatches bounds what a peer may list.
const maxMismatches = 64

func cleaned(ms []Mismatch) []Mismatch {
	out := make([]Mismatch, 0, min(len(ms), maxMismatches))
	for _, m := range ms[:min(len(ms), maxMismatches)] {
		out = append(out, Mismatch{clean(m.Field), clean(m.Have), clean(m.Want)})
	}
	return out
}

func reasonOf(err error) *reason {
	r := &reason{Code: uint16(CodeOf(err)), Text: err.Error()}
	var e *Error
	if errors.As(err, &e) {
		bare := *e // the list travels by itself
		bare.Mismatches, bare.Peer = nil, false
		r.Text, r.Mismatches = bare.Error(), cleaned(e.Mismatches)
	}
	r.Text = clean(r.Text)
	return r
}

// reported is the error a peer's ABORT stands for.
func reported(f *frame) error {
	var r reason
	if err := decode(f.payload, &r); err != nil {
		return &Error{Code: Protocol, Text: fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), Err: err}
	}
	return &Error{Code: Code(r.Code), Peer: true, Text: clean(r.Text), Mismatches: cleaned(r.Mismatches)}
}

func hexRoot(r [DigestSize]byte) string { return fmt.Sprintf("%x", r) }
