// Command judemap shows, makes and watches shared-memory tensors, and has a demo of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/live"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	os.Exit(run())
}

// run returns the exit status.
func run() int {
	// SIGHUP too: a demo whose terminal is closed ends in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once

	root := newRootCommand()
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130
	case isClosedPipe(err): // whoever read the output has seen enough
		return 141
	}
	fmt.Fprintf(os.Stderr, "judemap: %s\n", printable(strings.TrimPrefix(err.Error(), "judemap: ")))
	if failed := new(failure); !errors.As(err, &failed) {
		fmt.Fprintf(os.Stderr, "Run '%s --help' for usage.\n", command.CommandPath())
		return 2
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "judemap",
		Short: "Shared-memory tensors: a demo, and tools for the segments and streams on this machine",
		Long: `Shared-memory tensors: a demo, and tools for the segments and streams on this machine.

Exit status: 0 if all went well, also when Ctrl-C or SIGTERM ended demo, watch or get; 1 if something failed; 2 for a wrong
command, flag or argument; 130 if Ctrl-C or SIGTERM ended another command before it was done; 141 if nobody reads the
output any more.`,
		Example: `  judemap demo
  judemap put photo.png camera
  judemap watch camera`,
		Version:       buildText(debug.ReadBuildInfo()),
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("judemap {{.Version}}\n")
	root.AddCommand(newDemoCommand(), newLsCommand(), newInspectCommand(), newWatchCommand(), newTopCommand(), newServeCommand(),
		newExportCommand(), newPutCommand(), newGetCommand(), newRmCommand(), newPruneCommand(), newProducerCommand(),
		newConsumerCommand(), newKeeperCommand())
	for _, cmd := range root.Commands() {
		completeFlags(cmd)
	}
	return root
}

// A failure is an error of a command that was called rightly. All other errors are about how it was called.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// action makes what a command does from a function that does it, whose errors are failures.
func action(do func(cmd *cobra.Command, args []string) error) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		if wrong := new(usageError); err == nil || errors.As(err, &wrong) {
			return err
		}
		return &failure{err}
	}
}

// A usageError says that a flag or an argument has a value that can't be used.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// completeNames completes any number of arguments that are names of segments and streams, in shells that were set up for it.
func completeNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, err := judemap.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(names, func(name string) bool {
		// A shell takes what is behind a tab for a description, and what is behind a newline for another word.
		return slices.Contains(args, name) || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) })
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeArgs completes the arguments of a command that has so many, each by a function of its own.
func completeArgs(each ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, begun)
	}
}

// completeFiles completes files whose names end so; all files if there are no endings.
func completeFiles(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		if len(endings) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// completeFlags completes the values of a command's flags: files, or element types, where they are meant.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := cobra.CompletionFunc(cobra.NoFileCompletions)
		switch cmd.Name() + " --" + f.Name {
		case "put --raw":
			complete = cobra.FixedCompletions(dtypeNames(), cobra.ShellCompDirectiveNoFileComp)
		case "top --sort":
			complete = cobra.FixedCompletions(live.Orders, cobra.ShellCompDirectiveNoFileComp)
		case "get --raw":
			complete = completeFiles()
		case "demo --save":
			complete = completeFiles("png")
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // there is such a flag
		}
	})
}

func dtypeNames() (names []string) {
	for d := judemap.DType(0); d.Size() != 0; d++ {
		names = append(names, d.String())
	}
	return names
}
