package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeys(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, tt := range []struct {
		name, typed, pass, acts string
	}{
		{"plain", "ls\r", "ls\r", ""},
		{"detach", "ab\x01dc", "abc", "d"},
		{"itself", "\x01\x01", "\x01", ""},
		{"unknown is help's", "\x01q", "", "q"},
		{"two ctrl-c", "\x03\x03", "\x03\x03", ""},
		{"three ctrl-c", "\x03\x03\x03", "\x03\x03\x03", "!"},
		{"four ctrl-c hint once", "\x03\x03\x03\x03", "\x03\x03\x03\x03", "!"},
		{"several", "\x01p\x01px", "x", "pp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := keys{on: true, escape: ctrlA}
			pass, acts := k.feed([]byte(tt.typed), at)
			assert.Equal(t, tt.pass, string(pass))
			assert.Equal(t, tt.acts, string(acts))

			one := keys{on: true, escape: ctrlA} // a byte at a time makes no difference
			var p, a []byte
			for _, c := range []byte(tt.typed) {
				x, y := one.feed([]byte{c}, at)
				p, a = append(p, x...), append(a, y...)
			}
			assert.Equal(t, tt.pass, string(p))
			assert.Equal(t, tt.acts, string(a))
		})
	}
	off := keys{}
	pass, acts := off.feed([]byte("\x01x\x03\x03\x03"), at)
	assert.Equal(t, "\x01x\x03\x03\x03", string(pass), "a pipe has no keys")
	assert.Empty(t, acts)
}

func TestCtrlCInASecond(t *testing.T) {
	k := keys{on: true, escape: ctrlA}
	for i, want := range []string{"", "", "", "!"} {
		at := []float64{0, 0.5, 1.2, 1.3}[i] // the first is too old when the third comes
		_, acts := k.feed([]byte{ctrlC}, time.Unix(0, int64(at*1e9)))
		assert.Equal(t, want, string(acts), "at %v s", at)
	}
}

func TestParseKey(t *testing.T) {
	for text, want := range map[string]byte{"ctrl-a": 1, "^b": 2, "C-z": 26, "Ctrl-]": 0, "q": 17, "": 0, "ctrl": 0, "é": 0} {
		got, err := ParseKey(text)
		assert.Equal(t, want, got, text)
		assert.Equal(t, want == 0, err != nil, text)
	}
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"4096", 4096, true},
		{"512M", 512 << 20, true},
		{"1g", 1 << 30, true},
		{"64MiB", 64 << 20, true},
		{"2kb", 2048, true},
		{"", 0, false},
		{"M", 0, false},
		{"-1", 0, false},
		{"1.5G", 0, false},
		{"99999999T", 0, false},
		{"18446744073709551615", 0, false},
	} {
		got, err := ParseBytes(tt.text)
		require.Equal(t, tt.ok, err == nil, "%q: %v", tt.text, err)
		assert.Equal(t, tt.want, got, tt.text)
	}
	assert.Equal(t, "64 MiB", SizeText(64<<20))
	assert.Equal(t, "4097 bytes", SizeText(4097))
}

func TestNearest(t *testing.T) {
	names := []string{"memory", "cpus", "kernel", "no-reboot"}
	assert.Equal(t, "memory", Nearest("memroy", names))
	assert.Equal(t, "kernel", Nearest("kernal", names))
	assert.Equal(t, "no-reboot", Nearest("noreboot", names))
	assert.Empty(t, Nearest("zzz", names))
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"plover": true, "a": true, "plover-2": true, "there.incoming": true, "": false, "Plover": false, "-x": false,
		"a/b": false, "..": false, ".incoming": false, "a.b": false, "12345678901234567890123456789012345678901": false,
	} {
		assert.Equal(t, ok, CheckName(name) == nil, name)
	}
	for _, b := range birds {
		assert.NoError(t, CheckName(b))
	}
	all := birdName(func(n string) bool { return len(n) < 8 || n[len(n)-3] != '-' })
	assert.NoError(t, CheckName(all), "when all birds are taken")
}

func TestErrorText(t *testing.T) {
	assert.Equal(t, "godwit: a b\n  why.  Try  x\n", Fail("failed", "a\nb", "why.", "x").Text())
	assert.Equal(t, "godwit: a\n  why\n", Fail("failed", "a", "why", "").Text())
	assert.Equal(t, "godwit: a\n  Try  x\n", Fail("failed", "a", "", "x").Text())
	assert.Equal(t, "godwit: a\n", Fail("failed", "a", "", "").Text())
	for code, k := range kinds {
		assert.Equal(t, k.exit, Fail(code, "", "", "").Exit)
	}
}
