package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newPruneCommand() *cobra.Command {
	var yes bool
	var olderThan time.Duration
	var asJSON *bool
	var sizes *bool
	cmd := &cobra.Command{
		Use:   "prune [NAME...]",
		Short: "List the segments and streams that were left behind, and remove them with --yes",
		Long: `List the segments and streams that were left behind: the process that made one is gone, and no other has it open. With --yes
they are removed. Names restrict it to those.

A segment may be meant to outlive its creator, as that of a producer which is started again: so nothing is removed without
--yes. Programs that map the file without judemap, such as the Node addon, are not noticed. They keep what they have when the
name is removed; but who opens it next finds none.

Where it can't be told whether anybody is left, STATE is "unknown", and nothing is removed: segments of the Node addon and
those made for foreign writers, and those of a process of another container, or that the system hides. 'judemap rm' removes
them. Segments of other users that may not be read are not shown.`,
		Example: `  judemap prune
  judemap prune --older-than 24h --yes`,
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if olderThan < 0 {
				return usagef("--older-than is %v, and must not be negative", olderThan)
			}
			found, err := findPruned(args, olderThan)
			if yes {
				err = errors.Join(err, removePruned(found))
			}
			if *asJSON {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), found))
			}
			if len(found) == 0 {
				return err
			}
			t := table{}
			t.row("NAME", "KIND", "SIZE", "PID", "AGE", "STATE")
			for i := range found {
				t.row(found[i].row(sizeFormat(*sizes))...)
			}
			return errors.Join(err, t.print(cmd.OutOrStdout(), tableWidth(cmd.OutOrStdout())))
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "remove them")
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "only those that were made so long ago, as in 90m or 24h")
	asJSON, sizes = addJSONFlag(cmd), addBytesFlag(cmd)
	return cmd
}

// A pruned is what prune shows of a segment or stream.
type pruned struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Size    int64      `json:"size"`             // of the file, in bytes
	Process int        `json:"process"`          // that made it; 0: it does not say
	Created *time.Time `json:"created,omitzero"` // nil likewise
	State   string     `json:"state"`            // one of those below
}

// What prune says of one.
const (
	stateLeft    = "left behind"
	stateUnknown = "unknown" // whether anybody is left
	stateRemoved = "removed"
)

// findPruned looks at those of these names, or at all if there are none.
func findPruned(only []string, olderThan time.Duration) ([]pruned, error) {
	names, err := judemap.List()
	if err != nil {
		return nil, err
	}
	found := []pruned{}
	var failures []error
	for _, name := range names {
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		info, err := judemap.Stat(name)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, judemap.ErrCorrupt) {
				failures = append(failures, err)
			}
			continue
		}
		young := olderThan > 0 && (info.Created.IsZero() || time.Since(info.Created) < olderThan)
		if young || info.Holders == judemap.Present || info.CreatorPresence == judemap.Present {
			continue
		}
		p := pruned{Name: name, Kind: info.Kind.String(), Size: info.Size, Process: info.Creator, State: stateUnknown}
		if !info.Created.IsZero() {
			p.Created = &info.Created
		}
		if info.LeftBehind() {
			p.State = stateLeft
		}
		found = append(found, p)
	}
	return found, errors.Join(failures...)
}

// removePruned removes those that are still left behind.
func removePruned(found []pruned) error {
	var failures []error
	for i := range found {
		p := &found[i]
		info, err := judemap.Stat(p.Name)
		if p.State != stateLeft || err != nil || !info.LeftBehind() || !info.Created.Equal(*p.Created) {
			continue
		}
		if err := judemap.Remove(p.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
			failures = append(failures, err)
			continue
		}
		p.State = stateRemoved
	}
	return errors.Join(failures...)
}

func (p *pruned) row(sizes sizeFormat) []string {
	process, age := "-", "-"
	if p.Process != 0 {
		process = fmt.Sprint(p.Process)
	}
	if p.Created != nil {
		age = ageText(time.Since(*p.Created))
	}
	return []string{nameText(p.Name), p.Kind, sizes.text(p.Size), process, age, p.State}
}

// ageText returns for how long something has been there, in its largest unit.
func ageText(age time.Duration) string {
	switch {
	case age < 0:
		return "-"
	case age < time.Minute:
		return fmt.Sprintf("%ds", age/time.Second)
	case age < time.Hour:
		return fmt.Sprintf("%dm", age/time.Minute)
	case age < 48*time.Hour:
		return fmt.Sprintf("%dh", age/time.Hour)
	}
	return fmt.Sprintf("%dd", age/(24*time.Hour))
}
