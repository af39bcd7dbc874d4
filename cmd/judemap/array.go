package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

// An array is a tensor's elements, in row-major order, wherever they come from.
type array struct {
	shape []int
	dtype judemap.DType
	data  []byte
}

func arrayOfTensor(t *judemap.Tensor) array {
	return array{t.Shape(), t.DType(), t.Data()}
}

// copyTimeout is how long a command tries to copy a tensor that it can't do without.
const copyTimeout = 2 * time.Second

var errNoTime = errors.New("is being written all the time")

// A source is a segment or a stream, as commands see both.
type source interface {
	Name() string
	Version() uint64
	ByteCapacity() int
	Writer() judemap.WriterState
	ReadCopy(context.Context) (judemap.Tensor, error)
	File() (*os.File, error)
	Close() error
	CloseWait() error
}

// kindOf returns what a source is, in a word.
func kindOf(s source) string {
	if _, ok := s.(*judemap.Stream); ok {
		return "stream"
	}
	return "segment"
}

// copyTensor returns a copy of a segment's tensor, or of a stream's newest frame. It tries for as long as limit, because a
// writer of another process may commit without a pause, or take its time over a commit.
func copyTensor(ctx context.Context, s source, limit time.Duration) (judemap.Tensor, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t, err := s.ReadCopy(limited)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return t, fmt.Errorf("%s %q %w: no copy of it came about in %v", kindOf(s), s.Name(), errNoTime, limit)
	case errors.Is(err, judemap.ErrCapacity): // the library names its option
		return t, errors.New(strings.ReplaceAll(err.Error(), "WithMaxBytes", "--"+maxBytesFlag))
	}
	return t, err
}

// openSource opens the segment or stream of that name.
func openSource(name string, options ...judemap.Option) (source, error) {
	segment, err := judemap.Open(name, options...)
	if err == nil {
		return segment, nil
	}
	if !errors.Is(err, judemap.ErrCorrupt) { // which is what it says of a stream
		return nil, err
	}
	stream, streamErr := judemap.OpenStream(name, options...)
	if streamErr != nil {
		return nil, fmt.Errorf("%w; %w", err, streamErr)
	}
	return stream, nil
}

// openToRead opens a segment or stream only to read it, which needs no right to write, wakes nobody, and holds up nobody.
func openToRead(name string, options ...judemap.Option) (source, error) {
	return openSource(name, append(options, judemap.WithReadOnly())...)
}

// printJSON prints a value as JSON, indented.
func printJSON(out io.Writer, value any) error { return encodeJSON(out, value, "  ") }

// printJSONLine prints a value as JSON in one line.
func printJSONLine(out io.Writer, value any) error { return encodeJSON(out, value, "") }

// encodeJSON prints JSON in ASCII: JSON itself may have characters that control a terminal (U+0080 to U+009F).
func encodeJSON(out io.Writer, value any, indent string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	var ascii bytes.Buffer
	for _, r := range text.String() {
		switch {
		case r < 0x7f:
			ascii.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, high, low)
		}
	}
	_, err := ascii.WriteTo(out)
	return err
}

const jsonFlag = "json"

// addJSONFlag gives a command the flag for JSON in place of text.
func addJSONFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool(jsonFlag, false, "print JSON, for programs")
}

// addBytesFlag gives a command the flag for exact sizes in place of round ones.
func addBytesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("bytes", false, "print sizes in bytes, exactly (default: as in 12K, in units of 1024)")
}

const maxBytesFlag = "max-bytes"

// addMaxBytesFlag gives a command that copies a tensor the flag for the most bytes that this may take. The function that
// it returns opens a segment or stream to read so much.
func addMaxBytesFlag(cmd *cobra.Command) (open func(name string) (source, error)) {
	var maxBytes int
	cmd.Flags().IntVar(&maxBytes, maxBytesFlag, 0,
		"the most bytes that the tensor may have, which is copied (default: a quarter of the memory)")
	return func(name string) (source, error) {
		if !cmd.Flags().Changed(maxBytesFlag) {
			return openToRead(name)
		}
		if maxBytes < 1 {
			return nil, usagef("--%s is %d, and must be at least 1", maxBytesFlag, maxBytes)
		}
		return openToRead(name, judemap.WithMaxBytes(maxBytes))
	}
}

// A look is what can be seen of a tensor without waiting for long.
type look struct {
	dtype string // or "-"
	shape string // or why there is none
	dims  []int  // the shape, if there is one
	bytes int
	err   error
}

// lookAt looks at a segment's tensor, or a stream's newest frame. A commit in progress is waited for, but not a long one.
func lookAt(s source) look {
	if stream, ok := s.(*judemap.Stream); ok {
		return lookAtStream(stream)
	}
	return lookAtSegment(s.(*judemap.Segment))
}

// lookAtStream asks the stream what it would log of its newest frame, for which nothing is copied.
func lookAtStream(s *judemap.Stream) look {
	l := look{dtype: "-", shape: "being written", err: judemap.ErrBusy}
	for until := now() + 2*time.Millisecond; l.err != nil && now() < until; {
		for _, attr := range s.LogValue().Group() {
			switch attr.Key {
			case "dtype":
				l.dtype = attr.Value.String()
			case "shape":
				shape, _ := attr.Value.Any().([]int)
				dtype, _ := judemap.ParseDType(l.dtype)
				l.shape, l.dims, l.bytes, l.err = fmt.Sprint(shape), shape, dtype.Size(), nil
				for _, n := range shape {
					l.bytes *= n
				}
			}
		}
		if l.err != nil && s.Version() == 0 {
			l.shape, l.err = "empty", judemap.ErrEmpty
			break
		}
	}
	return l
}

func lookAtSegment(s *judemap.Segment) look {
	until := now() + 2*time.Millisecond
	t, err := s.TryRead()
	for errors.Is(err, judemap.ErrBusy) && now() < until {
		t, err = s.TryRead()
	}
	l := look{dtype: "-", err: err}
	switch {
	case err == nil:
		l.dtype, l.shape, l.dims, l.bytes = t.DType().String(), fmt.Sprint(t.Shape()), t.Shape(), len(t.Data())
	case errors.Is(err, judemap.ErrEmpty):
		l.shape = "empty"
	case errors.Is(err, judemap.ErrCorrupt):
		l.shape = "corrupt"
	case errors.Is(err, judemap.ErrBusy) && s.Writer() == judemap.WriterDied:
		l.shape = "half written"
	case errors.Is(err, judemap.ErrBusy):
		l.shape = "being written"
	default:
		l.shape = err.Error()
	}
	return l
}
