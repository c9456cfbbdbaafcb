// Package migrate moves a machine to another process, running as long as can be.
// It knows sections and pages through small interfaces, not a machine (Guest at
// the source, Builder at the destination), and leaves dialling, listening and TLS
// to its caller:
//
//	Send(ctx, dial, guest, options) (Report, error)
//	Receive(ctx, conns, builder, options) (Report, error)
//
// where dial makes a connection to the destination and conns yields those that
// arrive there. The bytes are described in docs/format/migrate.md.
//
// At most one side ever runs the guest. Up to COMMIT that is the source, whatever
// happens; from then on the source stands still until the destination says that
// it runs it, or that it never will.
//
// The two sides themselves, Source and Dest, know nothing of goroutines, clocks
// and sockets: see Engine. Send and Receive drive them over connections, package
// sim in virtual time.
package migrate
