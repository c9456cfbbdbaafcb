package rtc_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/rtc"
	"godwit/internal/testkit"
)

// epoch is Saturday, 2024-12-28 23:59:30 UTC.
var epoch = time.Date(2024, 12, 28, 23, 59, 30, 0, time.UTC).Unix()

// newRTC understands "r HEX" as "reg HEX" (read a register), "set HEX HEX" (write one),
// "now" (century to seconds, as the registers show them), "warm" and "seek N": advance
// to N ns after a second began.
func newRTC(at int64) (*testkit.Subject, *rtc.RTC) {
	w := &testkit.World{}
	r := rtc.New(rtc.Wiring{ID: "rtc", IRQ: w.Line("irq"), Clock: w, Epoch: at, Alarm: func() { w.Logf("alarm") }})
	w.Dev = r
	hex := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	get := func(i uint64) uint64 { r.Write(0, 1, i); return r.Read(1, 1) }
	return &testkit.Subject{World: w, Dev: r, Windows: r.Windows(), Ops: map[string]func([]string) string{
		"reg":  func(a []string) string { return fmt.Sprintf("%x", get(hex(a[0]))) },
		"set":  func(a []string) string { r.Write(0, 1, hex(a[0])); r.Write(1, 1, hex(a[1])); return "" },
		"warm": func([]string) string { r.Reset(devices.Warm); return "" },
		"now": func([]string) string {
			return fmt.Sprintf("%02x%02x-%02x-%02xT%02x:%02x:%02x/%x", get(0x32), get(9), get(8), get(7), get(4), get(2), get(0), get(6))
		},
	}}, r
}

func TestRTC(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"after power-on", "reg a; reg b; reg c; reg d; now", "26 2 0 80 2024-12-28T23:59:30/7"},
		{"runs", "+29999ms; now; +1ms; now", "2024-12-28T23:59:59/7 2024-12-29T00:00:00/1"},
		{"binary", "set b 6; now", "1418-0c-1cT17:3b:1e/7"},
		{"12 hours", "set b 0; reg 4; +30s; reg 4", "91 12"},
		{"the index cannot be read", "w INDEX d; r INDEX; r DATA", "ff 80"},
		{"memory", "set 40 5a; reg 40; set 7f 1; reg 7f", "5a 1"},
		{"C and D cannot be written", "set c ff; set d 0; reg c; reg d", "0 80"},
		{
			"set mode stands still", "set b 82; +5s; now; set 9 25; set 8 7; set 7 15; set 4 12; set 2 34; set 0 56; set 6 4; now; set b 2; now; +1s; now",
			"2024-12-28T23:59:30/7 2025-07-15T12:34:56/4 2025-07-15T12:34:56/4 2025-07-15T12:34:57/4",
		},
		{"set mode keeps the fraction", "+600ms; set b 82; set 0 0; set b 2; +399ms; reg 0; +1ms; reg 0", "0 1"},
		{"the guest's weekday stays its own", "set 6 1; now; +30s; now", "2024-12-28T23:59:30/1 2024-12-29T00:00:00/2"},
		{"writing while running", "+300ms; set 2 5; now; +700ms; reg 0", "2024-12-28T23:05:30/7 31"},
		{"divider reset: first update after half a second", "set a 76; +9s; reg 0; set 0 10; set a 26; +499ms; reg 0; +1ms; reg 0", "30 10 11"},
		{"impossible dates come into range", "set b 82; set 8 0; set 7 99; set 4 77; set b 2; now", "2024-01-31T23:59:30/7"},
		{"UIP", "reg a; +997771us; reg a; +1us; reg a; +2227us; reg a; +1us; reg a", "26 26 a6 a6 26"},
		{"no UIP in set mode", "set b 82; +999ms; reg a", "26"},
		{"update-ended", "set b 12; ? irq; +999ms; ? irq; +1ms; ? irq; reg c; ? irq; reg c", "0 0 1 d0 0 0"},
		{"flags rise without enables", "+1s; reg c; reg c", "50 0"},
		{"enabling finds the flag up", "+1s; set b 12; ? irq; reg c", "1 d0"},
		{"set mode ends UIE", "set b 12; set b 92; reg b", "82"},
		{"periodic, 1024 Hz", "set b 42; +976562; ? irq; +1; ? irq; reg c; ? irq; +976561; ? irq; +1; ? irq", "0 1 c0 0 0 1"},
		{"periodic, 256 Hz of rate 1", "set a 21; set b 42; +3906249; ? irq; +1; ? irq", "0 1"},
		{"no periodic rate", "set a 20; set b 42; +900ms; ? irq; reg c", "0 0"},
		{
			"alarm", "set 5 0; set 3 0; set 1 5; set b 22; log; +34s; ? irq; log; +1s; ? irq; reg c; log",
			"[at 0 35000000000] 0 [] 1 f0 [irq=true, alarm, irq=false, at 0 86435000000000]",
		},
		{"alarm at any hour and minute", "set 5 c0; set 3 ff; set 1 45; set b 22; +15s; ? irq; reg c; +59s; ? irq; +1s; ? irq", "1 f0 0 1"},
		{"alarm that never matches", "set 5 99; set b 22; log", "[]"},
		{"alarm flag without enable, an hour later", "set 5 0; set 3 30; set 1 0; >1800s; reg c; >3600s; reg c; >1s; reg c", "50 70 50"},
		{"warm reset", "set b 72; +2s; set 40 7; warm; ? irq; reg b; reg c; reg 40; now", "0 2 0 7 2024-12-28T23:59:32/7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newRTC(epoch)
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestNMIMask(t *testing.T) {
	_, r := newRTC(0)
	assert.False(t, r.NMIMasked())
	r.Write(0, 1, 0x8d)
	assert.True(t, r.NMIMasked())
	assert.EqualValues(t, 0x80, r.Read(1, 1), "the mask is no part of the index")
}

func TestSetRAM(t *testing.T) {
	s, r := newRTC(epoch)
	for _, i := range []uint8{0x00, 0x0b, 0x0d, 0x32, 0x80} {
		r.SetRAM(i, 0x55)
	}
	r.SetRAM(0x15, 0x66)
	testkit.Script(t, s, "now; reg b; reg d; reg 15", "2024-12-28T23:59:30/7 2 80 66")
}

// The calendar agrees with Go's over leap years, centuries and before 1970.
func TestCalendar(t *testing.T) {
	for _, day := range []string{"1900-02-28", "1969-12-31", "1970-01-01", "1999-12-31", "2000-02-29", "2024-02-29", "2100-02-28", "2399-12-31"} {
		at, err := time.Parse(time.DateOnly, day)
		require.NoError(t, err)
		for range 3 {
			s, _ := newRTC(at.Unix())
			want := fmt.Sprintf("%s/%d", at.Format("2006-01-02T15:04:05"), at.Weekday()+1)
			testkit.Script(t, s, "now; set b 82; set b 2; now", want+" "+want)
			at = at.Add(24*time.Hour - time.Second)
		}
	}
}
