package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/guest"
)

func (a *app) guestCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "guest", GroupID: "Run", Short: "make guests of a distribution's packages", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.guestDebianCommand())
	return c
}

func (a *app) guestDebianCommand() *cobra.Command {
	var o guest.Options
	c := &cobra.Command{
		Use: "debian DIR", Short: "make DIR/vmlinuz and DIR/initrd.img of Debian's kernel and busybox",
		Long: `Make DIR/vmlinuz and DIR/initrd.img of Debian's kernel and busybox.

Packages come through apt where there is one, which checks the archive's signatures. Elsewhere they come from a mirror, down from a
Release file whose sha256 you give (or waive with --trust-mirror), or from files. Downloads are kept in $GODWIT_HOME/cache/guests.

With --package, the guest's root holds the files of more packages: documentation is left out, and their scripts are not run.

The guest's /init loads the modules, runs godwit.run=CMD of the kernel's command line, prints GUEST-OK marks, and powers off;
without a command it starts a shell. godwit.then=poweroff|shell|reboot|halt|panic says what comes after.`,
		Example: "  godwit guest debian DIR\n  godwit guest debian DIR --add ./prog --module virtio_blk,vsock\n" +
			"  godwit guest debian DIR --package gcc,python3-minimal\n  godwit guest debian DIR --arch i386 --kernel linux-image-686\n" +
			"  godwit guest debian DIR --mirror http://MIRROR/debian --release-sha256 HASH\n" +
			"  godwit guest debian DIR --deb linux-image.deb --deb busybox-static.deb",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return control.Fail("usage", "guest debian needs the folder to write to", "", "godwit guest debian DIR")
			}
			o.Dir = args[0]
			if !c.Flags().Changed("module") {
				o.Modules = nil
			}
			return a.makeDebian(o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Suite, "suite", guest.DefaultSuite, "Debian release")
	f.StringVar(&o.Arch, "arch", guest.DefaultArch, "architecture: amd64 or i386")
	f.StringVar(&o.Kernel, "kernel", "", "kernel package or metapackage (default: what linux-image-cloud-amd64 or -686-pae depends on)")
	f.StringSliceVar(&o.Modules, "module", nil, "kernel modules to load, with what they need; empty for none (default: "+
		strings.Join(guest.DefaultModules, ",")+" as far as there are any)")
	f.StringSliceVar(&o.Install, "package", nil, "package to unpack in the guest, with all that it depends on; needs apt")
	f.StringSliceVar(&o.Omit, "omit", nil, "names of files of these packages to leave out: '*.a'")
	f.StringArrayVar(&o.Add, "add", nil, "static program to put in the guest's /bin")
	f.StringVar(&o.Init, "init", "", "program to be the guest's /init")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "take packages from this archive; twice to add that of security updates")
	f.StringArrayVar(&o.ReleaseSHA256, "release-sha256", nil, "hash of dists/SUITE/Release, one for each mirror")
	f.BoolVar(&o.TrustMirror, "trust-mirror", false, "take the mirror's Release file as it is")
	f.StringArrayVar(&o.Debs, "deb", nil, "take packages from files: the kernel's and busybox-static's")
	return c
}

func (a *app) makeDebian(o guest.Options) error {
	o.Cache = filepath.Join(string(a.home), "cache", "guests")
	ctx, stop := interruptible()
	defer stop()
	r, err := guest.Debian(ctx, o)
	if err != nil {
		return guestError("cannot make a guest in "+o.Dir, err)
	}
	return a.print(r, func(w io.Writer) {
		for _, p := range r.Packages {
			fmt.Fprintf(w, "%s %s  sha256 %s  (%s)\n", p.Name, p.Version, p.SHA256[:16], p.From)
		}
		if len(r.Modules) > 0 {
			fmt.Fprintf(w, "modules %s\n", strings.Join(r.Modules, " "))
		}
		state := "made"
		if r.Unchanged {
			state = "unchanged"
		}
		fmt.Fprintf(w, "%s %s: %d bytes, %s: %d bytes.  godwit run %s\n",
			state, r.Kernel.Path, r.Kernel.Bytes, r.Initrd.Path, r.Initrd.Bytes, o.Dir)
	})
}

// guestError makes a guest's error one of ours.
func guestError(what string, err error) error {
	var g *guest.Error
	if !errors.As(err, &g) {
		return control.AsError(what, err)
	}
	e := control.Fail(g.Code, g.What, g.Why, g.Hint)
	e.Field, e.Have, e.Want = g.Field, g.Have, g.Want
	return e
}
