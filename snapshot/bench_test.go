package snapshot_test

import (
	"bytes"
	"io"
	"testing"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

// benchMemory is 64 MiB, a third each of text-like, random and zero pages.
func benchMemory() *memtest.Memory { return memtest.New(16384).Fill(1, 1) }

func BenchmarkWrite(b *testing.B) {
	m := benchMemory()
	for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(m.N) * snapshot.PageSize)
			for b.Loop() {
				if _, err := snapshot.WriteTo(ctx, io.Discard, snapshot.Meta{}, nil, m, snapshot.Options{Codec: c}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Restore(uint32, []byte) error { return nil }

func BenchmarkLoadAll(b *testing.B) {
	m := benchMemory()
	for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		b.Run(c.String(), func(b *testing.B) {
			file, _ := write(b, m, nil, snapshot.Options{Codec: c})
			b.SetBytes(int64(m.N) * snapshot.PageSize)
			for b.Loop() {
				f, err := snapshot.OpenReader(bytes.NewReader(file), int64(len(file)), nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := f.LoadAll(ctx, nowhere{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
