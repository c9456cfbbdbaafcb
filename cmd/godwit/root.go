package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/control"
)

// app is what all commands share.
type app struct {
	home control.Home
	exe  string
	json bool
	exit int // of a command that did what it was told
	bug  bool
	out  io.Writer
	err  io.Writer
}

// execute runs the command line and returns the exit code.
func execute() int {
	a := &app{out: os.Stdout, err: os.Stderr}
	root := a.root()
	c, err := root.ExecuteC()
	if err == nil {
		return a.exit
	}
	e := usage(c, err)
	if a.json {
		b, _ := json.Marshal(map[string]any{"error": e}) // our own struct
		fmt.Fprintln(a.err, string(b))
	} else {
		fmt.Fprint(a.err, e.Text())
	}
	if a.bug && e.Exit != control.ExitOK {
		return control.ExitBug // --exit-device: all other codes are the guest's
	}
	return e.Exit
}

// usage makes errors of the command line parser like ours.
func usage(c *cobra.Command, err error) *control.Error {
	var e *control.Error
	if errors.As(err, &e) {
		return e
	}
	if text := err.Error(); strings.HasPrefix(text, "unknown command") || strings.HasPrefix(text, "accepts ") || strings.HasPrefix(text, "requires ") {
		what, rest, _ := strings.Cut(text, "\n")
		hint := c.CommandPath() + " --help"
		if f := strings.Fields(rest); len(f) > 0 {
			hint = "godwit " + f[len(f)-1]
		}
		return control.Fail("usage", what, "", hint)
	}
	return control.AsError("the command failed", err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "godwit",
		Short:         "run x86-64 machines in software, save them, and move them",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			if a.exe, err = os.Executable(); err != nil {
				return err
			}
			a.home, err = control.DefaultHome()
			return err
		},
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON object")
	root.SetFlagErrorFunc(flagError)
	for _, g := range []string{"Run", "Look", "Save", "Move", "Learn", "Manage"} {
		root.AddGroup(&cobra.Group{ID: g, Title: g})
	}
	root.SetHelpCommandGroupID("Learn")
	root.SetCompletionCommandGroupID("Manage")
	root.AddCommand(
		a.runCommand(), a.attachCommand(), a.stopCommand(), a.resetCommand(), a.pauseCommand(), a.contCommand(), a.wakeCommand(),
		a.lsCommand(), a.logsCommand(), a.inspectCommand(),
		a.suspendCommand(), a.resumeCommand(), a.snapCommand(),
		a.migrateCommand(), a.receiveCommand(), a.migrationsCommand(),
		a.demoCommand(), a.labCommand(), a.benchCommand(), a.guestCommand(), a.imageCommand(), a.rmCommand(), a.versionCommand(),
	)
	return root
}

// flagError names the flag that was probably meant.
func flagError(c *cobra.Command, err error) error {
	e := control.Fail("usage", err.Error(), "", c.CommandPath()+" --help")
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return e
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	e.What = "unknown flag --" + unknown.GetSpecifiedName()
	e.Field, e.Have = "flag", unknown.GetSpecifiedName()
	if near := control.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		e.Hint = "--" + near
	}
	return e
}

// offer has the shell complete a flag's values.
func offer(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("godwit bug: " + err.Error())
	}
}

// print gives a result: as one JSON object, or for people.
func (a *app) print(v any, text func(io.Writer)) error {
	if !a.json {
		text(a.out)
		return nil
	}
	return json.NewEncoder(a.out).Encode(v)
}

// vm connects with the VM that the arguments name.
func (a *app) vm(args []string) (*control.Client, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	return a.home.Connect(name)
}

// names completes VM names. It reads a directory and asks no process.
func (a *app) names(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	h, err := control.DefaultHome()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return h.Names(), cobra.ShellCompDirectiveNoFileComp
}

// terminal is the user's console. With --json, standard output is for the one
// object.
func (a *app) terminal() *control.Terminal {
	t := &control.Terminal{In: os.Stdin, Out: a.out, Err: a.err}
	if a.json {
		t.Out = a.err
	}
	return t
}
