package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the segments on this machine",
		Long: `List the segments on this machine that may be read. Those of the Node addon bear no mark by which to know them.

In place of its shape stands why a segment has none to show, or can't be opened.`,
		Example: "  judemap ls",
		Args:    cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			names, err := judemap.List()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tDTYPE\tSHAPE\tVERSION\tBYTES\tCAPACITY\tWRITER")
			var failures []error
			for _, name := range names {
				failures = append(failures, listSegment(w, name))
			}
			return errors.Join(append(failures, w.Flush())...)
		}),
	}
}

func listSegment(w io.Writer, name string) error {
	s, err := openToRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since it was listed
	}
	if err != nil {
		why, err := cannotOpen(err)
		fmt.Fprintf(w, "%s\t-\t%s\t-\t-\t-\t-\n", nameText(name), why)
		return err
	}
	defer s.CloseWait() // waits, so that the mappings of hundreds of segments don't pile up
	l := lookAt(s)
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%v\n", nameText(name), l.dtype, l.shape, s.Version(), l.bytes, s.ByteCapacity(),
		s.Writer())
	return nil
}

// cannotOpen says in a word why a segment can't be opened, and returns the error if the reason is not the segment's own.
func cannotOpen(err error) (why string, rest error) {
	switch {
	case errors.Is(err, judemap.ErrCorrupt): // also a file with holes, which its owner has not reserved memory for
		return "corrupt", nil
	case errors.Is(err, judemap.ErrCapacity):
		return "too large", nil
	case errors.Is(err, fs.ErrPermission):
		return "not permitted", nil
	}
	return "not opened", err
}
