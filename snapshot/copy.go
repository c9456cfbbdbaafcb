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
	_, err = f.Copy(ctx, l, path, f.parent.parent, o)
	return err
}

// Copy writes the same machine, under the same id, into a file that builds on
// old, one of those that f builds on, or on nothing if that is nil.
func (f *File) Copy(ctx context.Context, l Layer, path string, old *File, o Options) (Stats, error) {
	secs, err := f.Sections()
	if err != nil {
		return Stats{}, err
	}
	o.Parent, o.Changed = old, f.changedSince(old)
	return Write(ctx, l, path, f.meta, secs, &filePages{f: f}, o)
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

// filePages is a snapshot's memory, for another file to be written from it.
type filePages struct {
	f   *File
	err error // the first thing that went wrong
}

func (s *filePages) Pages() uint32 { return s.f.meta.Pages }

func (s *filePages) Present(p uint32) bool { return s.Leaf(p) != zeroLeaf }

func (s *filePages) Read(p uint32, b *[PageSize]byte) { s.note(s.f.ReadPage(p, b)) }

func (s *filePages) Leaf(p uint32) [LeafSize]byte {
	leaf, err := s.f.Leaf(p)
	s.note(err)
	return leaf
}

func (s *filePages) Err() error { return s.err }

func (s *filePages) note(err error) {
	if s.err == nil {
		s.err = err
	}
}
