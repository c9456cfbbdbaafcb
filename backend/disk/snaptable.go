package disk

import "fmt"

// snapshot is an internal snapshot [QEMU interop/qcow2 "Snapshots"].
type snapshot struct {
	id, name string
	l1Off    int64
	l1Size   int
}

// maxSnapTable bounds the table of snapshots, in bytes.
const maxSnapTable = 16 << 20

// snapshotTable reads the table of internal snapshots and tells where it ends.
func (q *qcow2) snapshotTable() (list []snapshot, end int64, err error) {
	at := q.h.snapOff
	for i := range q.h.snapshots {
		b := make([]byte, 40)
		if err := readZ(q.f, b, at); err != nil {
			return nil, 0, err
		}
		s := snapshot{l1Off: int64(be.Uint64(b)), l1Size: int(be.Uint32(b[8:]))}
		idLen, nameLen, extra := int64(be.Uint16(b[12:])), int64(be.Uint16(b[14:])), int64(be.Uint32(b[36:]))
		if s.l1Off < 0 || s.l1Off&(q.h.cluster()-1) != 0 || s.l1Size > maxL1/8 || extra > 1024 {
			return nil, 0, fmt.Errorf("snapshot %d: l1 table of %d entries at %#x: %w", i, s.l1Size, s.l1Off, ErrCorrupt)
		}
		text := make([]byte, idLen+nameLen)
		if err := readZ(q.f, text, at+40+extra); err != nil {
			return nil, 0, err
		}
		s.id, s.name = string(text[:idLen]), string(text[idLen:])
		list = append(list, s)
		at += (40 + extra + idLen + nameLen + 7) &^ 7
		if at-q.h.snapOff > maxSnapTable {
			return nil, 0, fmt.Errorf("snapshot table of more than %d bytes: %w", maxSnapTable, ErrCorrupt)
		}
	}
	return list, at, nil
}
