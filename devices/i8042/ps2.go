package i8042

// Answers of both devices.
const (
	ack    = 0xfa
	resend = 0xfe
	passed = 0xaa // self test
)

// keyboard is the state of an untouched keyboard [IBM PS/2 KBD Commands].
type keyboard struct {
	Q     queue `cbor:"1,keyasint"`
	PARAM uint8 `cbor:"2,keyasint"` // command that waits for its parameter; 0: none
	SCAN  bool  `cbor:"3,keyasint"` // scanning
	SET   uint8 `cbor:"4,keyasint"` // scan code set
	LEDS  uint8 `cbor:"5,keyasint"`
	RATE  uint8 `cbor:"6,keyasint"`
	SENT  uint8 `cbor:"7,keyasint"` // last byte sent, for resend
}

func (k *keyboard) defaults() {
	k.SET, k.LEDS, k.RATE, k.PARAM = 2, 0, 0x2b, 0
}

func (k *keyboard) send(bs ...byte) {
	k.Q.put(bs...)
	k.SENT = bs[len(bs)-1]
}

// write is a byte from the controller: a command, or the last one's parameter.
func (k *keyboard) write(b uint8) {
	param := k.PARAM
	k.PARAM = 0
	if param != 0 && b < 0xed {
		k.parameter(param, b)
		return
	}
	switch b {
	case 0xed, 0xf0, 0xf3, 0xfb, 0xfc, 0xfd: // LEDs, code set, rate, key types
		k.PARAM = b
		k.send(ack)
	case 0xee: // echo
		k.send(0xee)
	case 0xf2: // identify: an MF2 keyboard
		k.send(ack, 0xab, 0x83)
	case 0xf4, 0xf5, 0xf6: // enable; defaults and disable; defaults
		if b != 0xf4 {
			k.defaults()
		}
		k.SCAN = b != 0xf5
		k.send(ack)
	case 0xf7, 0xf8, 0xf9, 0xfa: // key types of set 3
		k.send(ack)
	case 0xfe:
		k.send(k.SENT)
	case 0xff:
		k.Q = queue{}
		k.defaults()
		k.SCAN = true
		k.send(ack, passed)
	default:
		k.send(resend)
	}
}

func (k *keyboard) parameter(cmd, b uint8) {
	switch {
	case cmd == 0xed:
		k.LEDS = b & 7
	case cmd == 0xf3:
		k.RATE = b & 0x7f
	case cmd == 0xf0 && b == 0:
		k.send(ack, k.SET)
		return
	case cmd == 0xf0 && b <= 3:
		k.SET = b
	case cmd == 0xf0:
		k.send(resend)
		return
	}
	k.send(ack)
}

// mouse is the state of an untouched PS/2 mouse [IBM PS/2 KBD Mouse].
type mouse struct {
	Q      queue `cbor:"1,keyasint"`
	PARAM  uint8 `cbor:"2,keyasint"` // command that waits for its parameter; 0: none
	ON     bool  `cbor:"3,keyasint"` // reporting
	REMOTE bool  `cbor:"4,keyasint"`
	WRAP   bool  `cbor:"5,keyasint"`
	SCALE2 bool  `cbor:"6,keyasint"`
	RES    uint8 `cbor:"7,keyasint"`
	RATE   uint8 `cbor:"8,keyasint"`
	SENT   uint8 `cbor:"9,keyasint"` // last byte sent, for resend
}

func (m *mouse) defaults() {
	*m = mouse{Q: m.Q, SENT: m.SENT, RES: 2, RATE: 100}
}

func (m *mouse) send(bs ...byte) {
	m.Q.put(bs...)
	m.SENT = bs[len(bs)-1]
}

func (m *mouse) write(b uint8) {
	param := m.PARAM
	m.PARAM = 0
	switch {
	case m.WRAP && b != 0xec && b != 0xff:
		m.send(b)
	case param == 0xe8:
		m.RES = b
		m.send(ack)
	case param == 0xf3:
		m.RATE = b
		m.send(ack)
	default:
		m.command(b)
	}
}

func (m *mouse) command(b uint8) {
	switch b {
	case 0xe8, 0xf3: // resolution, sample rate
		m.PARAM = b
		m.send(ack)
	case 0xe9:
		m.send(ack, m.flags(), m.RES, m.RATE)
	case 0xeb: // read: no buttons, no movement
		m.send(ack, 0x08, 0, 0)
	case 0xf2: // identify: a plain mouse
		m.send(ack, 0)
	case 0xfe:
		m.send(m.SENT)
	case 0xff:
		m.Q = queue{}
		m.defaults()
		m.send(ack, passed, 0)
	default:
		m.mode(b)
	}
}

// mode handles the commands that only switch something.
func (m *mouse) mode(b uint8) {
	switch b {
	case 0xe6, 0xe7:
		m.SCALE2 = b == 0xe7
	case 0xea, 0xf0:
		m.REMOTE = b == 0xf0
	case 0xec, 0xee:
		m.WRAP = b == 0xee
	case 0xf4, 0xf5:
		m.ON = b == 0xf4
	case 0xf6:
		m.defaults()
	default:
		m.send(resend)
		return
	}
	m.send(ack)
}

func (m *mouse) flags() uint8 {
	var v uint8
	if m.REMOTE {
		v |= 1 << 6
	}
	if m.ON {
		v |= 1 << 5
	}
	if m.SCALE2 {
		v |= 1 << 4
	}
	return v
}
