// Package sim runs both sides of a migration and the link between them in one
// process and in virtual time: the engines of package migrate as they are, a
// guest that runs a known program, and a network that is slow, far, lossy, cut,
// or loses one of the two hosts. A run depends on its Scenario alone, so it can
// be repeated exactly.
package sim
