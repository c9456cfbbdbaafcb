package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// choked is an image whose next operations fail.
type choked struct {
	Image
	err atomic.Pointer[error]
}

func (c *choked) fail() error {
	if p := c.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (c *choked) WriteAt(p []byte, off int64) error {
	if err := c.fail(); err != nil {
		return err
	}
	return c.Image.WriteAt(p, off)
}

func newImage(t testing.TB, format string, size int64) string {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, Create(path, CreateOptions{Format: format, Size: size}))
	return path
}

func openDrive(t testing.TB, path string, o DriveOptions) *Drive {
	d, err := OpenDrive(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *Drive) read(t testing.TB, n, off int64) []byte {
	d.Read(n, off)
	require.NoError(t, d.Drain(context.Background()))
	var last []byte
	for {
		data, ok := d.Collect()
		if !ok {
			return last
		}
		last = data
	}
}

func TestDriveWorksInOrder(t *testing.T) {
	for _, format := range []string{Raw, Qcow2} {
		d := openDrive(t, newImage(t, format, 1<<20), DriveOptions{})
		var told atomic.Int32
		d.Notify(func() { told.Add(1) })
		d.Write(bytes.Repeat([]byte{1}, 4096), 0, false)
		d.Read(512, 512)
		d.Write(bytes.Repeat([]byte{2}, 512), 512, true)
		d.Read(512, 512)
		d.Discard(0, 512)
		d.WriteZeroes(1024, 512, false)
		d.Flush()
		d.Read(4096, 0)
		require.NoError(t, d.Sync(context.Background()))
		var got [][]byte
		for data, ok := d.Collect(); ok; data, ok = d.Collect() {
			got = append(got, data)
		}
		require.Len(t, got, 8)
		require.Equal(t, bytes.Repeat([]byte{1}, 512), got[1])
		require.Equal(t, bytes.Repeat([]byte{2}, 512), got[3])
		want := bytes.Repeat([]byte{1}, 4096)
		clear(want[:512])
		copy(want[512:], bytes.Repeat([]byte{2}, 512))
		clear(want[1024:1536])
		require.Equal(t, want, got[7])
		require.NoError(t, d.Close())
		require.EqualValues(t, 8, told.Load())
	}
}

func TestDriveForgets(t *testing.T) {
	d := openDrive(t, newImage(t, Raw, 1<<20), DriveOptions{})
	for range 20 {
		d.Write(make([]byte, 512), 0, false)
	}
	d.Forget()
	d.Read(512, 0)
	require.NoError(t, d.Drain(context.Background()))
	data, ok := d.Collect()
	require.True(t, ok)
	require.Len(t, data, 512)
	_, ok = d.Collect()
	require.False(t, ok)
}

// TestFailedRequestHoldsUpTheOthers: a full disk neither loses nor reorders
// anything, and the request that failed is done once there is room.
func TestFailedRequestHoldsUpTheOthers(t *testing.T) {
	d := openDrive(t, newImage(t, Qcow2, 1<<20), DriveOptions{})
	c := &choked{Image: d.img}
	d.img = c
	full := error(syscall.ENOSPC)
	c.err.Store(&full)
	d.Write(bytes.Repeat([]byte{1}, 512), 0, false)
	d.Write(bytes.Repeat([]byte{2}, 512), 0, false)
	d.Read(512, 0)
	require.NoError(t, d.Drain(context.Background()))
	require.ErrorIs(t, d.Err(), syscall.ENOSPC)
	require.ErrorIs(t, d.Sync(context.Background()), syscall.ENOSPC)
	_, ok := d.Collect()
	require.False(t, ok)
	d.Retry()
	require.NoError(t, d.Drain(context.Background()))
	require.Error(t, d.Err(), "still full")
	c.err.Store(nil)
	d.Retry()
	require.Equal(t, bytes.Repeat([]byte{2}, 512), d.read(t, 512, 0))
	require.NoError(t, d.Err())
}

func TestDrainGivesUp(t *testing.T) {
	d := openDrive(t, newImage(t, Raw, 1<<20), DriveOptions{})
	stuck := make(chan struct{})
	d.begin(func(Image) ([]byte, error) { <-stuck; return nil, nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, d.Drain(ctx), context.Canceled)
	close(stuck)
	require.NoError(t, d.Drain(context.Background()))
}

func (d *Drive) write(t testing.TB, b byte) {
	d.Write(bytes.Repeat([]byte{b}, 512), 0, false)
	require.NoError(t, d.Sync(context.Background()))
}

func TestOwnerFile(t *testing.T) {
	path := newImage(t, Raw, 1<<20)
	d := openDrive(t, path, DriveOptions{Claim: Claim{Name: "plover"}})
	id, epoch := d.Identity()
	require.NotEmpty(t, id)
	require.EqualValues(t, 1, epoch)
	d.write(t, 1)
	d.write(t, 2)
	_, epoch = d.Identity()
	require.EqualValues(t, 2, epoch, "the first write counts")

	_, err := OpenDrive(path, DriveOptions{Claim: Claim{Name: "wren"}})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, Owner{ID: id, Epoch: 2, Name: "plover", PID: os.Getpid()}, locked.Owner)
	require.Contains(t, err.Error(), "in use by process")
	require.Error(t, Resize(path, 2<<20, false, Options{}), "tools are refused too")
	require.NoError(t, d.Close())
	o, err := ReadOwner(path)
	require.NoError(t, err)
	require.Equal(t, Owner{ID: id, Epoch: 2, Name: "plover"}, o)

	// Whoever noted epoch 2 gets it, any number of times, until somebody writes.
	for range 2 {
		d = openDrive(t, path, DriveOptions{Claim: Claim{Name: "wren", Epoch: 2}})
		d.read(t, 512, 0)
		again, _ := d.Identity()
		require.Equal(t, id, again)
		require.NoError(t, d.Close())
	}
	d = openDrive(t, path, DriveOptions{Claim: Claim{Name: "wren", Epoch: 2}})
	d.write(t, 3)
	require.NoError(t, d.Close())
	_, err = OpenDrive(path, DriveOptions{Claim: Claim{Name: "plover", Epoch: 2}})
	var moved *EpochError
	require.ErrorAs(t, err, &moved)
	require.Contains(t, err.Error(), "by wren since: its epoch is 3, not 2")

	// Tools count as writers, and leave no file of their own.
	require.NoError(t, Resize(path, 2<<20, false, Options{}))
	o, err = ReadOwner(path)
	require.NoError(t, err)
	require.EqualValues(t, 4, o.Epoch)
	_, err = OpenDrive(path, DriveOptions{ReadOnly: true, Claim: Claim{Epoch: 3}})
	require.ErrorAs(t, err, &moved, "a reader can insist too")
	require.NoError(t, openDrive(t, path, DriveOptions{ReadOnly: true, Claim: Claim{Epoch: 4}}).Close())

	other := newImage(t, Raw, 1<<20)
	require.NoError(t, Resize(other, 2<<20, false, Options{}))
	_, err = os.Stat(other + OwnerSuffix)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDamagedOwnerFileIsRefused(t *testing.T) {
	path := newImage(t, Raw, 1<<20)
	require.NoError(t, os.WriteFile(path+OwnerSuffix, []byte("\n{\"epoch\":"), 0o600))
	_, err := OpenDrive(path, DriveOptions{Claim: Claim{Name: "plover"}})
	require.ErrorContains(t, err, "makes no sense")
	b, err := os.ReadFile(path + OwnerSuffix)
	require.NoError(t, err)
	require.Equal(t, "\n{\"epoch\":", string(b), "and left as it is")
}

func TestHandOver(t *testing.T) {
	path := newImage(t, Qcow2, 1<<20)
	a := openDrive(t, path, DriveOptions{Claim: Claim{Name: "a"}})
	a.write(t, 7)
	epoch, err := a.HandOver(context.Background(), "to b")
	require.NoError(t, err)
	require.EqualValues(t, 3, epoch)

	// Not taken: the source can have it back.
	require.NoError(t, a.TakeBack())
	require.NoError(t, a.TakeBack(), "it has it")
	a.write(t, 8)
	epoch, err = a.HandOver(context.Background(), "to b")
	require.NoError(t, err)
	require.EqualValues(t, 5, epoch)

	b := openDrive(t, path, DriveOptions{Claim: Claim{Name: "b", Epoch: epoch}})
	require.Equal(t, bytes.Repeat([]byte{8}, 512), b.read(t, 512, 0))
	var locked *LockedError
	require.ErrorAs(t, a.TakeBack(), &locked)
	b.write(t, 9)
	require.NoError(t, b.Close())
	var moved *EpochError
	require.ErrorAs(t, a.TakeBack(), &moved)
}

// TestDriveOpensLater is the side that a machine moves to while it still runs on the
// other.
func TestDriveOpensLater(t *testing.T) {
	path := newImage(t, Raw, 1<<20)
	a := openDrive(t, path, DriveOptions{Claim: Claim{Name: "a"}})
	b := openDrive(t, path, DriveOptions{Claim: Claim{Name: "b", Epoch: 99}, Later: 1 << 20})
	require.EqualValues(t, 1<<20, b.Size())
	require.NoError(t, b.Sync(context.Background()))
	b.Read(512, 0)
	require.NoError(t, b.Drain(context.Background()), "nothing is done, nothing is waited for")
	a.write(t, 5)

	var locked *LockedError
	require.ErrorAs(t, b.Open("session 1", "b"), &locked)
	_, err := a.HandOver(context.Background(), "session 2")
	require.NoError(t, err)
	var moved *EpochError
	require.ErrorAs(t, b.Open("session 1", "b"), &moved)
	require.Contains(t, moved.Error(), "not handed over to session 1")
	require.NoError(t, b.Open("session 2", "b"))
	require.NoError(t, b.Open("session 2", "b"), "it is open")
	require.NoError(t, b.Drain(context.Background()))
	data, ok := b.Collect()
	require.True(t, ok)
	require.Equal(t, bytes.Repeat([]byte{5}, 512), data)
	require.Error(t, a.TakeBack())
	b.write(t, 6)
	require.NoError(t, b.Close())
	require.ErrorAs(t, a.TakeBack(), &moved)

	c := openDrive(t, path, DriveOptions{Claim: Claim{Name: "c"}, Later: 2 << 20})
	require.ErrorContains(t, c.Open("", "c"), "has 1048576 bytes, the machine's has 2097152")
	require.NoError(t, openDrive(t, path, DriveOptions{Claim: Claim{Name: "d"}}).Close(), "it has let go")
}

// TestDriveFreezes makes three layers while the drive goes on; each keeps what it
// had.
func TestDriveFreezes(t *testing.T) {
	for _, format := range []string{Raw, Qcow2} {
		path := newImage(t, format, 1<<20)
		d := openDrive(t, path, DriveOptions{Claim: Claim{Name: "plover"}})
		id, _ := d.Identity()
		type layer struct{ path, format string }
		var layers []layer
		for i := range 3 {
			if i == 1 { // made ahead, while the disk is used
				require.NoError(t, d.Prepare(path+".unused"))
				require.NoError(t, d.Prepare(path+".top1"))
				require.NoFileExists(t, path+".unused")
				require.NoFileExists(t, path+".unused"+OwnerSuffix)
				require.Equal(t, path+".top0", d.Path())
			}
			d.Write(bytes.Repeat([]byte{byte(i + 1)}, 512), int64(i)*512, false)
			l, f, err := d.Freeze(context.Background(), path+".top"+string(rune('0'+i)))
			require.NoError(t, err)
			layers = append(layers, layer{l, f})
			same, epoch := d.Identity()
			require.Equal(t, id, same)
			require.EqualValues(t, 1, epoch, "of the new file")
		}
		require.Equal(t, layer{path, format}, layers[0])
		require.Equal(t, path+".top2", d.Path())
		d.Write(bytes.Repeat([]byte{9}, 512), 0, false)
		want := append(bytes.Repeat([]byte{9}, 512), append(bytes.Repeat([]byte{2}, 512), bytes.Repeat([]byte{3}, 512)...)...)
		require.Equal(t, want, d.read(t, 1536, 0))
		_, err := OpenDrive(path, DriveOptions{})
		require.Error(t, err, "the layers stay locked")
		for i, l := range layers {
			r := openDrive(t, l.path, DriveOptions{Format: l.format, ReadOnly: true})
			got := r.read(t, 1536, 0)
			for k := range 3 {
				require.Equal(t, k <= i, got[k*512] == byte(k+1), "layer %d, sector %d", i, k)
			}
			require.NoError(t, r.Close())
		}
		_, _, err = d.Freeze(context.Background(), layers[1].path)
		require.Error(t, err, "an image that is there")
		require.Equal(t, want, d.read(t, 1536, 0))
		require.NoError(t, d.Prepare(path+".unused"))
		require.NoError(t, d.Close())
		require.NoFileExists(t, path+".unused", "made ahead and not used")

		again := openDrive(t, path+".top2", DriveOptions{Claim: Claim{Name: "plover", Epoch: 2}})
		require.Equal(t, want, again.read(t, 1536, 0))
		require.NoError(t, again.Close())
		for _, l := range append(layers, layer{path + ".top2", Qcow2}) {
			if l.format == Qcow2 {
				r, err := Check(l.path, false, Options{})
				require.NoError(t, err)
				require.Zero(t, r.Leaks+r.Corruptions, l.path)
			}
		}
	}
}

func TestDriveOverlay(t *testing.T) {
	base := newImage(t, Raw, 1<<20)
	d := openDrive(t, base, DriveOptions{Claim: Claim{Name: "plover"}})
	id, baseEpoch := d.Identity()
	require.NoError(t, d.Close())

	over := base + ".overlay"
	d = openDrive(t, base, DriveOptions{Overlay: over, Claim: Claim{Name: "wren"}, Base: baseEpoch})
	d.write(t, 5)
	same, epoch := d.Identity()
	require.Equal(t, id, same)
	require.Equal(t, baseEpoch, d.Base())
	_, err := OpenDrive(base, DriveOptions{Overlay: over, Claim: Claim{Name: "dunlin"}})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.NoError(t, d.Close())

	d = openDrive(t, base, DriveOptions{Overlay: over, Claim: Claim{Name: "wren", Epoch: epoch}, Base: baseEpoch})
	require.Equal(t, bytes.Repeat([]byte{5}, 512), d.read(t, 512, 0))
	require.NoError(t, d.Close())
	b, err := os.ReadFile(base)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 1<<20), b)

	require.NoError(t, Resize(base, 2<<20, false, Options{}))
	var moved *EpochError
	_, err = OpenDrive(base, DriveOptions{Overlay: over, Claim: Claim{Name: "wren", Epoch: epoch}, Base: baseEpoch})
	require.ErrorAs(t, err, &moved, "the image below has changed")

	require.NoError(t, Remove(over))
	require.NoError(t, Remove(over))
	_, err = OpenDrive(base, DriveOptions{Overlay: over, Claim: Claim{Name: "wren", Epoch: epoch}})
	require.ErrorIs(t, err, os.ErrNotExist, "an overlay whose content is known is not made anew")
}
