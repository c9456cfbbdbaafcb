package mem

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chip answers reads with its name in the top digit of each byte and the byte's
// offset in the low one, and logs writes.
type chip struct {
	name byte
	log  *[]string
}

func (c chip) Read(off uint64, size int) uint64 {
	var v uint64
	for i := range size {
		v |= uint64(c.name<<4|byte(off+uint64(i))&0xf) << (8 * i)
	}
	if size < 8 {
		v |= 0xdead << (8 * size) // beyond size: must be cut off
	}
	return v
}

func (c chip) Write(off uint64, size int, v uint64) {
	*c.log = append(*c.log, fmt.Sprintf("%x+%x,%d=%x", c.name, off, size, v))
}

func TestSpaceAccess(t *testing.T) {
	var s Space
	var log []string
	require.NoError(t, s.Map(0x10, 8, chip{1, &log}))
	require.NoError(t, s.Map(0x18, 4, chip{2, &log}))
	require.NoError(t, s.Map(0x40, 16, chip{3, &log}))
	require.NoError(t, s.Overlay(0x44, 4, chip{4, &log}))
	require.NoError(t, s.Map(math.MaxUint64-3, 4, chip{5, &log}))
	for _, tt := range []struct {
		name  string
		addr  uint64
		size  int
		read  uint64
		wrote []string // of 0x8877665544332211, cut to size
	}{
		{"byte", 0x11, 1, 0x11, []string{"1+1,1=11"}},
		{"whole window", 0x10, 8, 0x1716151413121110, []string{"1+0,8=8877665544332211"}},
		{"unaligned inside", 0x13, 4, 0x16151413, []string{"1+3,4=44332211"}},
		{"into the next window", 0x16, 4, 0x21201716, []string{"1+6,1=11", "1+7,1=22", "2+0,1=33", "2+1,1=44"}},
		{"into nothing", 0x1a, 4, 0xffff2322, []string{"2+2,1=11", "2+3,1=22"}},
		{"out of nothing", 0xe, 4, 0x1110ffff, []string{"1+0,1=33", "1+1,1=44"}},
		{"nothing", 0x30, 8, math.MaxUint64, nil},
		{"nothing, small", 0x30, 2, 0xffff, nil},
		{"odd size", 0x10, 3, 0x121110, []string{"1+0,1=11", "1+1,1=22", "1+2,1=33"}},
		{"overlay", 0x44, 4, 0x43424140, []string{"4+0,4=44332211"}},
		{"below the overlay", 0x40, 4, 0x33323130, []string{"3+0,4=44332211"}},
		{"above the overlay, offset counts from the window", 0x48, 4, 0x3b3a3938, []string{"3+8,4=44332211"}},
		{"into the overlay", 0x42, 4, 0x41403332, []string{"3+2,1=11", "3+3,1=22", "4+0,1=33", "4+1,1=44"}},
		{"end of addresses", math.MaxUint64 - 1, 2, 0x5352, []string{"5+2,2=2211"}},
		{"past the end", math.MaxUint64, 2, 0xff53, []string{"5+3,1=11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.read, s.Read(tt.addr, tt.size), "%#x", s.Read(tt.addr, tt.size))
			log = nil
			s.Write(tt.addr, tt.size, 0x8877665544332211)
			assert.Equal(t, tt.wrote, log)
		})
	}
}

func TestSpaceMapRefuses(t *testing.T) {
	var s Space
	var log []string
	h := chip{1, &log}
	require.NoError(t, s.Map(0x100, 0x10, h))
	require.NoError(t, s.Overlay(0x200, 0x10, h))
	for _, tt := range []struct {
		name       string
		base, size uint64
		h          Handler
		want       string
	}{
		{"empty", 0, 0, h, "map 0x0 bytes at 0x0: size must be from 1"},
		{"wraps", math.MaxUint64, 2, h, "size must be from 1"},
		{"no handler", 0, 1, nil, "no handler"},
		{"same", 0x100, 0x10, h, "map 0x10 bytes at 0x100: overlaps the window at 0x100 to 0x10f"},
		{"last byte", 0x10f, 1, h, "overlaps"},
		{"first byte", 0xf0, 0x11, h, "overlaps"},
		{"round it", 0, 0x1000, h, "overlaps"},
	} {
		assert.ErrorContains(t, s.Map(tt.base, tt.size, tt.h), tt.want, tt.name)
	}
	assert.NoError(t, s.Map(0x110, 1, h), "next to it")
	assert.NoError(t, s.Map(0x208, 0x10, chip{2, &log}), "under an overlay")
	assert.EqualValues(t, 0x1f, s.Read(0x20f, 1))
	assert.EqualValues(t, 0x28, s.Read(0x210, 1))
}

func TestSpaceUnmap(t *testing.T) {
	var s Space
	var log []string
	require.NoError(t, s.Map(0x10, 4, chip{1, &log}))
	require.NoError(t, s.Overlay(0x10, 4, chip{2, &log}))
	require.NoError(t, s.Overlay(0x10, 4, chip{3, &log}))
	for _, want := range []uint64{0x32, 0x22, 0x12} {
		assert.Equal(t, want, s.Read(0x12, 1))
		assert.False(t, s.Unmap(0x10, 3))
		assert.False(t, s.Unmap(0x11, 4))
		assert.False(t, s.Unmap(0x10, 0))
		assert.True(t, s.Unmap(0x10, 4))
	}
	assert.EqualValues(t, 0xff, s.Read(0x12, 1))
	_, _, ok := s.Find(0x12)
	assert.False(t, ok)
	assert.False(t, s.Unmap(0x10, 4))
}

// Random windows against a map of single addresses.
func TestSpaceAgainstModel(t *testing.T) {
	type win struct {
		base, size uint64
		overlay    bool
		name       byte
	}
	var log []string
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 9))
		var s Space
		var wins []win
		for range 60 {
			w := win{r.Uint64N(100), 1 + r.Uint64N(20), r.IntN(3) != 0, byte(r.IntN(15))}
			if len(wins) > 8 {
				i := r.IntN(len(wins))
				last := i
				for j := range wins { // Unmap takes the one mapped last
					if wins[j].base == wins[i].base && wins[j].size == wins[i].size {
						last = j
					}
				}
				require.True(t, s.Unmap(wins[i].base, wins[i].size))
				wins = append(wins[:last], wins[last+1:]...)
			} else if w.overlay {
				require.NoError(t, s.Overlay(w.base, w.size, chip{w.name, &log}))
				wins = append(wins, w)
			} else if s.Map(w.base, w.size, chip{w.name, &log}) == nil {
				wins = append(wins, w)
			}
			for addr := range uint64(125) {
				want := uint64(0xff)
				for _, overlay := range []bool{false, true} {
					for _, w := range wins {
						if w.overlay == overlay && addr-w.base < w.size {
							want = uint64(w.name<<4) | (addr-w.base)&0xf
						}
					}
				}
				if got := s.Read(addr, 1); got != want {
					t.Fatalf("seed %d: address %d reads %#x, want %#x, windows %v", seed, addr, got, want, wins)
				}
			}
		}
	}
}
