package main

import (
	"image/png"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func newExportCommand() *cobra.Command {
	var open func(name string) (source, error)
	cmd := &cobra.Command{
		Use:   "export NAME FILE.npy|FILE.png",
		Short: "Write a segment's tensor, or a stream's newest frame, to a file",
		Long: `Write a segment's tensor, or a stream's newest frame, to a file: for NumPy (.npy), or as a picture (.png).

Pictures are tensors [H W], [H W C] or [C H W], or a batch of one of those, with 1 (grey), 3 (RGB) or 4 (RGB and alpha)
channels, of uint8 or bool, or of float16, bfloat16, float32 or float64 from 0 to 1.

A file of that name is replaced once the new one is complete, and keeps its permissions. Symbolic links are followed;
pipes and devices are written as they are.`,
		Example: `  judemap export camera camera.npy && python3 -c 'import numpy; print(numpy.load("camera.npy").shape)'
  judemap export camera camera.png`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(completeNames, completeFiles("npy", "png")),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			name, path := args[0], args[1]
			format, err := formatOf(path)
			if err != nil {
				return err
			}
			s, err := open(name)
			if err != nil {
				return err
			}
			defer s.Close()
			t, err := copyTensor(cmd.Context(), s, copyTimeout)
			if err != nil {
				return err
			}
			a := arrayOfTensor(&t)
			if format == formatNPY {
				return writeFile(cmd.Context(), path, func(w io.Writer) error { return writeNPY(w, a) })
			}
			picture, err := pictureOf(a)
			if err != nil {
				return err
			}
			return writeFile(cmd.Context(), path, func(w io.Writer) error { return png.Encode(w, picture) })
		}),
	}
	open = addMaxBytesFlag(cmd)
	return cmd
}

type format int

const (
	formatNPY format = iota
	formatPNG
)

// formatOf returns the format that a file's name ends in.
func formatOf(path string) (format, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".npy":
		return formatNPY, nil
	case ".png":
		return formatPNG, nil
	}
	return 0, usagef("the file's name must end in .npy or .png, and %q does not", path)
}
