package control

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// TestNobodyIsThereAnyMore: a peer that leaves before anything was begun is no
// migration that goes on.
func TestNobodyIsThereAnyMore(t *testing.T) {
	con, err := os.Create(filepath.Join(t.TempDir(), "console"))
	require.NoError(t, err)
	defer con.Close()
	r := newRunner(&Spec{Name: "there"}, con, t.TempDir())
	o, _ := (&ops{}).start("receive", "pages")
	in := &incoming{p: &process{r: r}, op: o, peer: "10.0.0.1:5"}
	in.began(about{Name: "plover"})
	in.event(migrate.Event{Stage: migrate.StageCheck, What: migrate.EventStage})
	require.NotNil(t, r.Status().Move)
	require.WithinDuration(t, time.Now(), r.Status().Move.At, time.Minute)
	in.event(migrate.Event{Stage: migrate.StageCheck, What: migrate.EventWarning, Reason: "the connection ended"})
	require.Nil(t, r.Status().Move)
}
