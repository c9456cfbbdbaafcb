// Package rehearse moves copies of a running VM by every strategy, in virtual time:
// the machines, the engines and the protocol are those of a real migration, the link
// is modelled. The VM itself stands still only while it is copied. Its disks are copied
// too, and each machine has overlays over the copies, which change hands.
package rehearse
