package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "inspect [VM] WHAT | FILE", GroupID: "Look", Short: "look into a VM without touching it, or into a saved one",
		Long: `Look into a VM without touching it.

With the file of a saved machine, or the name of a suspended VM: what it holds, every byte of it and of the files that it
builds on having been checked. It ends with exit code 1 where something is not as it was written.`,
		Example: "  godwit inspect cpu\n  godwit inspect plover pt 0x400000\n  godwit inspect dev uart0\n  godwit inspect plover.gwsnap --json",
		Args:    cobra.ArbitraryArgs,
	}
	var vm, cpu string
	var phys bool
	c.PersistentFlags().StringVar(&vm, "vm", "", "the VM (default: the last one used)")
	c.PersistentFlags().StringVar(&cpu, "vcpu", "0", "the vCPU")
	c.PersistentFlags().BoolVar(&phys, "phys", false, "mem: by physical address")
	// The VM may come first, as the noun of every other verb does.
	c.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		var whats []string
		for _, sub := range c.Commands() {
			if len(args) > 1 && sub.Name() == args[1] {
				vm = args[0]
				if err := sub.Args(sub, args[2:]); err != nil {
					return err
				}
				return sub.RunE(sub, args[2:])
			}
			whats = append(whats, sub.Name())
		}
		what := args[len(args)-1]
		if len(args) == 1 && a.saved(what) {
			return a.inspectFile(what)
		}
		if _, err := a.home.Resolve(what); err == nil && len(args) == 1 {
			return control.Fail("usage", fmt.Sprintf("say what of %q to look at", what), "there are "+strings.Join(whats, ", "), "godwit inspect "+what+" cpu")
		}
		e := control.Fail("usage", fmt.Sprintf("inspect cannot show %q", what), "there are "+strings.Join(whats, ", "), "godwit inspect --help")
		if near := control.Nearest(what, whats); near != "" {
			e.Hint = "godwit inspect " + near
		}
		return e
	}
	c.ValidArgsFunction = a.completeInspect
	// look adds one thing to look at: params names the arguments, args is an
	// example of them.
	look := func(use, args, short string, min int, params []string, show func() (any, func(io.Writer))) {
		name, _, _ := strings.Cut(use, " ")
		example := strings.TrimSpace("godwit inspect " + name + " " + args)
		sub := &cobra.Command{Use: use, Short: short, Args: func(_ *cobra.Command, args []string) error {
			if len(args) < min || len(args) > len(params) {
				return control.Fail("usage", fmt.Sprintf("inspect %s has %d arguments", name, len(args)), "it is used as  inspect "+use, example)
			}
			return nil
		}}
		sub.Example = fmt.Sprintf("  %s\n  %s --json\n  godwit inspect plover %s", example, example, strings.TrimSpace(name+" "+args))
		sub.ValidArgsFunction = cobra.NoFileCompletions
		sub.RunE = func(_ *cobra.Command, args []string) error {
			q := url.Values{"cpu": {cpu}}
			for i, v := range args {
				q.Set(params[i], v)
			}
			if phys {
				q.Set("phys", "1")
			}
			return a.inspect(vm, name, q, show)
		}
		c.AddCommand(sub)
	}
	cpuView := func() (any, func(io.Writer)) { v := &control.CPUView{}; return v, v.Show }
	look("cpu", "", "a vCPU", 0, nil, cpuView)
	look("regs", "", "all of a vCPU's registers", 0, nil, cpuView)
	look("mem ADDR [LEN]", "0x100000 64", "memory by linear address", 1, []string{"addr", "len"},
		func() (any, func(io.Writer)) { v := &control.MemView{}; return v, v.Show })
	look("pt ADDR", "0x400000", "the page walk of a linear address", 1, []string{"addr"},
		func() (any, func(io.Writer)) { v := &control.WalkView{}; return v, v.Show })
	look("map", "", "who answers at which address and port", 0, nil,
		func() (any, func(io.Writer)) { v := &control.MapView{}; return v, v.Show })
	look("irq", "", "interrupt lines, controllers, and what is due", 0, nil,
		func() (any, func(io.Writer)) { v := &control.IRQView{}; return v, v.Show })
	look("dev [ID]", "uart0", "devices' registers", 0, []string{"id"}, func() (any, func(io.Writer)) {
		v := &[]control.DevView{}
		return v, func(w io.Writer) {
			for i := range *v {
				(*v)[i].Show(w)
			}
		}
	})
	look("hash", "", "count and state hash", 0, nil, func() (any, func(io.Writer)) {
		v := &control.HashView{}
		return v, func(w io.Writer) { fmt.Fprintf(w, "#%d %s\n", v.Count, v.Hash) }
	})
	return c
}

// completeInspect completes a VM or a file, and what to look at.
func (a *app) completeInspect(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		names, _ := a.names(c, args, word)
		return names, cobra.ShellCompDirectiveDefault // a file will do, too
	}
	var whats []string
	for _, sub := range c.Commands() {
		whats = append(whats, sub.Name())
	}
	return whats, cobra.ShellCompDirectiveNoFileComp
}

// saved tells that arg is a file, or a VM that is suspended in one.
func (a *app) saved(arg string) bool {
	if control.CheckName(arg) == nil && a.home.Look(arg).State == control.StateSuspended {
		return true
	}
	fi, err := os.Stat(arg)
	return err == nil && fi.Mode().IsRegular()
}

func (a *app) inspectFile(arg string) error {
	ctx, stop := interruptible()
	defer stop()
	v, err := a.home.InspectFile(ctx, arg)
	if err != nil {
		return err
	}
	return errors.Join(a.print(v, v.Show), v.Err())
}

func (a *app) inspect(vm, what string, q url.Values, show func() (any, func(io.Writer))) error {
	c, err := a.home.Connect(vm)
	if err != nil {
		return err
	}
	path := "/v1/inspect/" + what
	if what == "hash" {
		path = "/v1/hash"
	}
	v, text := show()
	if err := c.Get(c.Context(), path+"?"+q.Encode(), v); err != nil {
		return err
	}
	return a.print(v, text)
}
