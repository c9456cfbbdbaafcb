package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) snapCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "snap", GroupID: "Save", Short: "take snapshots of a running VM, and go back to them",
		Long: `A VM's snapshots are a tree of its pasts. Taking one hardly stops the guest: memory is written
behind it, and only what changed since the snapshot before.`,
		Example: "  godwit snap take plover at-login -m 'before the upgrade'\n  godwit snap tree\n  godwit snap restore at-login",
	}
	c.AddCommand(a.snapTake(), a.snapTree(), a.snapShow(), a.snapDiff(), a.snapRestore(), a.snapFork(),
		a.snapRemove(), a.snapExport(), a.snapImport(), a.snapGC())
	return c
}

// which takes a VM's name off arguments of which want are no names.
func (a *app) which(args []string, want int) (string, []string, error) {
	name := ""
	if len(args) > want {
		name, args = args[0], args[1:]
	}
	name, err := a.home.Resolve(name)
	return name, args, err
}

func (a *app) snapTake() *cobra.Command {
	var q control.SnapRequest
	c := &cobra.Command{
		Use: "take [VM] [TAG]", Short: "take a snapshot",
		Long:              "Take a snapshot. One argument is a TAG, unless a VM is called that. Without a TAG it is called s1, s2, ...",
		Example:           "  godwit snap take\n  godwit snap take plover at-login -m 'all is well'\n  godwit snap take --paused",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			var vm []string
			switch {
			case len(args) == 2:
				vm, q.Tag = args[:1], args[1]
			case len(args) == 1 && a.isVM(args[0]):
				vm = args
			case len(args) == 1:
				q.Tag = args[0]
			}
			c, err := a.vm(vm)
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			o, err := c.Begin(ctx, "/v1/snap", &q, a.progress())
			if err != nil {
				return err
			}
			return a.print(o.Snap, func(w io.Writer) { o.Snap.Show(w, c.Name()) })
		},
	}
	c.Flags().StringVarP(&q.Message, "message", "m", "", "what to remember of it")
	c.Flags().BoolVar(&q.Paused, "paused", false, "let the guest stand still until all is written")
	c.Flags().StringVar(&q.Disks, "disk-delta", "cow", "what is kept of disks: cow, a layer that others build on; full, a copy; reflink, a copy that shares blocks")
	return c
}

func (a *app) isVM(name string) bool {
	_, err := a.home.Resolve(name)
	return err == nil
}

func (a *app) snapTree() *cobra.Command {
	return &cobra.Command{
		Use: "tree [VM]", Short: "draw a VM's snapshots",
		Example:           "  godwit snap tree\n  godwit snap tree plover\n  godwit snap tree --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			name, _, err := a.which(args, 0)
			if err != nil {
				return err
			}
			t, err := a.home.Snaps(name)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"vm": name, "head": t.Head(), "snapshots": t.Nodes()},
				func(w io.Writer) { control.WriteTree(w, t) })
		},
	}
}

func (a *app) snapShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [VM] TAG", Short: "tell of one snapshot",
		Example: "  godwit snap show at-login\n  godwit snap show plover at-login\n  godwit snap show s1 --json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 1)
			if err != nil {
				return err
			}
			t, n, err := a.home.Snap(name, args[0])
			if err != nil {
				return err
			}
			v, err := control.ShowSnap(t, n)
			if err != nil {
				return err
			}
			return a.print(v, v.Show)
		},
	}
}

func (a *app) snapDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff [VM] TAG TAG", Short: "compare two snapshots",
		Example: "  godwit snap diff s1 s2\n  godwit snap diff plover s1 s2\n  godwit snap diff s1 s2 --json",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 2)
			if err != nil {
				return err
			}
			t, x, err := a.home.Snap(name, args[0])
			if err != nil {
				return err
			}
			_, y, err := a.home.Snap(name, args[1])
			if err != nil {
				return err
			}
			d, err := control.DiffSnaps(t, x, y)
			if err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) {
				fmt.Fprintf(w, "%d pages differ\n", d.Pages)
				for _, r := range d.Runs {
					fmt.Fprintf(w, "  page %d, %d pages\n", r.First, r.Count)
				}
				fmt.Fprintf(w, "%d sections differ\n", len(d.Sections))
				for _, s := range d.Sections {
					fmt.Fprintln(w, "  "+s)
				}
			})
		},
	}
}

func (a *app) snapRestore() *cobra.Command {
	var r resumeFlags
	var force bool
	c := &cobra.Command{
		Use: "restore [VM] TAG", Short: "go back to a snapshot",
		Long:    "Go back to a snapshot. A running VM stays running, at the snapshot; what it did since is lost unless there is a snapshot of it.",
		Example: "  godwit snap restore at-login\n  godwit snap restore plover at-login\n  godwit snap restore s1 -d",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 1)
			if err != nil {
				return err
			}
			if !a.home.Alive(name) {
				s, err := r.spec()
				if err != nil {
					return err
				}
				if err := a.home.ToRestore(s, name, args[0], force); err != nil {
					return err
				}
				return a.start(s, &r.limits)
			}
			ctx, stop := interruptible()
			defer stop()
			o, err := a.home.Client(name).Begin(ctx, "/v1/snap/restore", map[string]string{"tag": args[0]}, a.progress())
			if err != nil {
				return err
			}
			return a.print(o.Snap.Node, func(w io.Writer) { fmt.Fprintf(w, "%s is at %s, #%d\n", name, o.Snap.Tag, o.Snap.Count) })
		},
	}
	r.register(c)
	c.Flags().BoolVar(&force, "force", false, "even if the VM is suspended, and throw that away")
	return c
}

