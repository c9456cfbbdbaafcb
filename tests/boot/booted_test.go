package boot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

// prompt is what the guest's shell asks with.
const prompt = "/ # "

// saved is a Debian of so many vCPUs, saved when its shell first asked.
type saved struct {
	once sync.Once
	path string
}

// savedBoots are by number of vCPUs; TestMain removes their files.
var (
	savedBoots = map[int]*saved{1: {}, 4: {}}
	savedDir   string
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "godwit-boot")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		savedDir = dir
		return m.Run()
	}())
}

// booted gives a Debian at its shell's prompt. It is booted once and loaded by
// every test that asks for it.
func booted(t testing.TB, cpus int, h machine.Host) *machine.Machine {
	images := testkit.Debian(t)
	s := savedBoots[cpus]
	s.once.Do(func() {
		m, _ := shape{mib: 512, cpus: cpus}.boot(t, images, "")
		a := &asker{m: m}
		m.SetHost(a)
		require.Equal(t, machine.Paused, m.Run(10_000_000_000))
		require.True(t, a.asked(), "%s", tail(&a.out))
		path := filepath.Join(savedDir, fmt.Sprint(cpus))
		_, err := m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
		require.NoError(t, err)
		s.path = path
	})
	require.NotEmpty(t, s.path, "the boot that is to be loaded failed")
	m := load(t, s.path, h)
	t.Cleanup(func() { m.Close() })
	return m
}

// load makes the machine of a snapshot file.
func load(t testing.TB, path string, h machine.Host) *machine.Machine {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	defer f.Close()
	m, err := machine.Load(context.Background(), f, h)
	require.NoError(t, err)
	return m
}

// asker types a line each time the guest's shell asks for one; when it has none
// left the machine pauses.
type asker struct {
	out
	m     *machine.Machine
	lines []string
	seen  int // of what was printed, up to the last answer
	rest  []string
}

// patience is the guest time after which it asks no more.
const patience = devices.Nanos(600e9)

func (a *asker) asked() bool { return bytes.Contains(a.Bytes()[a.seen:], []byte(prompt)) }

func (a *asker) Idle(devices.Nanos) bool { return a.Poll() }

// Poll answers, and pauses the machine where there is nothing left to say.
func (a *asker) Poll() bool {
	switch {
	case a.m.Now() > patience:
		return true
	case !a.asked():
		return false
	case len(a.lines) == 0:
		return true
	}
	a.say()
	return false
}

func (a *asker) say() {
	a.seen = a.Len()
	a.m.Input(machine.InputConsole, []byte(a.lines[0]+"\r"))
	a.lines = a.lines[1:]
}

// talk has a booted guest do what it is told and returns the machine, and what
// it printed.
func talk(t testing.TB, cpus int, lines ...string) (*machine.Machine, *asker) {
	a := &asker{lines: lines}
	a.m = booted(t, cpus, a)
	a.say() // it has asked already
	return a.m, a
}
