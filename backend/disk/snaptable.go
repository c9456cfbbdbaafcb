package disk

import "fmt"

// snapshot is an internal snapshot [QEMU interop/qcow2 "Snapshots"].
type snapshot struct {
	id, name string
	l1Off    int64
	l1Size   int
	size     int64 // of the disk; 0: as now
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
		if extra >= 16 {
			if err := readZ(q.f, b[:8], at+40+8); err != nil {
				return nil, 0, err
			}
			if s.size = int64(be.Uint64(b)); s.size < 0 || s.size > 1<<62 {
				return nil, 0, fmt.Errorf("snapshot %d: disk of %d bytes: %w", i, s.size, ErrCorrupt)
			}
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

// goBack shows the disk as it was at an internal snapshot, named by its name or its
// id, to be read.
func (q *qcow2) goBack(name string) error {
	list, _, err := q.snapshotTable()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(list))
	for _, s := range list {
		if s.name != name && s.id != name {
			names = append(names, s.name)
			continue
		}
		if s.size != 0 {
			q.h.size = s.size
		}
		if int64(s.l1Size) < q.h.l1For(q.h.size) {
			return fmt.Errorf("snapshot %q: l1 table of %d entries for %d bytes: %w", name, s.l1Size, q.h.size, ErrCorrupt)
		}
		q.l1, err = q.readL1(s.l1Off, s.l1Size)
		return err
	}
	return fmt.Errorf("no snapshot %q, there are %q", name, names)
}
