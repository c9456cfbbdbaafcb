package control

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit/machine"
	"godwit/snapshot"
)

// FileView is what a saved machine's file holds.
type FileView struct {
	File    string         `json:"file"`
	Bytes   int64          `json:"bytes"`
	ID      snapshot.UUID  `json:"id"`
	Parent  snapshot.UUID  `json:"parent"` // what it builds on; zero: nothing
	Depth   int            `json:"depth"`  // files it is spread over
	Created int64          `json:"created"`
	Count   uint64         `json:"count"`
	GuestNS int64          `json:"guest_ns"`
	Root    string         `json:"root"` // state hash
	Machine machine.Config `json:"machine"`
	*snapshot.Contents
	Faults []string `json:"faults"` // what is wrong with it; it was read to its end
}

// InspectFile looks at the file of a saved machine, or of a suspended VM, and checks
// every byte of it and of those that it builds on.
func (h Home) InspectFile(ctx context.Context, arg string) (*FileView, error) {
	var s Spec
	if err := h.ToResume(&s, arg); err != nil {
		return nil, err
	}
	what := "cannot inspect " + s.Resume
	f, err := snapshot.Open(snapshot.Disk{}, s.Resume)
	if err != nil {
		return nil, AsError(what, err)
	}
	defer f.Close()
	fi, err := os.Stat(s.Resume)
	if err != nil {
		return nil, AsError(what, err)
	}
	m, root := f.Meta(), f.Root()
	v := &FileView{
		File: s.Resume, Bytes: fi.Size(), ID: m.UUID, Parent: m.Parent, Depth: f.Depth(), Created: m.Created, Count: m.Count,
		Root: hex.EncodeToString(root[:]), Faults: []string{},
	}
	if v.Machine, err = machine.ConfigIn(f.Small()); err == nil {
		v.GuestNS, err = machine.TimeIn(f.Small())
	}
	if err != nil {
		return nil, AsError(what, err)
	}
	var bad *snapshot.Altered
	if v.Contents, err = f.Contents(ctx); errors.As(err, &bad) {
		v.Contents, err = &snapshot.Contents{}, nil // Verify says what is wrong
	}
	if err != nil {
		return nil, AsError(what, err)
	}
	if err := f.Verify(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, AsError(what, ctx.Err())
		}
		v.Faults = strings.Split(err.Error(), "\n")
	}
	return v, nil
}

// Err is an error where the file is not as it was written.
func (v *FileView) Err() error {
	if len(v.Faults) == 0 {
		return nil
	}
	why := v.Faults[0]
	if n := len(v.Faults) - 1; n > 0 {
		why += fmt.Sprintf(", and %d more", n)
	}
	return Fail("altered", v.File+" is damaged", why, "")
}

// Show tells of a file.
func (v *FileView) Show(w io.Writer) {
	c := &v.Machine
	fmt.Fprintf(w, "%s  %s\n", v.File, bytesSent(uint64(v.Bytes)))
	fmt.Fprintf(w, "machine  %s, %d vCPUs, %d MiB, %s clock; saved %s, at #%d, %.3f s of guest time\n",
		c.CPU, c.CPUs, c.Memory>>20, c.Clock, time.Unix(0, v.Created).Format(time.DateTime), v.Count, float64(v.GuestNS)/1e9)
	fmt.Fprintf(w, "hash     %s\n", v.Root)
	fmt.Fprintf(w, "id       %s", v.ID)
	if v.Parent != (snapshot.UUID{}) {
		fmt.Fprintf(w, ", builds on %s, spread over %d files", v.Parent, v.Depth)
	}
	fmt.Fprintln(w)
	p := &v.Pages
	fmt.Fprintf(w, "memory   %d pages: %d zero, %d stored (%d of them twice), %d left to the parent\n", p.Total, p.Zero, p.Stored, p.Dup, p.Inherited)
	for _, k := range v.Chunks {
		fmt.Fprintf(w, "  %-6s %d chunks, %d pages in %s\n", k.Codec, k.Chunks, k.Pages, bytesSent(k.Bytes))
	}
	fmt.Fprintf(w, "index    %d bytes\n", v.Index)
	for _, d := range c.Disks {
		fmt.Fprintf(w, "disk     %s, %d bytes: %s\n", d.ID, d.Size, d.File)
	}
	for _, s := range v.Sections {
		note := fmt.Sprintf("in %d, %s", s.Stored, s.Codec)
		if s.Inherited {
			note = "the parent's"
		}
		if s.State {
			note += ", state"
		}
		fmt.Fprintf(w, "section  %s: %d bytes (%s)\n", s.Name, s.Bytes, note)
	}
	if len(v.Faults) == 0 {
		fmt.Fprintln(w, "all of it is as it was written")
	}
	for _, f := range v.Faults {
		fmt.Fprintln(w, "damaged: "+f)
	}
}
