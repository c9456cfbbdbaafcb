package disk

import (
	"fmt"
	"slices"
)

// extension is a header extension: its kind, and its bytes in the file, padded.
type extension struct {
	kind uint32
	at   int // in the first cluster
	b    []byte
}

// listExtensions splits the header extensions of a first cluster that readHeader took.
func listExtensions(first []byte, at, end int) (list []extension) {
	for at+8 <= end {
		kind, n := be.Uint32(first[at:]), int(be.Uint32(first[at+4:]))
		if kind == extEnd {
			break
		}
		next := min(at+8+(n+7)&^7, len(first))
		list = append(list, extension{kind, at, first[at:next]})
		at = next
	}
	return list
}

func encodeExtension(kind uint32, data string) []byte {
	b := be.AppendUint32(nil, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	return append(append(b, data...), make([]byte, (8-len(data)%8)%8)...)
}

// rename changes which file the image says that it is over, durably; "": none. That is
// one write within the first sector, which a crash leaves undone or done: a name that
// does not fit there is put where nothing points to yet.
func (q *qcow2) rename(name, format string) error {
	first := make([]byte, min(q.h.cluster(), 1<<16))
	if err := readZ(q.f, first, 0); err != nil {
		return err
	}
	head := headerV2
	if q.h.version == 3 {
		head = int(be.Uint32(first[hLength:]))
	}
	oldAt, oldLen := int(be.Uint64(first[hBackingOff:])), int(be.Uint32(first[hBackingLen:]))
	end := len(first)
	if oldAt != 0 && oldAt < end {
		end = oldAt
	}
	list := listExtensions(first, head, end)
	next, used, ok := arrange(first, list, head, name, format)
	if !ok { // names of features are for people
		list = slices.DeleteFunc(list, func(e extension) bool { return e.kind == extFeatures })
		if next, used, ok = arrange(first, list, head, name, format); !ok {
			return fmt.Errorf("header extensions leave no room for another backing file: %w", ErrUnsupported)
		}
	}
	at := 0
	switch {
	case name == "":
	case used+len(name) <= SectorSize:
		at = used
		copy(next[at:], name)
	default:
		if at = max(used, SectorSize); at < oldAt+oldLen && oldAt < at+len(name) {
			at = oldAt + oldLen
		}
		if at+len(name) > len(first) {
			return fmt.Errorf("backing file name of %d bytes does not fit the header's cluster of %d", len(name), q.h.cluster())
		}
		if err := writeAll(q.f, []byte(name), int64(at)); err != nil {
			return err
		}
		if err := q.f.Sync(); err != nil {
			return err
		}
	}
	be.PutUint64(next[hBackingOff:], uint64(at))
	be.PutUint32(next[hBackingLen:], uint32(len(name)))
	if err := writeAll(q.f, next, 0); err != nil {
		return err
	}
	q.h.backing, q.h.backingFmt = name, format
	return q.f.Sync()
}

// arrange makes the first sector of a header with these extensions and the format of a
// backing file, and tells where they end. It fails where one would have to move that
// does not lie in that sector.
func arrange(first []byte, list []extension, head int, name, format string) (sector []byte, end int, ok bool) {
	sector = slices.Clone(first[:SectorSize])
	clear(sector[head:])
	var all [][]byte
	if name != "" && format != "" {
		all = append(all, encodeExtension(extBackFmt, format))
	}
	at, moved := head, false
	if len(all) > 0 {
		at += len(all[0])
	}
	for _, e := range list {
		if e.kind != extBackFmt {
			all = append(all, e.b)
			moved = moved || e.at != at
			at += len(e.b)
		}
	}
	end = at + 8 // the last is the end's, zeros
	if end > SectorSize && moved || end > len(first) {
		return nil, 0, false
	}
	at = head
	for _, b := range all {
		if at < SectorSize {
			copy(sector[at:], b)
		}
		at += len(b)
	}
	return sector, end, true
}
