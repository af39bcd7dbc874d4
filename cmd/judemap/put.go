package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"os"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newPutCommand() *cobra.Command {
	var capacity int
	cmd := &cobra.Command{
		Use:   "put FILE.npy|FILE.png NAME",
		Short: "Commit a file's tensor to a segment",
		Long: `Commit a file's tensor to a segment: NumPy's array (.npy), or a picture (.png) as uint8, [H W] if it is grey,
[H W 3] in RGB, or [H W 4] if some of it is transparent. 16-bit pictures lose their lower 8 bits.

If there is no segment of that name, one is made that has room for the tensor, or for --capacity bytes. It lives on when
the command ends, until 'judemap rm'.`,
		Example: `  judemap put photo.png camera
  judemap put weights.npy weights --capacity 1000000`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			path, name := args[0], args[1]
			if cmd.Flags().Changed("capacity") && capacity < 1 {
				return usagef("--capacity is %d, and must be at least 1", capacity)
			}
			a, err := readArray(path)
			if err != nil {
				return err
			}
			return put(a, name, max(capacity, len(a.data), 1))
		}),
	}
	cmd.Flags().IntVar(&capacity, "capacity", 0, "bytes that a new segment has room for (default: the tensor's)")
	return cmd
}

// readArray returns what is in a file.
func readArray(path string) (array, error) {
	format, err := formatOf(path)
	if err != nil {
		return array{}, err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return array{}, err
	}
	if format == formatNPY {
		a, err := readNPY(file)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return a, err
	}
	picture, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return array{}, fmt.Errorf("%s: %w", path, err)
	}
	return arrayOfPicture(picture), nil
}

// put writes to the segment of that name, which it makes if there is none.
func put(a array, name string, capacity int) error {
	s, err := judemap.Open(name)
	made := errors.Is(err, fs.ErrNotExist)
	if made {
		s, err = judemap.Create(name, capacity)
	}
	if err != nil {
		return err
	}
	err = s.Write(a.shape, a.dtype, a.data)
	if err != nil && made {
		_ = judemap.Remove(name)
	}
	return errors.Join(err, s.CloseWait()) // waits, so that the right to write is free when the command has ended
}
