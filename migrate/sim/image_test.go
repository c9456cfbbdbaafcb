package sim

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// onImage is a guest whose first 40 pages are its cache of a disk, and which writes to
// others. Of each eight, one is zeros.
func onImage(m migrate.Mode) Scenario {
	sc := small()
	sc.Program.Pages, sc.Program.Filled, sc.Program.Area, sc.Program.Content = 100, 90, 20, "random"
	sc.Options.Mode = m
	sc.Image.Pieces = 40
	return sc
}

// move plays it, and counts the repairs.
func move(t *testing.T, sc Scenario) (res *Result, repairs, warnings int) {
	sc.Events = func(side string, e migrate.Event) {
		switch {
		case e.What == migrate.EventRepair:
			repairs++
		case e.What == migrate.EventWarning && side == "source":
			warnings++
		}
	}
	res, err := Run(sc)
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	require.True(t, res.RunsAtDest)
	require.Equal(t, res.Source.Refused, res.Dest.Refused)
	require.Equal(t, res.Source.Kinds[migrate.ImageRef], res.Dest.Kinds[migrate.ImageRef])
	return res, repairs, warnings
}

// TestPagesOnImages: pages that both sides have on a disk's image travel as references;
// those that the guest writes to before they are sent need not.
func TestPagesOnImages(t *testing.T) {
	t.Parallel()
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModeHybrid, migrate.ModeAuto} {
		sc := onImage(mode)
		sc.Program.Rate = 0
		with, repairs, _ := move(t, sc)
		refs := with.Source.Kinds[migrate.ImageRef]
		require.EqualValues(t, 41, refs.Pages, "%s: 40 without 5 of zeros, and 6 others that are equal to one of them", mode)
		require.Equal(t, refs.Pages*(1+1+8+32), refs.Wire, mode)
		require.Zero(t, with.Source.Refused+uint64(repairs), mode)
		sc.Image.Pieces = 0
		without, _, _ := move(t, sc)
		require.Zero(t, without.Source.Kinds[migrate.ImageRef].Pages)
		require.Less(t, with.Source.Sent+30*pageSize/2, without.Source.Sent, mode)
	}
	res, _, _ := move(t, onImage(migrate.ModePost))
	require.Zero(t, res.Source.Kinds[migrate.ImageRef].Pages, "post-copy sends what is checked against a promise")
}

// TestImageDiffers: of an image with one other byte, that page alone is sent after all;
// not as a repair, for nothing was wrong.
func TestImageDiffers(t *testing.T) {
	t.Parallel()
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModeHybrid, migrate.ModeAuto} {
		sc := onImage(mode)
		sc.Program.Rate = 0
		sc.Image.Flip = imageHead + 33*pageSize + 4095
		res, repairs, warnings := move(t, sc)
		require.EqualValues(t, 41, res.Source.Kinds[migrate.ImageRef].Pages, mode)
		require.EqualValues(t, 1, res.Source.Refused, mode)
		require.Zero(t, repairs+warnings, mode)
	}
}

// TestImageChanges: blocks are overwritten after pages have referred to them, whether the
// destination sees it or not, while the guest writes to the pages too.
func TestImageChanges(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		refs, refused := uint64(0), uint64(0)
		for seed := range uint64(20) {
			for _, mode := range modes {
				sc := onImage(mode)
				sc.Seed = seed
				sc.Program.Area, sc.Image.Rate, sc.Image.Stale = 100, 200, stale
				res, repairs, _ := move(t, sc)
				require.Zero(t, repairs)
				refs += res.Source.Kinds[migrate.ImageRef].Pages
				refused += res.Source.Refused
			}
		}
		require.Positive(t, refs)
		if !stale { // what is overwritten is no longer found; what is not is there, also in a stale image
			require.Positive(t, refused)
		}
	}
}

// TestImageCannotBeRead: where nothing of an image can be read all comes whole, and
// nothing refers to it again.
func TestImageCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre} {
		sc := onImage(mode)
		sc.Prepare = func(_ *Guest, b *Builder) { b.Fail = map[string]error{"image": errors.New("EIO")} }
		res, _, warnings := move(t, sc)
		require.Equal(t, res.Source.Kinds[migrate.ImageRef].Pages, res.Source.Refused, mode)
		require.GreaterOrEqual(t, res.Source.Refused, uint64(17), mode)
		require.Equal(t, 1, warnings, mode)
	}
}
