package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newPutCommand() *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put FILE|- NAME",
		Short: "Commit a file's tensor to a segment or stream, or a pipe's frames to a stream",
		Long: `Commit a file's tensor to a segment or stream: NumPy's array (.npy), or a picture (.png) as uint8, [H W] if it is grey,
[H W 3] in RGB, or [H W 4] if some of it is transparent. 16-bit pictures lose their lower 8 bits.

The segment or stream of that name must have room for the tensor, and for --capacity bytes. If there is none, a segment is made
that has it, or with --slots a stream; it lives on when the command ends, until 'judemap rm'. To a stream that is there
--slots says how many slots it must have at least.

Where every frame of a stream counts, the command waits for the slowest reader, until Ctrl-C.

A file that is larger than --max-bytes is refused, and so is a picture that would be larger when decoded: a few bytes can
claim to be an enormous one.

With --raw the file, or the standard input (-), has frames of raw bytes, row-major and little-endian, one after the other and
with nothing in between. Each is committed to a stream once it is whole, until the input ends; if that is in the middle of a
frame, it is an error. Other processes have the last frame for as long as the stream has its name. A stream that is made has
4 slots if --slots does not say otherwise. No reader slows the input: while readers hold all slots that could be written to,
frames are left out, and their number is printed at the end; two slots more than readers are enough. With --every-frame
none is left out, and the input waits for the slowest reader.

A stream has one writer at a time: while it lives, another put fails. When it has ended, or was killed, the next put goes on
under the same name, and readers stay.`,
		Example: `  judemap put photo.png camera
  judemap put weights.npy weights --capacity 1000000
  judemap put photo.png stream --slots 4
  ffmpeg -i video.mkv -f rawvideo -pix_fmt rgb24 - | judemap put --raw uint8 --shape 720,1280,3 - video`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if raw, err := cmd.Flags().GetString("raw"); err == nil && raw != "" {
				return completeFiles()(cmd, args, begun)
			}
			return completeFiles("npy", "png")(cmd, args, begun)
		}, completeNames),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			path, name := args[0], args[1]
			if err := o.check(path, cmd.Flags().Changed); err != nil {
				return err
			}
			if cmd.Flags().Changed("raw") {
				return o.putFrames(cmd.Context(), path, name)
			}
			return o.putFile(cmd.Context(), path, name)
		}),
	}
	cmd.Flags().IntVar(&o.room.capacity, "capacity", 0,
		"bytes that the segment, or each slot of the stream, must have room for (default: the tensor's)")
	cmd.Flags().IntVar(&o.room.slots, "slots", 0, "make a stream of so many slots (default with --raw: 4)")
	cmd.Flags().BoolVar(&o.room.everyFrame, "every-frame", false, "make it one whose writer waits for the slowest reader")
	cmd.Flags().Int64Var(&o.maxBytes, "max-bytes", 1<<30, "the most bytes that the file, and the picture in it, may have, or a frame")
	cmd.Flags().StringVar(&o.raw, "raw", "", "take frames of raw bytes, of this element type, such as uint8")
	cmd.Flags().IntSliceVar(&o.shape, "shape", nil, "the shape of each frame of --raw, such as 720,1280,3")
	cmd.Flags().IntVar(&o.readers, "readers", 0, "with --raw: wait until the stream has so many readers")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "with --raw: print at the end how many frames there were")
	return cmd
}

type putOptions struct {
	room     room
	maxBytes int64

	// Only with raw.
	raw     string // the type of the elements
	shape   []int
	readers int // to wait for
	verbose bool
}

// check returns an error if a flag has a value that can't be used, or doesn't go with the others; given says which flags
// there are.
func (o *putOptions) check(path string, given func(flag string) bool) error {
	switch {
	case given("capacity") && o.room.capacity < 1:
		return usagef("--capacity is %d, and must be at least 1", o.room.capacity)
	case given("slots") && (o.room.slots < 2 || o.room.slots > judemap.MaxSlots):
		return usagef("--slots is %d, and must be 2 to %d", o.room.slots, judemap.MaxSlots)
	case o.maxBytes < 1:
		return usagef("--max-bytes is %d, and must be at least 1", o.maxBytes)
	case o.readers < 0 || o.readers > judemap.MaxReaders:
		return usagef("--readers is %d, and must be 0 to %d", o.readers, judemap.MaxReaders)
	case given("raw"):
		return nil
	case path == "-":
		return usagef("- is for the frames of --raw")
	case o.room.everyFrame && o.room.slots == 0:
		return usagef("--every-frame is for the streams of --slots, or with --raw")
	}
	for _, flag := range []string{"shape", "readers", "verbose"} {
		if given(flag) {
			return usagef("--%s is for --raw", flag)
		}
	}
	return nil
}

