package main

import (
	"errors"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove segments",
		Long: `Remove segments. Programs that have them open keep them; the memory is given back with the last of those.

A name that is no segment's is an error, and the others are still removed.`,
		Example:           "  judemap rm camera",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			var failures []error
			for _, name := range args {
				// Opened first, so that nothing is removed that is no segment.
				s, err := openToRead(name)
				if err == nil {
					s.Close()
					err = judemap.Remove(name)
				}
				failures = append(failures, err)
			}
			return errors.Join(failures...)
		}),
	}
}
