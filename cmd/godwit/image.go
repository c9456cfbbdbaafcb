package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"godwit/backend/disk"
	"godwit/control"
)

func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "image", GroupID: "Manage", Short: "make, convert and check disk images", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.imageCreate(), a.imageInfo(), a.imageConvert(), a.imageCheck(), a.imageResize(), a.imageCommit(), a.imageRebase())
	return c
}

// imageError says what went wrong with an image, and who else has it open. verb is what
// could not be done with it.
func imageError(verb, path string, err error) error {
	var locked *disk.LockedError
	what := "cannot " + verb + " " + path
	switch {
	case err == nil:
		return nil
	case errors.As(err, &locked):
		return control.Fail("busy", what, err.Error(), "godwit ls  to see whose it is")
	case errors.Is(err, disk.ErrUnsupported):
		return control.Fail("incompatible", what, err.Error(), "")
	case errors.Is(err, disk.ErrCorrupt) && verb != "check":
		return control.Fail("incompatible", what, err.Error(), "godwit image check "+path)
	case errors.Is(err, disk.ErrCorrupt):
		return control.Fail("incompatible", what, err.Error(), "another copy of the file")
	case errors.Is(err, os.ErrExist):
		return control.Fail("failed", what, err.Error(), "--overwrite")
	case errors.Is(err, context.Canceled):
		return control.Fail("cancelled", what, "interrupted", "")
	case errors.Is(err, os.ErrNotExist):
		return control.Fail("not-found", what, err.Error(), "")
	}
	return control.AsError(what, err)
}

// mayChange fails where snapshots rest on an image that is to be changed, if it is there.
func (a *app) mayChange(verb, path string) error {
	return a.home.Resting("cannot "+verb+" "+path, path, "")
}

// unused fails where an image that is to be read is being written.
func unused(verb, path string, shared bool, o disk.Options) error {
	if shared {
		return nil
	}
	err := disk.Unused(path, o)
	if e, ok := imageError(verb, path, err).(*control.Error); ok && e.Code == "busy" {
		e.Hint = "godwit suspend VM  first, or  --shared  to read what is there now"
		return e
	}
	return nil // whatever else it is, opening it tells
}

// imageProgress shows how far an operation is.
func (a *app) imageProgress(verb string) disk.Progress {
	if a.json {
		return nil
	}
	return control.ShowBytes(a.err, verb)
}

func imageSize(text string) (int64, error) {
	n, err := control.ParseBytes(text)
	if err == nil && n > 1<<62 {
		err = fmt.Errorf("at most 2^62 bytes")
	}
	if err != nil {
		return 0, control.Fail("usage", fmt.Sprintf("%q is not a size", text), err.Error(), "10G")
	}
	return int64(n), nil
}

func createFlags(c *cobra.Command, o *disk.CreateOptions, cluster *string) {
	f := c.Flags()
	f.StringVarP(&o.Format, "format", "f", disk.Qcow2, "raw or qcow2")
	f.StringVar(cluster, "cluster", "64K", "qcow2: size of clusters")
	f.IntVar(&o.Version, "version", 3, "qcow2: 2 or 3")
	f.StringVarP(&o.Backing, "backing", "b", "", "qcow2: image that it is over, relative to its folder")
	f.StringVar(&o.BackingFormat, "backing-format", "", "format of that image (default: as its first bytes say)")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace a file that is there")
}

func (a *app) imageCreate() *cobra.Command {
	var (
		o       disk.CreateOptions
		cluster string
	)
	c := &cobra.Command{
		Use: "create FILE [SIZE]", Short: "make an empty image", Args: cobra.RangeArgs(1, 2),
		Example: "  godwit image create disk.qcow2 10G\n  godwit image create disk.raw 10G -f raw\n  godwit image create over.qcow2 -b disk.qcow2",
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if len(args) == 1 && o.Backing == "" {
				return control.Fail("usage", "image create needs a size", "", "godwit image create "+args[0]+" 10G")
			}
			if len(args) == 2 {
				if o.Size, err = imageSize(args[1]); err != nil {
					return err
				}
			}
			if o.ClusterSize, err = imageSize(cluster); err != nil {
				return err
			}
			if err := a.mayChange("make", args[0]); o.Overwrite && err != nil {
				return err
			}
			if err := disk.Create(args[0], o); err != nil {
				return imageError("make", args[0], err)
			}
			return a.showImage(args[0], "")
		},
	}
	createFlags(c, &o, &cluster)
	return c
}

func (a *app) imageInfo() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "info FILE", Short: "describe an image", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.showImage(args[0], format) },
	}
	c.Flags().StringVarP(&format, "format", "f", "", "raw or qcow2 (default: as its first bytes say)")
	return c
}

func (a *app) showImage(path, format string) error {
	i, err := disk.Inspect(path, disk.Options{Format: format})
	if err != nil {
		return imageError("read", path, err)
	}
	return a.print(i, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s, disk of %d bytes, file of %d bytes\n", i.Path, i.Format, i.Size, i.FileSize)
		if i.Format == disk.Qcow2 {
			fmt.Fprintf(w, "  version %d, clusters of %d bytes, %s\n", i.Version, i.ClusterSize, i.Compression)
		}
		if i.Backing != "" {
			fmt.Fprintf(w, "  over %q (%s)\n", i.Backing, i.BackingFormat)
		}
		for _, s := range i.Snapshots {
			fmt.Fprintf(w, "  snapshot %q\n", s)
		}
		if i.Dirty {
			fmt.Fprintln(w, "  not closed by its last writer")
		}
		if i.Corrupt {
			fmt.Fprintln(w, "  corrupt")
		}
	})
}

