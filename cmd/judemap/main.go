// Command judemap shows, makes and watches shared-memory tensors, and has a demo of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
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
	fmt.Fprintf(os.Stderr, "judemap: %s\n", strings.TrimPrefix(err.Error(), "judemap: "))
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
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.AddCommand(newDemoCommand(), newLsCommand(), newInspectCommand(), newWatchCommand(), newTopCommand(),
		newExportCommand(), newPutCommand(), newGetCommand(), newRmCommand(), newProducerCommand(), newConsumerCommand(), newKeeperCommand())
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

// completeNames completes arguments that are names of segments and streams, in shells that were set up for it.
func completeNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := judemap.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
