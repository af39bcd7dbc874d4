package main

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newLsCommand() *cobra.Command {
	var asJSON *bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the segments and streams on this machine",
		Long: `List the segments and streams on this machine that may be read. Segments of the Node addon bear no mark by which to know
them.

A stream is shown with its newest frame. In place of its shape stands why there is none to show, or why the segment or stream
can't be opened.`,
		Example: `  judemap ls
  judemap ls --json`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			names, err := judemap.List()
			if err != nil {
				return err
			}
			entries := []entry{}
			var failures []error
			for _, name := range names {
				e, err := entryOf(name)
				failures = append(failures, err)
				if e != nil {
					entries = append(entries, *e)
				}
			}
			if *asJSON {
				return errors.Join(append(failures, printJSON(cmd.OutOrStdout(), entries))...)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tKIND\tDTYPE\tSHAPE\tVERSION\tBYTES\tCAPACITY\tWRITER\tSLOTS\tPOLICY\tREADERS")
			for i := range entries {
				fmt.Fprintln(w, entries[i].row())
			}
			return errors.Join(append(failures, w.Flush())...)
		}),
	}
	asJSON = addJSONFlag(cmd)
	return cmd
}

// An entry is what ls shows of a segment or stream.
type entry struct {
	Name     string `json:"name"`
	Kind     string `json:"kind,omitempty"`    // "segment" or "stream"; "" if it can't be opened
	Problem  string `json:"problem,omitempty"` // why it can't be opened, or shows no tensor
	DType    string `json:"dtype,omitempty"`
	Shape    []int  `json:"shape,omitzero"`
	Version  uint64 `json:"version"`
	Bytes    int64  `json:"bytes"`
	Capacity int64  `json:"capacity"`
	Writer   string `json:"writer,omitempty"`
	*streamEntry
}

// A streamEntry is what only a stream has.
type streamEntry struct {
	Slots      int    `json:"slots"`
	EveryFrame bool   `json:"every_frame"`
	policy     string // the same as text
	Readers    int    `json:"readers"`
	Dead       int    `json:"dead_readers"` // of them
}

// entryOf returns nil for what is gone since it was listed.
func entryOf(name string) (*entry, error) {
	info, err := statPatiently(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		why, err := cannotOpen(err)
		return &entry{Name: name, Problem: why}, err
	}
	e := &entry{Name: name, Kind: info.Kind.String(), Problem: problemOf(info.Err), Version: info.Version, Bytes: info.Bytes,
		Capacity: info.Capacity, Writer: info.Writer.String(), Shape: info.Shape}
	if info.Err == nil {
		e.DType = info.DType.String()
	}
	if info.Kind == judemap.KindStream {
		e.streamEntry = &streamEntry{Slots: info.Slots, EveryFrame: info.EveryFrame, policy: policyName(info.EveryFrame),
			Readers: len(info.Readers)}
		for _, r := range info.Readers {
			if r.Dead {
				e.Dead++
			}
		}
	}
	return e, nil
}

// statPatiently waits for a commit in progress, but not a long one.
func statPatiently(name string) (judemap.Info, error) {
	until := now() + 2*time.Millisecond
	info, err := judemap.Stat(name)
	for err == nil && errors.Is(info.Err, judemap.ErrBusy) && now() < until {
		info, err = judemap.Stat(name)
	}
	return info, err
}

// problemOf says in a word why there is no tensor; "" if there is one.
func problemOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, judemap.ErrEmpty):
		return "empty"
	case errors.Is(err, judemap.ErrCorrupt):
		return "corrupt"
	case errors.Is(err, judemap.ErrWriterDied):
		return "half written"
	case errors.Is(err, judemap.ErrBusy):
		return "being written"
	}
	return err.Error()
}

// row returns the entry as a row of the table.
func (e *entry) row() string {
	if e.Kind == "" {
		return fmt.Sprintf("%s\t-\t-\t%s\t-\t-\t-\t-\t-\t-\t-", nameText(e.Name), e.Problem)
	}
	dtype, shape := e.DType, fmt.Sprint(e.Shape)
	if e.Problem != "" {
		dtype, shape = "-", e.Problem
	}
	row := fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s", nameText(e.Name), e.Kind, dtype, shape, e.Version, e.Bytes,
		e.Capacity, e.Writer)
	if e.streamEntry == nil {
		return row + "\t-\t-\t-"
	}
	readers := fmt.Sprint(e.Readers)
	if e.Dead > 0 {
		readers += fmt.Sprintf(", %d dead", e.Dead)
	}
	return row + fmt.Sprintf("\t%d\t%s\t%s", e.Slots, e.policy, readers)
}

// cannotOpen says in a word why nothing can be said of a segment or stream, and returns the error if the reason is not its own.
func cannotOpen(err error) (why string, rest error) {
	switch {
	case errors.Is(err, judemap.ErrCorrupt):
		return "corrupt", nil
	case errors.Is(err, fs.ErrPermission):
		return "not permitted", nil
	}
	return "not opened", err
}
