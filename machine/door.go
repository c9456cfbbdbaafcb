package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"godwit/devices"
)

// InputKind says what came in through the door.
type InputKind uint8

// Kinds of input event.
const (
	InputConsole InputKind = 1 // bytes typed at the serial console
	InputPower   InputKind = 2 // the power button
	InputWall    InputKind = 3 // the guest's clock goes on from Time, at another rate if Num is given
	InputReset   InputKind = 4 // the reset button
	InputDisk    InputKind = 5 // a disk has finished requests: its number and how many, in 1 and 4 bytes
	InputFork    InputKind = 6 // the machine is another one from now on; entropy
	InputWake    InputKind = 7 // ends the guest's sleep in S3, if it is in it
	InputDisrupt InputKind = 8 // the guest's clock did not go on as before: it stood still, or other inputs make it catch up
)

// Input is one event from outside. It takes effect when Count and guest time
// are reached, before the next instruction. A machine and the list of its inputs
// determine everything that happens.
type Input struct {
	Count uint64    `cbor:"1,keyasint"`
	Time  int64     `cbor:"2,keyasint"` // guest nanoseconds; for InputWall the new time
	Kind  InputKind `cbor:"3,keyasint"`
	Data  []byte    `cbor:"4,keyasint,omitempty"`
	Num   uint32    `cbor:"5,keyasint,omitempty"` // new rate of guest time, Num/Den nanoseconds per count
	Den   uint32    `cbor:"6,keyasint,omitempty"`
}

// check validates an input from a file or a peer.
func (in *Input) check() error {
	if in.Num > maxRate || in.Den > maxRate || (in.Num == 0) != (in.Den == 0) {
		return fmt.Errorf("sets the rate to %d/%d, needs numbers from 1 to %d", in.Num, in.Den, maxRate)
	}
	return nil
}

// maxHeld bounds the inputs that wait at a time: those of a wall clock come often.
const maxHeld = 1 << 16

// apply lets an event take effect now.
func (m *Machine) apply(in Input) {
	switch in.Kind {
	case InputConsole:
		m.rouse() // as a key does
		m.st.Console = append(m.st.Console, in.Data...)
		m.feed()
	case InputPower:
		m.pm.Press()
	case InputWall:
		m.st.Clock.jump(m.count(), max(devices.Nanos(in.Time), m.Now()))
		if in.Num != 0 && in.Den != 0 {
			m.st.Clock.Num, m.st.Clock.Den = in.Num, in.Den
		}
	case InputReset:
		m.st.Reset = true // Run begins with it, even one that executes nothing
	case InputDisk:
		m.arrive(in.Data)
	case InputFork:
		m.become(in.Data)
	case InputWake:
		m.rouse()
	case InputDisrupt:
		m.disrupt(false)
	}
}

// admit stamps an event with the present count, logs and applies it. While a
// device waits for memory, whose work belongs before the present count, so does
// the event. (What else memory refuses has not begun.) And it waits while the
// machine is halted.
func (m *Machine) admit(in Input) {
	if m.dmaStalled || m.halted {
		in.Count = m.st.Count
		m.postpone(in)
		return
	}
	in.Count = m.count()
	if m.log != nil {
		m.log(in)
	}
	m.apply(in)
}

// postpone has an event admitted when its count comes.
func (m *Machine) postpone(in Input) {
	i := len(m.st.Held)
	for i > 0 && m.st.Held[i-1].Count > in.Count {
		i--
	}
	m.st.Held = slices.Insert(m.st.Held, i, in)
}

// release admits what waited, as far as its count has come.
func (m *Machine) release() {
	for len(m.st.Held) > 0 && m.st.Held[0].Count <= m.st.Count {
		in := m.st.Held[0]
		m.st.Held = slices.Delete(m.st.Held, 0, 1)
		m.admit(in)
	}
	if len(m.st.Held) == 0 {
		m.st.Held = nil
	}
}

// feed gives pending console bytes to the serial port as it has room.
func (m *Machine) feed() {
	if len(m.st.Console) == 0 {
		return
	}
	n := m.uart.Receive(m.st.Console)
	m.st.Console = append(m.st.Console[:0:0], m.st.Console[n:]...)
}

// The log of the door is a file of length-prefixed CBOR records behind a magic,
// see docs/format/log.md.
const logMagic = "godwit-log-1\n"

// maxRecord bounds one record of a log: inputs are small.
const maxRecord = 1 << 20

// LogWriter writes input events.
type LogWriter struct{ w io.Writer }

// NewLogWriter starts a log.
func NewLogWriter(w io.Writer) (*LogWriter, error) {
	_, err := io.WriteString(w, logMagic)
	return &LogWriter{w}, err
}

// Add appends one event.
func (l *LogWriter) Add(in Input) error {
	b, err := encode(in)
	if err != nil {
		return err
	}
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(b)))
	_, err = l.w.Write(append(n[:], b...))
	return err
}

// ErrNotLog is returned for a file that is no input log.
var ErrNotLog = errors.New("not a godwit input log")

// ReadLog reads a whole log.
func ReadLog(r io.Reader) ([]Input, error) {
	magic := make([]byte, len(logMagic))
	if _, err := io.ReadFull(r, magic); err != nil || !bytes.Equal(magic, []byte(logMagic)) {
		return nil, ErrNotLog
	}
	var out []Input
	for {
		var n [4]byte
		if _, err := io.ReadFull(r, n[:]); err == io.EOF {
			return out, nil
		} else if err != nil {
			return out, fmt.Errorf("input log: record %d: %w", len(out), err)
		}
		size := binary.LittleEndian.Uint32(n[:])
		if size > maxRecord {
			return out, fmt.Errorf("input log: record %d is %d bytes, at most %d", len(out), size, maxRecord)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return out, fmt.Errorf("input log: record %d: %w", len(out), err)
		}
		var in Input
		if err := cbor.Unmarshal(b, &in); err != nil {
			return out, fmt.Errorf("input log: record %d: %w", len(out), err)
		}
		if err := in.check(); err != nil {
			return out, fmt.Errorf("input log: record %d %w", len(out), err)
		}
		if k := len(out); k > 0 && in.Count < out[k-1].Count {
			return out, fmt.Errorf("input log: record %d is at #%d, before #%d", k, in.Count, out[k-1].Count)
		}
		out = append(out, in)
	}
}