// putFile commits the tensor of a file.
func (o *putOptions) putFile(ctx context.Context, path, name string) error {
	a, err := readArray(path, o.maxBytes)
	if err != nil {
		return err
	}
	room := o.room
	room.capacity = max(room.capacity, len(a.data), 1)
	return put(ctx, a, name, room)
}

// putFrames commits the frames of a file or of the standard input.
func (o *putOptions) putFrames(ctx context.Context, path, name string) error {
	format, err := newRawFormat(o.raw, o.shape, o.maxBytes)
	if err != nil {
		return err
	}
	room := o.room
	room.capacity = max(room.capacity, format.bytes)
	note := io.Discard
	if o.verbose {
		note = os.Stderr
	}
	return putRaw(ctx, path, name, format, room, o.readers, note)
}

// readArray returns what is in a file, if neither the file nor the picture in it has more than maxBytes.
func readArray(path string, maxBytes int64) (a array, err error) {
	format, err := formatOf(path)
	if err != nil {
		return a, err
	}
	file, err := os.Open(path)
	if err != nil {
		return a, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return a, err
	}
	if info.Size() > maxBytes {
		return a, fmt.Errorf("%s has %d bytes, and --max-bytes allows %d", path, info.Size(), maxBytes)
	}
	if format == formatNPY {
		length := info.Size()
		if !info.Mode().IsRegular() { // a pipe has no size that could be known before
			length = -1
		}
		a, err = readNPY(file, length, maxBytes)
	} else {
		a, err = readPNG(file, info.Size(), maxBytes)
	}
	if err != nil {
		return array{}, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// readAll returns the bytes of a file, of about the size, if there are no more than maxBytes.
func readAll(file io.Reader, size, maxBytes int64) ([]byte, error) {
	var all bytes.Buffer
	all.Grow(int(size) + bytes.MinRead)
	read, err := all.ReadFrom(&io.LimitedReader{R: file, N: maxBytes})
	if err != nil {
		return nil, err
	}
	if read == maxBytes {
		if n, _ := file.Read(make([]byte, 1)); n > 0 {
			return nil, fmt.Errorf("it has more bytes than the %d that --max-bytes allows", maxBytes)
		}
	}
	return all.Bytes(), nil
}

// readPNG returns the picture of a PNG file of about that size, if neither it nor the picture, once decoded, has more than
// maxBytes.
func readPNG(in io.Reader, size, maxBytes int64) (array, error) {
	file, err := readAll(in, size, maxBytes)
	if err != nil {
		return array{}, err
	}
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

// A room is what put asks of the segment or stream that it writes to.
type room struct {
	capacity   int // bytes
	slots      int // 0: a stream will do, and so will a segment
	everyFrame bool
}

// put writes to the segment or stream of that name, which it makes if there is none.
func put(ctx context.Context, a array, name string, room room) error {
	s, err := openToPut(name, room)
	if err != nil {
		return err
	}
	if stream, ok := s.(*judemap.Stream); ok {
		err = stream.Write(ctx, a.shape, a.dtype, a.data)
	} else {
		err = s.(*judemap.Segment).Write(a.shape, a.dtype, a.data)
	}
	return errors.Join(err, s.CloseWait()) // waits, so that the right to write is free when the command has ended
}

func openToPut(name string, room room) (source, error) {
	if room.slots != 0 {
		var options []judemap.Option
		if room.everyFrame {
			options = append(options, judemap.WithEveryFrame())
		}
		s, err := judemap.OpenOrCreateStream(name, room.slots, room.capacity, options...)
		if errors.Is(err, fs.ErrInvalid) { // the library names its option
			err = errors.New(strings.ReplaceAll(err.Error(), "WithEveryFrame", "--every-frame"))
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	segment, err := judemap.OpenOrCreate(name, room.capacity)
	if err == nil {
		return segment, nil
	}
	if !errors.Is(err, judemap.ErrCorrupt) {
		return nil, err
	}
	stream, streamErr := judemap.OpenStream(name)
	if streamErr != nil {
		return nil, fmt.Errorf("%w; %w", err, streamErr)
	}
	if stream.ByteCapacity() < room.capacity {
		err := fmt.Errorf("stream %q is there, with slots of %d bytes, and %d are asked for", name, stream.ByteCapacity(),
			room.capacity)
		return nil, errors.Join(err, stream.CloseWait())
	}
	return stream, nil
}
