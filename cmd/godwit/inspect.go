package main

import (
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "inspect [VM] WHAT", GroupID: "Look", Short: "look into a VM without touching it",
		Example: "  godwit inspect cpu\n  godwit inspect plover pt 0x400000\n  godwit inspect dev uart0",
		Args:    cobra.ArbitraryArgs,
	}
	var vm, cpu string
	var phys bool
	c.PersistentFlags().StringVar(&vm, "vm", "", "the VM (default: the last one used)")
	c.PersistentFlags().StringVar(&cpu, "vcpu", "0", "the vCPU")
	c.PersistentFlags().BoolVar(&phys, "phys", false, "mem: by physical address")
	// The VM may come first, as the noun of every other verb does.
	c.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) < 2 {
			return c.Help()
		}
		for _, sub := range c.Commands() {
			if sub.Name() == args[1] {
				vm = args[0]
				if err := sub.Args(sub, args[2:]); err != nil {
					return err
				}
				return sub.RunE(sub, args[2:])
			}
		}
		return control.Fail("usage", fmt.Sprintf("inspect cannot show %q", args[1]), "", "godwit inspect --help")
	}
	// look adds one thing to look at: params names the arguments.
	look := func(use, short string, min int, params []string, show func() (any, func(io.Writer))) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, Args: cobra.RangeArgs(min, len(params))}
		sub.RunE = func(_ *cobra.Command, args []string) error {
			q := url.Values{"cpu": {cpu}}
			for i, v := range args {
				q.Set(params[i], v)
			}
			if phys {
				q.Set("phys", "1")
			}
			return a.inspect(vm, sub.Name(), q, show)
		}
		c.AddCommand(sub)
		return sub
	}
	cpuView := func() (any, func(io.Writer)) { v := &control.CPUView{}; return v, v.Show }
	look("cpu", "a vCPU", 0, nil, cpuView)
	look("regs", "all of a vCPU's registers", 0, nil, cpuView)
	look("mem ADDR [LEN]", "memory by linear address", 1, []string{"addr", "len"},
		func() (any, func(io.Writer)) { v := &control.MemView{}; return v, v.Show })
	look("pt ADDR", "the page walk of a linear address", 1, []string{"addr"},
		func() (any, func(io.Writer)) { v := &control.WalkView{}; return v, v.Show })
	look("map", "who answers at which address and port", 0, nil,
		func() (any, func(io.Writer)) { v := &control.MapView{}; return v, v.Show })
	look("irq", "interrupt lines, controllers, and what is due", 0, nil,
		func() (any, func(io.Writer)) { v := &control.IRQView{}; return v, v.Show })
	look("dev [ID]", "devices' registers", 0, []string{"id"}, func() (any, func(io.Writer)) {
		v := &[]control.DevView{}
		return v, func(w io.Writer) {
			for i := range *v {
				(*v)[i].Show(w)
			}
		}
	})
	look("hash", "count and state hash", 0, nil, func() (any, func(io.Writer)) {
		v := &control.HashView{}
		return v, func(w io.Writer) { fmt.Fprintf(w, "#%d %s\n", v.Count, v.Hash) }
	})
	return c
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
