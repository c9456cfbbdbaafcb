package machine

import (
	"bytes"
	"context"
	"testing"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/snapshot"
)

type silent struct{}

func (silent) Poll() bool              { return false }
func (silent) Idle(devices.Nanos) bool { return true }
func (silent) Output(byte)             {}

func benchMachine(b *testing.B, cmd string, count uint64) *Machine {
	cfg := DefaultConfig()
	cfg.Memory, cfg.Append = 64<<20, cmd
	m, err := New(cfg, Images{Kernel: tiny.Image}, silent{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	if err := m.Boot(); err != nil {
		b.Fatal(err)
	}
	m.Run(count)
	return m
}

// BenchmarkIdleTick: an idle guest's timer interrupt, from deadline to HLT.
func BenchmarkIdleTick(b *testing.B) {
	m := benchMachine(b, "", 3_000_000)
	ticks, start := uint64(0), m.Now()
	b.ReportAllocs()
	b.ResetTimer()
	for ; ticks < uint64(b.N); ticks++ {
		for t := m.Now(); m.Now() < t+10_000_000; { // 100 Hz
			m.Run(m.Count() + 1)
		}
	}
	b.ReportMetric(float64(m.Now()-start)/float64(b.N), "guest-ns/op")
}

// BenchmarkGuestWriter: the lecture's program, an array written int by int.
func BenchmarkGuestWriter(b *testing.B) {
	m := benchMachine(b, "run=hog 32 0 seq", 20_000_000)
	start := m.Count()
	b.ReportAllocs()
	b.ResetTimer()
	m.Run(start + uint64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "MIPS")
}

// BenchmarkHash: the state hash after 1 MiB changed.
func BenchmarkHash(b *testing.B) {
	m := benchMachine(b, "run=hog 32 0 seq", 60_000_000)
	if _, err := m.Hash(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for p := uint64(0); p < 256; p++ {
			m.mem.Write(8<<20+p<<12, []byte{byte(b.N)})
		}
		if _, err := m.Hash(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	m := benchMachine(b, "run=hog 32 0 seq", 60_000_000)
	for b.Loop() {
		var buf bytes.Buffer
		secs, err := m.Sections()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := snapshot.WriteTo(context.Background(), &buf, snapshot.Meta{}, secs, m.Pages(), snapshot.Options{Codec: snapshot.S2}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(32 << 20)
	}
}

func BenchmarkLoad(b *testing.B) {
	m := benchMachine(b, "run=hog 32 0 seq", 60_000_000)
	var buf bytes.Buffer
	secs, err := m.Sections()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := snapshot.WriteTo(context.Background(), &buf, snapshot.Meta{}, secs, m.Pages(), snapshot.Options{Codec: snapshot.S2}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(32 << 20)
	for b.Loop() {
		f, err := snapshot.OpenReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()), nil)
		if err != nil {
			b.Fatal(err)
		}
		n, err := Load(context.Background(), f, silent{})
		if err != nil {
			b.Fatal(err)
		}
		n.Close()
	}
}