func (a *app) imageConvert() *cobra.Command {
	var (
		o            disk.CreateOptions
		cluster, src string
		snapshot     string
		shared       bool
	)
	c := &cobra.Command{
		Use: "convert FROM TO", Short: "copy an image into another format, without its zeros", Args: cobra.ExactArgs(2),
		Example: "  godwit image convert disk.raw disk.qcow2\n  godwit image convert over.qcow2 flat.raw -f raw",
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if o.ClusterSize, err = imageSize(cluster); err != nil {
				return err
			}
			if err := a.mayChange("make", args[1]); o.Overwrite && err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			if snapshot == "" { // the clusters of one never change
				if err := unused("convert", args[0], shared, disk.Options{Format: src}); err != nil {
					return err
				}
			}
			from, err := disk.Open(args[0], disk.Options{Format: src, ReadOnly: true, Snapshot: snapshot})
			if err != nil {
				return imageError("convert", args[0], err)
			}
			err = disk.Convert(ctx, args[1], from, o, a.imageProgress("converting"))
			if err = errors.Join(err, from.Close()); err != nil {
				return imageError("convert", args[0], err)
			}
			return a.showImage(args[1], o.Format)
		},
	}
	createFlags(c, &o, &cluster)
	c.Flags().StringVar(&snapshot, "snapshot", "", "take FROM as it was at this internal snapshot")
	c.Flags().BoolVarP(&shared, "shared", "U", false, sharedHelp)
	c.Flags().StringVar(&src, "from-format", "", "format of FROM (default: as its first bytes say)")
	return c
}

const sharedHelp = "even if somebody is writing to it"

func (a *app) imageCheck() *cobra.Command {
	var repair, shared bool
	c := &cobra.Command{
		Use: "check FILE", Short: "count an image's leaks and corruptions", Args: cobra.ExactArgs(1),
		Long:    "Count an image's leaks and corruptions. Exit code 1: it has corruptions, or has them still after --repair.",
		Example: "  godwit image check disk.qcow2\n  godwit image check disk.qcow2 --repair\n  godwit image check disk.qcow2 --json",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := unused("check", args[0], shared, disk.Options{}); err != nil {
				return err
			}
			r, err := disk.Check(args[0], repair, disk.Options{})
			if err != nil {
				return imageError("check", args[0], err)
			}
			if r.Left > 0 {
				a.exit = control.ExitFailed
			}
			return a.print(r, func(w io.Writer) {
				for _, p := range r.Problems {
					fmt.Fprintln(w, p)
				}
				fmt.Fprintf(w, "%d clusters in use, %d leaks, %d corruptions, %d repaired\n", r.Clusters, r.Leaks, r.Corruptions, r.Repaired)
				if repair && r.Left > 0 {
					fmt.Fprintf(w, "%d corruptions are left: what is there is lost\n", r.Left)
				}
				if r.Marked {
					fmt.Fprintf(w, "marked as corrupt, can only be read;  godwit image check --repair  takes that back if nothing is\n")
				}
			})
		},
	}
	c.Flags().BoolVarP(&shared, "shared", "U", false, sharedHelp)
	c.Flags().BoolVar(&repair, "repair", false, "put the counts of clusters right")
	return c
}

func (a *app) imageResize() *cobra.Command {
	var (
		shrink bool
		format string
	)
	c := &cobra.Command{
		Use: "resize FILE SIZE", Short: "change the size of an image's disk", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := imageSize(args[1])
			if err != nil {
				return err
			}
			if err := a.mayChange("resize", args[0]); err != nil {
				return err
			}
			if err := disk.Resize(args[0], n, shrink, disk.Options{Format: format}); err != nil {
				return imageError("resize", args[0], err)
			}
			return a.showImage(args[0], format)
		},
	}
	c.Flags().BoolVar(&shrink, "shrink", false, "cut the end off if need be")
	c.Flags().StringVarP(&format, "format", "f", "", "raw or qcow2 (default: as its first bytes say)")
	return c
}

func (a *app) imageCommit() *cobra.Command {
	return &cobra.Command{
		Use: "commit FILE", Short: "write what an overlay holds to the image that it is over", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			if chain, err := disk.Chain(args[0], disk.Options{}); err == nil && len(chain) > 1 {
				if err := a.mayChange("commit to", chain[1]); err != nil {
					return err
				}
			}
			if err := disk.Commit(ctx, args[0], disk.Options{}, a.imageProgress("committing")); err != nil {
				return imageError("commit", args[0], err)
			}
			return a.showImage(args[0], "")
		},
	}
}

func (a *app) imageRebase() *cobra.Command {
	var o disk.RebaseOptions
	c := &cobra.Command{
		Use: "rebase FILE -b BACKING", Short: "put an image over another one, what it reads as staying the same", Args: cobra.ExactArgs(1),
		Example: "  godwit image rebase over.qcow2 -b base.qcow2\n  godwit image rebase over.qcow2 -b \"\"          # over nothing: it needs no other file\n" +
			"  godwit image rebase over.qcow2 -b moved.qcow2 -u   # the file below has another name now",
		RunE: func(c *cobra.Command, args []string) error {
			if !c.Flags().Changed("backing") {
				return control.Fail("usage", "image rebase needs to know over what", "", "godwit image rebase "+args[0]+" -b base.qcow2")
			}
			ctx, stop := interruptible()
			defer stop()
			if err := disk.Rebase(ctx, args[0], o, a.imageProgress("rebasing")); err != nil {
				return imageError("rebase", args[0], err)
			}
			return a.showImage(args[0], "")
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Backing, "backing", "b", "", "image that it is to be over, relative to its folder; \"\": none")
	f.StringVar(&o.BackingFormat, "backing-format", "", "format of that image (default: as its first bytes say)")
	f.BoolVarP(&o.Unsafe, "unsafe", "u", false, "change the name only, whatever the image reads as then")
	return c
}
