// Package stopped moves a machine to another process over one connection. It
// knows sections and pages through small interfaces, not a machine, and leaves
// dialling, listening and TLS to its caller. The bytes are described in
// docs/format/migrate.md.
//
// What is here is stop-and-copy: the source stands still, everything travels,
// both sides compute the state hash, and only when they agree does the source
// let go:
//
//	source                              destination
//	preface                        ->
//	                               <-   preface
//	HELLO CONFIG sections RESERVE  ->
//	                               <-   START, or REFUSE
//	PAGES ... DEVSTATE sections ROOT ->
//	                               <-   READY, with its own root
//	COMMIT                         ->
//	                               <-   ACK, when it has started
//
// At most one side may ever run the guest. Before COMMIT is sent that is the
// source; from then on the source stays stopped until it hears an ACK (it is
// done) or an ABORT (the destination vows it did not start). If it hears
// neither, Send returns *InDoubt and the source must stay stopped.
//
// Why no durable epoch yet: it fences a shared disk, which comes with the disks.
// COMMIT and ACK carry the field.
package stopped
