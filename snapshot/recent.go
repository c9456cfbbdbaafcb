package snapshot

// recentPages is how many stored pages of a group are compared with the next.
const recentPages = 64

// recent finds pages that repeat within a group: buffers filled alike, copies
// that a guest has just made. Farther repetition is rare in guests, and to confirm
// it would need the other page's content again; within a chunk the codec finds it.
type recent struct {
	page [recentPages][PageSize]byte
	at   [recentPages]recentPage
	n    int // of them in use
	next int
}

type recentPage struct {
	leaf  [LeafSize]byte
	chunk uint16
	slot  uint8
}

// nextBlock forgets: chunks are numbered by group.
func (r *recent) nextBlock() { r.n, r.next = 0, 0 }

// find looks for a page of that content. Equal hashes alone prove nothing.
func (r *recent) find(leaf [LeafSize]byte, b *[PageSize]byte) (chunk uint16, slot uint8, ok bool) {
	for i := range r.n {
		if e := &r.at[i]; e.leaf == leaf && r.page[i] == *b {
			return e.chunk, e.slot, true
		}
	}
	return 0, 0, false
}

func (r *recent) add(leaf [LeafSize]byte, b *[PageSize]byte, chunk uint16, slot uint8) {
	r.page[r.next], r.at[r.next] = *b, recentPage{leaf, chunk, slot}
	r.n = max(r.n, r.next+1)
	r.next = (r.next + 1) % recentPages
}
