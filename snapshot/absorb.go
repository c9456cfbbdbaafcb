package snapshot

import "context"

// Absorb rewrites the snapshot at path so that it builds on its grandparent, or on
// nothing, instead of on its parent, which the caller may then remove. It keeps
// its id and all it says; at every moment path holds a whole snapshot.
func Absorb(ctx context.Context, l Layer, path string, o Options) error {
	f, err := Open(l, path)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.parent == nil {
		return nil
	}
	o.Parent, o.Changed = f.parent.parent, f.changedSince(f.parent.parent)
	_, err = Write(ctx, l, path, f.meta, f.Sections(), f.AsPages(), o)
	return err
}

// changedSince tells of which pages f's content is not known to be that of old, a
// file of its chain. What cannot be read counts as changed: to read it then fails.
func (f *File) changedSince(old *File) func(p uint32) bool {
	return func(p uint32) bool {
		h, err := f.Holder(p)
		if err != nil {
			return true
		}
		if h == nil { // zero now
			leaf, err := old.Leaf(p)
			return err != nil || leaf != zeroLeaf
		}
		for o := old; o != nil; o = o.parent {
			if h == o {
				return false
			}
		}
		return true
	}
}