func (a *app) snapFork() *cobra.Command {
	var r resumeFlags
	c := &cobra.Command{
		Use: "fork [VM] TAG", Short: "begin a second VM with a snapshot",
		Long:    "Begin a second VM with a snapshot. It shares the snapshot's files, and is told that it is another machine: its random numbers are its own.",
		Example: "  godwit snap fork at-login -n plover-2\n  godwit snap fork plover at-login -d\n  godwit snap fork s1 --paused -d",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 1)
			if err != nil {
				return err
			}
			s, err := r.spec()
			if err != nil {
				return err
			}
			if err := a.home.ToFork(s, name, args[0]); err != nil {
				return err
			}
			return a.start(s, &r.limits)
		},
	}
	r.register(c)
	return c
}

// changeSnaps changes a VM's tree and tells what that did.
func (a *app) changeSnaps(name string, q control.SnapChange, text func(io.Writer, control.SnapChanged)) error {
	ctx, stop := interruptible()
	defer stop()
	res, err := a.home.ChangeSnaps(ctx, name, q)
	if err != nil {
		return err
	}
	return a.print(res, func(w io.Writer) { text(w, res) })
}

func (a *app) snapRemove() *cobra.Command {
	var tree bool
	c := &cobra.Command{
		Use: "rm [VM] TAG", Short: "remove a snapshot",
		Long:    "Remove a snapshot. What descends from it stays, and takes over what it needs, also of disks, while the VM runs.",
		Example: "  godwit snap rm s1\n  godwit snap rm plover s1\n  godwit snap rm --tree s1",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 1)
			if err != nil {
				return err
			}
			return a.changeSnaps(name, control.SnapChange{Remove: args[0], Tree: tree}, func(w io.Writer, r control.SnapChanged) {
				fmt.Fprintf(w, "removed %s\n", strings.Join(r.Removed, ", "))
				unmerged(w, r)
			})
		},
	}
	c.Flags().BoolVar(&tree, "tree", false, "and all that descends from it")
	return c
}

// unmerged says which layers of disks could not be merged.
func unmerged(w io.Writer, r control.SnapChanged) {
	if r.Left != "" {
		fmt.Fprintf(w, "%s;  once that is mended,  godwit snap gc\n", r.Left)
	}
}

func (a *app) snapExport() *cobra.Command {
	return &cobra.Command{
		Use: "export [VM] TAG FILE", Short: "write a snapshot into one file, and one for each disk",
		Long:    "Write a snapshot into a file that needs no other, and each disk that it may write into FILE.DISK.qcow2, as it was then.",
		Example: "  godwit snap export s1 plover.gwsnap\n  godwit snap export plover s1 plover.gwsnap\n  godwit resume plover.gwsnap",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 2)
			if err != nil {
				return err
			}
			q := control.SnapChange{Export: args[1], Tag: args[0]}
			return a.changeSnaps(name, q, func(w io.Writer, r control.SnapChanged) {
				fmt.Fprintf(w, "%s: %d bytes.  godwit resume %s", args[1], r.Exported.Bytes, args[1])
				for _, d := range r.Exported.Disks {
					fmt.Fprintf(w, " --disk %s=%s", d.ID, args[1]+strings.TrimPrefix(d.File, r.Exported.File))
				}
				fmt.Fprintln(w)
			})
		},
	}
}

func (a *app) snapImport() *cobra.Command {
	var message string
	c := &cobra.Command{
		Use: "import [VM] FILE TAG", Short: "add a snapshot from a file",
		Long:    "Add a copy of a snapshot that is in a file, and of its disks where they were exported with it, as FILE.DISK.qcow2.",
		Example: "  godwit snap import plover.gwsnap far\n  godwit snap import plover copy.gwsnap far\n  godwit snap restore far",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			name, args, err := a.which(args, 2)
			if err != nil {
				return err
			}
			q := control.SnapChange{Import: args[0], Tag: args[1], Message: message}
			return a.changeSnaps(name, q, func(w io.Writer, r control.SnapChanged) {
				fmt.Fprintf(w, "%s is now %s of %s\n", args[0], r.Imported.Tag, name)
			})
		},
	}
	c.Flags().StringVarP(&message, "message", "m", "", "what to remember of it")
	return c
}

func (a *app) snapGC() *cobra.Command {
	return &cobra.Command{
		Use: "gc [VM]", Short: "remove files that no snapshot needs",
		Example:           "  godwit snap gc\n  godwit snap gc plover\n  godwit snap gc --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			name, _, err := a.which(args, 0)
			if err != nil {
				return err
			}
			return a.changeSnaps(name, control.SnapChange{GC: true}, func(w io.Writer, r control.SnapChanged) {
				fmt.Fprintf(w, "removed %d files\n", len(r.Files))
				unmerged(w, r)
			})
		},
	}
}
