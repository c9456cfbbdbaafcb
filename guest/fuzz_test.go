package guest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// FuzzDeb reads a package and all of its files.
func FuzzDeb(f *testing.F) {
	for _, s := range []string{"", ".gz", ".xz", ".zst"} {
		f.Add(debOf(f, s, control(imageName, "1", ""), imageEntries()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := readAr(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, m := range members {
			r, done, err := m.unpacked()
			if err != nil {
				continue
			}
			mods := newModules()
			k := &build{ctx: t.Context(), tree: tree{}}
			_ = walkTar(&bounded{t.Context(), r, 4 << 20}, func(f file) error {
				require.False(t, strings.HasPrefix(f.path, "/") || strings.Contains("/"+f.path+"/", "/../"), "%q", f.path)
				return k.look(f, mods)
			})
			for name := range mods.byName {
				order, err := mods.closure([]string{name}, true)
				if err == nil {
					mods.dep(order)
				}
			}
			done()
		}
	})
}

// FuzzDebian makes a guest of anything.
func FuzzDebian(f *testing.F) {
	f.Add(tarOf(f, imageEntries()))
	f.Add(tarOf(f, shellEntries()))
	files := debs(f, "")
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		c := tarOf(t, []entry{{name: "control", data: control(imageName, "1", "")}})
		image := filepath.Join(dir, "image.deb")
		write(t, image, arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", string(c)}, [2]string{"data.tar", string(data)}))
		r, err := Debian(t.Context(), Options{Dir: filepath.Join(dir, "g"), Debs: []string{image, files[1]}})
		if err != nil {
			require.NotEmpty(t, code(err), "%v", err)
			return
		}
		b, err := os.ReadFile(r.Initrd.Path)
		require.NoError(t, err)
		listing(t, b)
	})
}

// FuzzXZ compares with the library, which knows more: several streams, and any
// dictionary.
func FuzzXZ(f *testing.F) {
	data := bytes.Repeat([]byte("limosa "), 50)
	for _, check := range []byte{xz.CRC32, xz.CRC64, xz.SHA256} {
		f.Add(xzOf(f, check, 100, data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newXZ(bytes.NewReader(b))
		if err != nil {
			return
		}
		var ours bytes.Buffer
		if _, err := io.Copy(&ours, io.LimitReader(r, 1<<22)); err != nil || ours.Len() == 1<<22 {
			return
		}
		z, err := xz.ReaderConfig{SingleStream: true}.NewReader(bytes.NewReader(b))
		if err != nil {
			return // checksums of the index and the footer are not ours to check
		}
		theirs, err := io.ReadAll(z)
		if err == nil {
			require.True(t, bytes.Equal(theirs, ours.Bytes()))
		}
	})
}

// FuzzNewc writes trees and reads them back.
func FuzzNewc(f *testing.F) {
	f.Add("a/b/c", "a/b-c", []byte("text"))
	f.Fuzz(func(t *testing.T, p, q string, data []byte) {
		tr := tree{}
		for _, name := range []string{p, q} {
			if _, err := plain(name); err == nil && name != "" && name != "TRAILER!!!" && !strings.HasPrefix(name, "./") {
				tr.add(strings.TrimSuffix(name, "/"), modeFile, data)
			}
		}
		var one, two bytes.Buffer
		require.NoError(t, tr.write(&one))
		require.NoError(t, tr.write(&two))
		require.Equal(t, one.Bytes(), two.Bytes())
		require.Equal(t, len(tr.paths()), strings.Count(listing(t, one.Bytes()), "\n"))
	})
}

// FuzzControl reads control files, and what they can make of a Release file.
func FuzzControl(f *testing.F) {
	f.Add([]byte(metaStanza))
	f.Add([]byte("Codename: bookworm\nSHA256:\n x 1 y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachStanza(bytes.NewReader(b), func(s stanza) error {
			r := s.record()
			r.image()
			if r.usable() == nil {
				require.Equal(t, filepath.Base(cache("x").path(r)), strings.TrimPrefix(cache("x").path(r), "x"+string(filepath.Separator)))
			}
			compareVersions(r.version, r.depends)
			return nil
		})
		_, _, _ = releaseEntry(b, "bookworm", indexFile(DefaultArch))
	})
}
