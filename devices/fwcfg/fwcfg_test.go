package fwcfg_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/fwcfg"
	"godwit/mem"
)

func TestItems(t *testing.T) {
	c, err := fwcfg.NewCatalogue(0x1_8000_0000, 4, []fwcfg.File{{Name: "etc/a", Data: []byte("AB")}, {Name: "opt/b", Data: []byte("c")}})
	require.NoError(t, err)
	d := fwcfg.New(fwcfg.Wiring{ID: "fwcfg0", Items: c})
	var ports mem.Space
	w := d.Windows()[0]
	require.NoError(t, ports.Map(w.Base, w.Size, w.Handler))
	read := func(key uint64, n int) string {
		ports.Write(0x510, 2, key)
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(ports.Read(0x511, 1))
		}
		return string(b)
	}
	file := func(size, key byte, name string) string {
		return string([]byte{0, 0, 0, size, 0, key, 0, 0}) + name + strings.Repeat("\x00", 56-len(name))
	}
	for _, tt := range []struct {
		name string
		key  uint64
		want string
	}{
		{"signature", 0, "QEMU\x00\x00"},
		{"id: no DMA", 1, "\x01\x00\x00\x00"},
		{"memory", 3, "\x00\x00\x00\x80\x01\x00\x00\x00"},
		{"cpus", 5, "\x04\x00"},
		{"most cpus", 0xf, "\x04\x00"},
		{"directory", 0x19, "\x00\x00\x00\x02" + file(2, 0x20, "etc/a") + file(1, 0x21, "opt/b")},
		{"first file", 0x20, "AB\x00"},
		{"second file, write bit", 0x4021, "c\x00"},
		{"absent", 0x22, "\x00\x00\x00\x00"},
		{"another architecture's", 0x8000, "\x00"},
	} {
		assert.Equal(t, tt.want, read(tt.key, len(tt.want)), tt.name)
	}
	ports.Write(0x510, 2, 0)
	assert.EqualValues(t, 'Q', ports.Read(0x511, 1))
	ports.Write(0x511, 1, 'x')
	ports.Write(0x510, 1, 5)
	assert.EqualValues(t, 'E', ports.Read(0x511, 1), "neither selects")
	assert.EqualValues(t, 0xffff, d.Read(0, 2))
	d.Reset(devices.Warm)
	assert.EqualValues(t, 'Q', ports.Read(0x511, 1))
	d.Offset = 1 << 30
	assert.ErrorContains(t, d.Restored(), "restore fwcfg0: key 0x0, offset 1073741824")
}

func TestBadCatalogues(t *testing.T) {
	for name, files := range map[string][]fwcfg.File{
		"257 files, at most 256": make([]fwcfg.File, 257),
		"name is 0 bytes":        {{Name: ""}},
		"name is 56 bytes":       {{Name: strings.Repeat("x", 56)}},
		"data 16777217":          {{Name: "x", Data: make([]byte, 1<<24+1)}},
	} {
		_, err := fwcfg.NewCatalogue(0, 1, files)
		assert.ErrorContains(t, err, name)
	}
}
