package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"os"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newPutCommand() *cobra.Command {
	var capacity int
	var maxBytes int64
	cmd := &cobra.Command{
		Use:   "put FILE.npy|FILE.png NAME",
		Short: "Commit a file's tensor to a segment",
		Long: `Commit a file's tensor to a segment: NumPy's array (.npy), or a picture (.png) as uint8, [H W] if it is grey,
[H W 3] in RGB, or [H W 4] if some of it is transparent. 16-bit pictures lose their lower 8 bits.

The segment of that name must have room for the tensor, and for --capacity bytes. If there is none, one is made that has
it; it lives on when the command ends, until 'judemap rm'.

A file that is larger than --max-bytes is refused, and so is a picture that would be larger when decoded: a few bytes can
claim to be an enormous one.`,
		Example: `  judemap put photo.png camera
  judemap put weights.npy weights --capacity 1000000`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			path, name := args[0], args[1]
			if cmd.Flags().Changed("capacity") && capacity < 1 {
				return usagef("--capacity is %d, and must be at least 1", capacity)
			}
			if maxBytes < 1 {
				return usagef("--max-bytes is %d, and must be at least 1", maxBytes)
			}
			a, err := readArray(path, maxBytes)
			if err != nil {
				return err
			}
			return put(a, name, max(capacity, len(a.data), 1))
		}),
	}
	cmd.Flags().IntVar(&capacity, "capacity", 0, "bytes that the segment must have room for (default: the tensor's)")
	cmd.Flags().Int64Var(&maxBytes, "max-bytes", 1<<30, "the most bytes that the file, and the picture in it, may have")
	return cmd
}

// readArray returns what is in a file, if neither the file nor the picture in it has more than maxBytes.
func readArray(path string, maxBytes int64) (array, error) {
	format, err := formatOf(path)
	if err != nil {
		return array{}, err
	}
	file, err := readFile(path, maxBytes)
	if err != nil {
		return array{}, err
	}
	var a array
	if format == formatNPY {
		a, err = readNPY(file) // refuses what claims another size than the file has
	} else {
		a, err = readPNG(file, maxBytes)
	}
	if err != nil {
		return array{}, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// readFile returns a file's bytes, if there are no more than maxBytes.
func readFile(path string, maxBytes int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBytes {
		return nil, fmt.Errorf("%s has %d bytes, and --max-bytes allows %d", path, info.Size(), maxBytes)
	}
	var all bytes.Buffer
	all.Grow(int(info.Size()) + bytes.MinRead)
	// A pipe has no size that could be known before.
	read, err := all.ReadFrom(&io.LimitedReader{R: file, N: maxBytes})
	if err != nil {
		return nil, err
	}
	if read == maxBytes {
		if n, _ := file.Read(make([]byte, 1)); n > 0 {
			return nil, fmt.Errorf("%s has more bytes than the %d that --max-bytes allows", path, maxBytes)
		}
	}
	return all.Bytes(), nil
}

// readPNG returns the picture of a PNG file, if it has no more than maxBytes once decoded.
func readPNG(file []byte, maxBytes int64) (array, error) {
	config, err := png.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return array{}, err
	}
	// The decoder takes no side above 2^31, and no picture of 2^60 pixels: nothing overflows.
	if size := int64(config.Width) * int64(config.Height) * bytesOfPixel(config.ColorModel); size > maxBytes {
		return array{}, fmt.Errorf("its %d x %d pixels take %d bytes, and --max-bytes allows %d", config.Width, config.Height,
			size, maxBytes)
	}
	picture, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return array{}, err
	}
	return arrayOfPicture(picture), nil
}

// bytesOfPixel returns the most bytes that a pixel takes once it is decoded: it may get an alpha channel.
func bytesOfPixel(model color.Model) int64 {
	switch model {
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		return 8
	}
	return 4
}

// put writes to the segment of that name, which it makes if there is none.
func put(a array, name string, capacity int) error {
	s, err := judemap.OpenOrCreate(name, capacity)
	if err != nil {
		return err
	}
	err = s.Write(a.shape, a.dtype, a.data)
	return errors.Join(err, s.CloseWait()) // waits, so that the right to write is free when the command has ended
}
