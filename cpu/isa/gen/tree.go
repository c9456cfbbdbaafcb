package main

import (
	"fmt"
	"slices"
)

const numMaps = 7

// trees are the decision trees of all opcodes. A node packs, from bit 0: a row
// number or the first child's index (16 bits), the shift of the key field that
// picks the child (8 bits), the field's mask (0 in a leaf). Bit 31 of a root
// says that a ModRM byte follows.
type trees struct {
	roots [numMaps][256]uint32
	nodes []uint32
	seen  map[string]int // children already emitted, by content
}

const hasModRM = 1 << 31

// fieldOrder is the order in which the trees look at the fields.
var fieldOrder = []int{fieldPfx, fieldMod, fieldReg, fieldRM, fieldMode, fieldW, fieldL, fieldB}

func buildTrees(rows []*row) (*trees, error) {
	t := &trees{seen: map[string]int{}}
	var by [numMaps][256][]int // row numbers start at 1: row 0 means none
	for i, r := range rows {
		for op := r.first; op < r.first+r.count; op++ {
			by[r.maps][op] = append(by[r.maps][op], i+1)
		}
	}
	for m := range by {
		for op, cands := range by[m] {
			root, err := t.root(rows, cands)
			if err != nil {
				return nil, fmt.Errorf("map %d opcode %02X: %w", m, op, err)
			}
			t.roots[m][op] = root
		}
	}
	return t, nil
}

func (t *trees) root(rows []*row, cands []int) (uint32, error) {
	if len(cands) == 0 {
		return 0, nil
	}
	modrm := rows[cands[0]-1].modrm
	for _, c := range cands {
		if rows[c-1].modrm != modrm {
			return 0, fmt.Errorf("line %d disagrees about the ModRM byte", rows[c-1].line)
		}
	}
	n, err := t.build(rows, cands, 0)
	if modrm {
		n |= hasModRM
	}
	return n, err
}

// build returns the node that tells cands apart, by fieldOrder[from:].
func (t *trees) build(rows []*row, cands []int, from int) (uint32, error) {
	for i := from; i < len(fieldOrder) && len(cands) > 0; i++ {
		f := fieldOrder[i]
		full := uint16(1)<<fieldSize[f] - 1
		if !slices.ContainsFunc(cands, func(c int) bool { return rows[c-1].sets[f] != full }) {
			continue
		}
		return t.split(rows, cands, i)
	}
	return pick(rows, cands)
}

func (t *trees) split(rows []*row, cands []int, i int) (uint32, error) {
	f := fieldOrder[i]
	kids := make([]uint32, fieldSize[f])
	for v := range kids {
		var some []int
		for _, c := range cands {
			if rows[c-1].sets[f]>>v&1 != 0 {
				some = append(some, c)
			}
		}
		n, err := t.build(rows, some, i+1)
		if err != nil {
			return 0, err
		}
		kids[v] = n
	}
	key := fmt.Sprint(kids)
	at, ok := t.seen[key]
	if !ok {
		at = len(t.nodes)
		t.nodes = append(t.nodes, kids...)
		t.seen[key] = at
	}
	if at > 0xffff {
		return 0, fmt.Errorf("trees have more than 65536 nodes")
	}
	return uint32(at) | uint32(fieldShift[f])<<16 | uint32(fieldSize[f]-1)<<24, nil
}

// pick returns the leaf of the one row that is left, or of the one that names
// the most prefixes.
func pick(rows []*row, cands []int) (uint32, error) {
	if len(cands) == 0 {
		return 0, nil
	}
	best := cands[0]
	for _, c := range cands[1:] {
		if rows[c-1].marked > rows[best-1].marked {
			best = c
		}
	}
	for _, c := range cands {
		if c != best && rows[c-1].marked == rows[best-1].marked {
			return 0, fmt.Errorf("lines %d and %d overlap", rows[best-1].line, rows[c-1].line)
		}
	}
	return uint32(best), nil
}

// fallbacks finds, for each row with that attribute, the row that acts when the
// feature is missing: the same opcode without the prefix; 0 is none.
func fallbacks(rows []*row) [][2]int {
	var out [][2]int
	for i, r := range rows {
		if !r.has("fallback") {
			continue
		}
		for j, o := range rows {
			if o.maps == r.maps && o.first == r.first && o.sets[fieldPfx] == 0xf {
				out = append(out, [2]int{i + 1, j + 1})
			}
		}
	}
	return out
}
