// Package snapshot holds the two formats every saved or moving machine is made
// of, and knows sections and pages, not devices:
//
//   - the state hash, frozen in docs/format/hash.md: a 16-byte leaf for each
//     4 KiB page, a sha256 for each group of 512 leaves, and one sha256 root over
//     the groups and the state sections;
//   - the snapshot file, docs/format/snapshot.md: superblock, sections, page
//     chunks, a two-level index that carries the whole hash tree, and a trailer
//     written last.
//
// Why the file's index carries the group digests: opening a file recomputes the
// root from the index alone, so a lazy restore knows the root it was promised
// before it has read a single page, and each page is checked against a leaf that
// the root covers.
//
// Bytes read from a file are hostile. Lengths are bounded before they are used,
// every byte is covered by a checksum that is compared before the byte is
// believed, and an error names the part that is wrong.
//
// An incremental snapshot leaves unchanged pages to its parent, a file beside it;
// it carries their leaves, so its root covers them all the same.
//
// Nothing is encrypted.
package snapshot
