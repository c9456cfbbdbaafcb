package migrate

import "fmt"

// A page list is the payload of HAVE, PROMISE, ABSENT and MISSING: which pages,
// and for each something of fixed size.
const (
	listHead     = 8
	maxListPages = 8192
	sumSize      = DigestSize // HAVE: sha256 of the page
)

// list is a page list being built.
type list struct {
	runs []run
	n    uint32
	data []byte
}

func (l *list) add(p uint32, data []byte) {
	l.runs = addPage(l.runs, p)
	l.data = append(l.data, data...)
	l.n++
}

func (l *list) full() bool { return l.n == maxListPages }

func (l *list) payload() []byte {
	b := le.AppendUint32(nil, l.n)
	b = le.AppendUint32(b, uint32(len(l.runs)))
	b = append(appendRuns(b, l.runs), l.data...)
	l.runs, l.n, l.data = l.runs[:0], 0, l.data[:0]
	return b
}

// eachListed takes a hostile page list apart.
func eachListed(payload []byte, size int, pages uint32, do func(p uint32, data []byte)) error {
	if len(payload) < listHead {
		return fmt.Errorf("page list of %d bytes, at least %d", len(payload), listHead)
	}
	count, n := le.Uint32(payload), le.Uint32(payload[4:])
	if count > maxListPages || n > count {
		return fmt.Errorf("page list of %d pages in %d runs, at most %d", count, n, maxListPages)
	}
	runs, rest, err := decodeRuns(nil, payload[listHead:], int(n), count, pages)
	if err != nil {
		return err
	}
	if len(rest) != int(count)*size {
		return fmt.Errorf("page list has %d bytes for %d pages, want %d each", len(rest), count, size)
	}
	for _, r := range runs {
		for p := r.first; p < r.first+r.count; p++ {
			do(p, rest[:size])
			rest = rest[size:]
		}
	}
	return nil
}
