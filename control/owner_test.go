package control

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

func TestOwner(t *testing.T) {
	dir := t.TempDir()
	o, err := readOwner(dir)
	require.NoError(t, err)
	require.Equal(t, Owner{Epoch: 1}, o, "a machine that never moved is this host's")
	away := Owner{Epoch: 2, Away: true, To: "hostb:4444", Session: "00"}
	require.NoError(t, away.write(dir))
	o, err = readOwner(dir)
	require.NoError(t, err)
	require.Equal(t, away, o)
	fi, err := os.Stat(filepath.Join(dir, fileOwner))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode().Perm()&0o700)

	require.NoError(t, os.WriteFile(filepath.Join(dir, fileOwner), []byte("{"), 0o600))
	_, err = readOwner(dir)
	require.Error(t, err, "who cannot be read is nobody")
	require.Error(t, away.write(filepath.Join(dir, "nowhere")))
}

func TestRunsOf(t *testing.T) {
	require.Equal(t, " 0 3-5 63-64 130", runsOf([]uint64{1 | 7<<3 | 1<<63, 1, 4}))
	require.Empty(t, runsOf(nil))
}

func TestHistory(t *testing.T) {
	h := Home(t.TempDir())
	require.Equal(t, Moves{Running: []Move{}, Past: []Move{}}, h.Moves())
	at := time.Unix(1_700_000_000, 0).UTC()
	rep := &migrate.Report{Chosen: migrate.ModePre, Passes: make([]migrate.PassStats, 3)}
	r := newRunner(&Spec{Name: "plover"}, nil, h.Dir("plover"))
	r.remember(&Move{VM: "plover", At: at, Out: true, Peer: "hostb:4444", State: OpDone, Report: rep})
	require.Len(t, rep.Passes, 3, "the caller's is left alone")
	r.remember(&Move{VM: "stint", At: at, Peer: "hosta:1", State: OpFailed, Error: Fail("unreachable", "x", "y", "")})
	got := h.Moves().Past
	require.Len(t, got, 2)
	require.Empty(t, got[0].Report.Passes)
	require.Equal(t, "unreachable", got[1].Error.Code)

	// A line that a crash cut short is no entry, and the history does not grow for ever.
	f, err := os.OpenFile(h.history(), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"vm":"cut`)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(maxHistory+1))
	require.NoError(t, f.Close())
	r.remember(&Move{VM: "tern", At: at})
	got = h.Moves().Past
	require.Equal(t, "tern", got[len(got)-1].VM)
	fi, err := os.Stat(h.history())
	require.NoError(t, err)
	require.Less(t, fi.Size(), int64(1000))
}
