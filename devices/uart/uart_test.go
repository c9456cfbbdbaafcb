package uart_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices/uart"
	"godwit/internal/testkit"
)

// sent notes what the guest sends.
type sent struct{ w *testkit.World }

func (s sent) Send(b byte) { s.w.Logf("%c", b) }

// newUART has the interrupt gate open; "in TEXT" receives, "room" and "break" are
// what they say.
func newUART() (*testkit.Subject, *uart.UART) {
	w := &testkit.World{}
	u := uart.New(uart.Wiring{ID: "uart0", Base: uart.COM1, IRQ: w.Line("irq"), Clock: w, Out: sent{w}})
	w.Dev = u
	u.Write(4, 1, 0x08)
	w.Take()
	return &testkit.Subject{World: w, Dev: u, Windows: u.Windows(), Ops: map[string]func([]string) string{
		"in":    func(a []string) string { return fmt.Sprint(u.Receive([]byte(a[0]))) },
		"room":  func([]string) string { return fmt.Sprint(u.Room()) },
		"break": func([]string) string { return fmt.Sprint(u.Break()) },
	}}, u
}

func TestInterrupts(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"idle", "? irq; r IIR", "0 1"},
		{"enabling THRE raises", "w IER 2; ? irq; r IIR; ? irq; r IIR", "1 2 0 1"},
		{"reading IIR clears THRE only if told", "w IER 7; in x; r IIR; r IIR; r RBR; r IIR", "1 4 4 78 2"},
		{"enabling THRE again raises again", "w IER 2; r IIR; w IER 0; w IER 2; ? irq; r IIR", "2 1 2"},
		{"enabling what is enabled does not", "w IER 2; r IIR; w IER 2; ? irq", "2 0"},
		{"THR empty raises", "w IER 2; r IIR; w THR 41; ? irq; r IIR; log", "2 1 2 [irq=true, irq=false, A, irq=true, irq=false]"},
		{"received data", "w IER 1; in a; ? irq; r IIR; r RBR; ? irq", "1 1 4 61 0"},
		{"OUT2 gates", "w MCR 0; w IER 2; ? irq; w MCR 8; ? irq", "0 1"},
		{"loopback closes the gate", "w IER 2; w MCR 18; ? irq; r IIR", "0 2"},
		{"status before data", "w IER 5; w FCR 1; break; r IIR; r LSR; r IIR", "true c6 f1 c4"},
		{"modem status last", "w IER 8; w MCR 18; w MCR 8; ? irq; r IIR; r MSR; ? irq", "1 0 b3 0"},
		{"FIFO bits in IIR", "w FCR 1; r IIR; w FCR 0; r IIR", "c1 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newUART()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestFIFO(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"one byte without FIFO", "room; in ab; room; r RBR; room", "1 1 0 61 1"},
		{"sixteen with", "w FCR 1; room; in 0123456789abcdefgh; room; r RBR; room", "16 16 0 30 1"},
		{"trigger level", "w IER 1; w FCR 41; in abc; ? irq; in d; ? irq; r RBR; ? irq", "3 0 1 1 61 0"},
		{"enabling empties", "in a; w FCR 1; r LSR; room", "1 60 16"},
		{"clearing empties", "w FCR 1; in abc; w FCR 3; r LSR", "3 60"},
		{"empty reads as 0", "r RBR", "0"},
		{"order", "w FCR 1; in abc; r RBR; r RBR; in d; r RBR; r RBR; r LSR", "3 61 62 1 63 64 60"},
		{"other bits need enable", "w FCR c0; w FCR 1; w IER 1; in a; ? irq", "1 1"},
		{"break waits for its turn", "w FCR 1; in a; break; r LSR; r RBR; r LSR; r LSR; r RBR", "1 true e1 61 f1 61 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newUART()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

// A character at 9600 8N1 takes 1041667 ns; the timeout is four of them
// [PC16550D 8.5].
func TestCharacterTimeout(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"below the trigger", "w LCR 3; w IER 1; w FCR 81; in ab; +4166667; ? irq; +1; ? irq; r IIR", "2 0 1 cc"},
		{"a read restarts it", "w LCR 3; w IER 1; w FCR 81; in ab; +4ms; r RBR; +4ms; ? irq; +1ms; ? irq", "2 61 0 1"},
		{"a character restarts it", "w LCR 3; w IER 1; w FCR 81; in a; +4ms; in b; +4ms; ? irq; +1ms; ? irq", "1 1 0 1"},
		{"reading ends it", "w LCR 3; w IER 1; w FCR 81; in a; +5ms; r RBR; ? irq; r IIR", "1 61 0 c1"},
		{"never without FIFO", "w LCR 3; in a; +9ms; w IER 1; r IIR", "1 4"},
		{"faster line", "w LCR 83; w DLL 1; w LCR 3; w IER 1; w FCR 81; in a; +347223; ? irq; +1; ? irq", "1 0 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newUART()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestLoopback(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"bytes come back", "w MCR 10; w THR 5a; r LSR; r RBR; log", "61 5a []"},
		{"the line is not heard", "w MCR 10; in a; room", "0 0"},
		{"overrun replaces without FIFO", "w MCR 10; w THR 41; w THR 42; r LSR; r RBR; r LSR", "63 42 60"},
		{"overrun keeps the FIFO", "w FCR 1; w MCR 10; " + repeat("w THR 41; ", 16) + "w THR 42; r LSR; r RBR", "63 41"},
		{"RTS is CTS", "w MCR 10; r MSR; w MCR 12; r MSR", "b 11"},
		{"DTR is DSR", "w MCR 10; r MSR; w MCR 11; r MSR; r MSR", "b 22 20"},
		{"OUT1 is RI, trailing edge", "w MCR 10; r MSR; w MCR 14; r MSR; w MCR 10; r MSR", "b 40 4"},
		{"OUT2 is DCD", "w MCR 10; r MSR; w MCR 18; r MSR", "b 88"},
		{"Linux autoconfig", "w MCR 1a; r MSR", "92"},
		{"break comes back", "w MCR 10; w LCR 40; r LSR; r RBR", "71 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newUART()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func repeat(s string, n int) string {
	out := ""
	for range n {
		out += s
	}
	return out
}

func TestDivisorAndWideAccess(t *testing.T) {
	_, u := newUART()
	u.Write(3, 1, 0x83)
	u.Write(0, 2, 0x0203)
	assert.EqualValues(t, 0x0203, u.Read(0, 2), "16 bits are two bytes")
	u.Write(3, 1, 0x03)
	assert.EqualValues(t, 0, u.Read(1, 1), "IER again")
	assert.EqualValues(t, 0xffffff00, u.Read(7, 4), "beyond the window")
}

func TestDrained(t *testing.T) {
	w, n := &testkit.World{}, 0
	u := uart.New(uart.Wiring{ID: "u", IRQ: w.Line("irq"), Clock: w, Out: sent{w}, Drained: func() { n++ }})
	u.Write(2, 1, 1)
	require.Equal(t, 2, u.Receive([]byte("ab")))
	u.Read(0, 1)
	assert.Equal(t, 0, n)
	u.Read(0, 1)
	assert.Equal(t, 1, n)
	u.Read(0, 1)
	assert.Equal(t, 1, n, "an empty FIFO drains once")
}

func TestAccessAllocatesNothing(t *testing.T) {
	w := &testkit.World{}
	u := uart.New(uart.Wiring{ID: "u", IRQ: quiet{}, Clock: w, Out: quiet{}})
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		u.Write(0, 1, 'x')
		u.Read(5, 1)
	}))
}

type quiet struct{}

func (quiet) Set(bool)  {}
func (quiet) Send(byte) {}
