package migrate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
	"godwit/snapshot"
)

// flat is a stopped guest whose memory is one slice, and a destination that keeps
// nothing: what is measured is the engine, the checksums and the connection.
type flat struct {
	mem   []byte
	dirty []uint64
	root  [migrate.DigestSize]byte
}

func newFlat(pages int) *flat {
	f := &flat{mem: make([]byte, pages*migrate.PageSize), dirty: make([]uint64, (pages+63)/64)}
	for i := range f.mem {
		f.mem[i] = byte(i*7 + i>>12*31)
	}
	for i := range f.dirty {
		f.dirty[i] = ^uint64(0)
	}
	return f
}

func (f *flat) Pages() uint32                                      { return uint32(len(f.mem) / migrate.PageSize) }
func (f *flat) Config() ([]snapshot.Section, error)                { return nil, nil }
func (f *flat) Track() error                                       { return nil }
func (f *flat) Curve() migrate.Curve                               { return nil }
func (f *flat) Writers(int) []migrate.Writer                       { return nil }
func (f *flat) Changes(int) []migrate.Change                       { return nil }
func (f *flat) Pass() (migrate.Pass, error)                        { return f, nil }
func (f *flat) Budget(int)                                         {}
func (f *flat) Stop() (migrate.Final, error)                       { return f, nil }
func (f *flat) Resume()                                            {}
func (f *flat) Info() migrate.PassInfo                             { return migrate.PassInfo{Number: 1, Dirty: f.Pages()} }
func (f *flat) Dirty() []uint64                                    { return f.dirty }
func (f *flat) Present(uint32) bool                                { return true }
func (f *flat) Base(uint32, *[migrate.PageSize]byte) bool          { return false }
func (f *flat) Sent(uint32, [migrate.LeafSize]byte)                {}
func (f *flat) Leaf(uint32) [migrate.LeafSize]byte                 { return snapshot.ZeroLeaf() }
func (f *flat) Sections() []snapshot.Section                       { return nil }
func (f *flat) Root() [migrate.DigestSize]byte                     { return f.root }
func (f *flat) Read(p uint32, b *[migrate.PageSize]byte)           { copy(b[:], f.mem[int(p)*migrate.PageSize:]) }
func (*flat) Held([migrate.DigestSize]byte, uint64) []byte         { return nil }
func (f *flat) Check([]snapshot.Section) []migrate.Mismatch        { return nil }
func (f *flat) Reserve([]snapshot.Section) (migrate.Memory, error) { return f, nil }
func (f *flat) Journal(uint64, snapshot.UUID) error                { return nil }
func (f *flat) Activate() error                                    { return nil }
func (f *flat) Abandon()                                           {}
func (f *flat) Absent([]uint64, func(uint32) [migrate.LeafSize]byte) {
}
func (f *flat) Fill(uint32, []byte) error { return nil }
func (f *flat) Wanted() (uint32, bool)    { return 0, false }
func (f *flat) Wants() <-chan struct{}    { return nil }
func (f *flat) Finish([]snapshot.Section) ([migrate.DigestSize]byte, uint64, error) {
	return f.root, 0, nil
}

func (f *flat) Restore(p uint32, b []byte) error {
	copy(f.mem[int(p)*migrate.PageSize:], b)
	return nil
}

// BenchmarkRaw moves incompressible pages over one loopback connection.
func BenchmarkRaw(b *testing.B) {
	const pages = 256 << 20 / migrate.PageSize
	src, dst := newFlat(pages), newFlat(pages)
	b.Run("plain", func(b *testing.B) { moveFlat(b, src, dst, nil, nil) })
	server, client := certificate(b)
	b.Run("tls", func(b *testing.B) { moveFlat(b, src, dst, server, client) })
}

func moveFlat(b *testing.B, src, dst *flat, server, client *tls.Config) {
	dial, conns := loop(b)
	b.SetBytes(int64(len(src.mem)))
	for b.Loop() {
		in := make(chan net.Conn)
		done := make(chan error)
		go func() {
			_, err := migrate.Receive(context.Background(), in, dst, migrate.Options{})
			done <- err
		}()
		_, err := migrate.Send(context.Background(), func(ctx context.Context) (net.Conn, error) {
			c, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			far := <-conns
			if server != nil {
				c, far = tls.Client(c, client), tls.Server(far, server)
			}
			in <- far
			return c, nil
		}, src, migrate.Options{Mode: migrate.ModeStop, Codec: "none", Observe: -1})
		require.NoError(b, err)
		require.NoError(b, <-done)
	}
}

func certificate(b *testing.B) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b, err)
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x"}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	require.NoError(b, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(b, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, &tls.Config{RootCAs: pool, ServerName: "x", MinVersion: tls.VersionTLS13}
}
