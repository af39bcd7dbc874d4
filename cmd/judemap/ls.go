package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newLsCommand() *cobra.Command {
	var asJSON, sizes *bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the segments and streams on this machine",
		Long: `List the segments and streams on this machine that may be read. Segments of the Node addon bear no mark by which to know
them. No file is mapped.

  KIND      segment; or stream and how many slots it has, and "every" if every frame counts, else the newest wins
  TENSOR    its type and shape, of a stream the newest frame's; or why there is none, or none can be shown
  VERSION   2 more for each commit; odd while one is in progress
  BYTES     of the tensor
  ROOM      bytes of tensor that there is room for; in a stream, in each slot
  WRITER    none; other: a process that writes; died: one that did without closing
  READERS   of a stream

On a terminal (and where COLUMNS is set) what does not fit is shortened.`,
		Example: `  judemap ls
  judemap ls --json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
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
			t := lsTable(entries, sizeFormat(*sizes))
			return errors.Join(append(failures, t.print(cmd.OutOrStdout(), tableWidth(cmd.OutOrStdout())))...)
		}),
	}
	asJSON, sizes = addJSONFlag(cmd), addBytesFlag(cmd)
	return cmd
}

func lsTable(entries []entry, sizes sizeFormat) *table {
	t := &table{}
	t.row("NAME", "KIND", "TENSOR", "VERSION", "BYTES", "ROOM", "WRITER", "READERS")
	for i := range entries {
		t.row(entries[i].row(sizes)...)
	}
	return t
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
	Size     int64  `json:"size"` // of the file
	Writer   string `json:"writer,omitempty"`
	Holders  string `json:"holders,omitempty"` // processes that have it open: "present", "gone", or "unknown"

	// Who made it, and when; nil if it does not say.
	Creator *creatorEntry `json:"creator,omitempty"`

	*streamEntry
}

// A creatorEntry is what is known of the process that made a segment or stream.
type creatorEntry struct {
	Process  int       `json:"process"`  // its id, as it sees it
	Presence string    `json:"presence"` // "present", "gone", or "unknown"
	Created  time.Time `json:"created"`
}

func creatorOf(info *judemap.Info) *creatorEntry {
	if info.Creator == 0 {
		return nil
	}
	return &creatorEntry{info.Creator, info.CreatorPresence.String(), info.Created}
}

// A streamEntry is what only a stream has.
type streamEntry struct {
	Slots      int  `json:"slots"`
	EveryFrame bool `json:"every_frame"`
	Readers    int  `json:"readers"`
	Dead       int  `json:"dead_readers"` // of them
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
		Capacity: info.Capacity, Size: info.Size, Writer: info.Writer.String(), Holders: info.Holders.String(),
		Creator: creatorOf(&info), Shape: info.Shape}
	if info.Err == nil {
		e.DType = info.DType.String()
	}
	if info.Kind == judemap.KindStream {
		e.streamEntry = &streamEntry{Slots: info.Slots, EveryFrame: info.EveryFrame, Readers: len(info.Readers)}
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
func (e *entry) row(sizes sizeFormat) []string {
	if e.Kind == "" {
		return []string{nameText(e.Name), "-", e.Problem, "-", "-", "-", "-", "-"}
	}
	kind, readers, tensor := e.Kind, "-", e.Problem
	if tensor == "" {
		tensor = e.DType + " " + fmt.Sprint(e.Shape)
	}
	if e.streamEntry != nil {
		kind, readers = fmt.Sprintf("%s %d", kind, e.Slots), fmt.Sprint(e.Readers)
		if e.EveryFrame {
			kind += " every"
		}
		if e.Dead > 0 {
			readers += fmt.Sprintf(", %d dead", e.Dead)
		}
	}
	return []string{nameText(e.Name), kind, tensor, fmt.Sprint(e.Version), sizes.text(e.Bytes), sizes.text(e.Capacity), e.Writer,
		readers}
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
