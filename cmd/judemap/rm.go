package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newRmCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove segments and streams",
		Long: `Remove segments and streams. Programs that have them open keep them; the memory is given back with the last of those.

A segment of the Node addon bears no mark by which to know it, and a file of another program may look like one. Such a
file is removed only with --force, and only if it could be a segment: it is a regular file, long enough, and its header
can be true.

A name that is not removed is an error, and the others are still removed.`,
		Example: `  judemap rm camera
  judemap rm --force segment-of-the-addon`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			marked, err := judemap.List()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range args {
				failures = append(failures, remove(name, slices.Contains(marked, name), force))
			}
			return errors.Join(failures...)
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove a file without the mark too, if it could be a segment")
	return cmd
}

// remove removes what bears the mark of a segment or stream, or with force a file that could be one.
func remove(name string, marked, force bool) error {
	if marked {
		return judemap.Remove(name)
	}
	info, err := judemap.Stat(name) // only what is a regular file in the folder of shared memory, and long enough
	if err != nil {
		return err
	}
	if errors.Is(info.Err, judemap.ErrCorrupt) {
		return fmt.Errorf("%s is no segment: %w", nameText(name), info.Err)
	}
	if !force {
		return fmt.Errorf("%s bears no mark of a segment: it may be one of the Node addon, or a file of any other program; "+
			"--force removes it", nameText(name))
	}
	return judemap.Remove(name)
}
