package process

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/control"
	"godwit/migrate"
)

// TestAround moves a guest from host to host and round again, each with VMs of its
// own, by every strategy: paused, where its state hash is the same on both sides, and
// running.
func TestAround(t *testing.T) {
	hosts := []*world{newWorld(t), newWorld(t), newWorld(t)}
	moves := 6
	if os.Getenv("GODWIT_FULL") != "" {
		moves = 100
	}
	at := hosts[0]
	c := at.run("vm0", writer)
	at.until(c, "hog: ")
	bg := context.Background()
	hash := func(c *control.Client) (h struct {
		Count uint64
		Hash  string
	},
	) {
		require.NoError(t, c.Get(bg, "/v1/hash", &h))
		return h
	}
	all := []migrate.Mode{migrate.ModePre, migrate.ModeStop, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto}
	for i := range moves {
		to, name := hosts[(i+1)%3], fmt.Sprint("vm", i+1)
		to.disks = at.disks
		_, addr := to.receive(name)
		before := hash(c)
		paused := i%2 == 0
		if paused {
			require.NoError(t, c.Post(bg, "/v1/pause", nil, nil))
			before = hash(c)
		}
		_, err := c.Migrate(bg, request(addr, all[i%len(all)]), nil)
		require.NoError(t, err, "move %d", i)
		require.False(t, at.home.Alive(fmt.Sprint("vm", i)), "nothing of it is left there")
		c, at = to.home.Client(name), to
		if paused {
			at.state(name, control.StatePaused)
			require.Equal(t, before, hash(c), "move %d", i)
			require.NoError(t, c.Post(bg, "/v1/cont", nil, nil))
		} else {
			at.state(name, control.StateRunning)
			require.GreaterOrEqual(t, hash(c).Count, before.Count)
		}
		at.owns(name)
	}
	at.works(c)
}
