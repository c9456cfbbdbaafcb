package migrate

import "fmt"

// Kind says how a page travels. The numbers never change meaning.
type Kind uint8

// Kinds of pages.
const (
	Zero     Kind = 0 // all zero
	Raw      Kind = 1 // its 4096 bytes
	Delta    Kind = 2 // reserved
	Lines    Kind = 3 // the 64-byte lines that changed since the pass before
	Dup      Kind = 4 // equal to a page sent earlier in the pass
	DiskRef  Kind = 5 // equal to a piece of a disk that has travelled
	Keep     Kind = 6 // the destination has it: unchanged, or from an earlier attempt
	ImageRef Kind = 7 // equal to a piece of an image that both sides have

	Kinds = 8 // how many
)

var kindNames = [Kinds]string{"zero", "raw", "delta", "lines", "dup", "diskref", "keep", "imageref"}

// String is the kind's name.
func (k Kind) String() string {
	if k < Kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
