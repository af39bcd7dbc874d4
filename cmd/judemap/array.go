package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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

// copyTensor returns a copy of a segment's tensor. It tries for as long as limit, because a writer of another process may
// commit without a pause, or take its time over a commit.
func copyTensor(ctx context.Context, s *judemap.Segment, limit time.Duration) (judemap.Tensor, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t, err := s.ReadCopy(limited)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return t, fmt.Errorf("segment %q %w: no copy of it came about in %v", s.Name(), errNoTime, limit)
	case errors.Is(err, judemap.ErrCapacity): // the library names its option
		return t, errors.New(strings.ReplaceAll(err.Error(), "WithMaxBytes", "--"+maxBytesFlag))
	}
	return t, err
}

// openToRead opens a segment only to read it, which needs no right to write and wakes nobody.
func openToRead(name string, options ...judemap.Option) (*judemap.Segment, error) {
	return judemap.Open(name, append(options, judemap.WithReadOnly())...)
}

const maxBytesFlag = "max-bytes"

// addMaxBytesFlag gives a command that copies a tensor the flag for the most bytes that this may take. The function that
// it returns opens a segment to read so much.
func addMaxBytesFlag(cmd *cobra.Command) (open func(name string) (*judemap.Segment, error)) {
	var maxBytes int
	cmd.Flags().IntVar(&maxBytes, maxBytesFlag, 0,
		"the most bytes that the tensor may have, which is copied (default: a quarter of the memory)")
	return func(name string) (*judemap.Segment, error) {
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
	bytes int
	err   error
}

// lookAt looks at a segment's tensor. A commit in progress is waited for, but not a long one.
func lookAt(s *judemap.Segment) look {
	until := now() + 2*time.Millisecond
	t, err := s.TryRead()
	for errors.Is(err, judemap.ErrBusy) && now() < until {
		t, err = s.TryRead()
	}
	l := look{dtype: "-", err: err}
	switch {
	case err == nil:
		l.dtype, l.shape, l.bytes = t.DType().String(), fmt.Sprint(t.Shape()), len(t.Data())
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

// nameText returns a segment's name as it is, or quoted if that could do something to a terminal or a table.
func nameText(name string) string {
	quoted := strconv.Quote(name)
	if quoted != `"`+name+`"` || strings.Contains(name, " ") {
		return quoted
	}
	return name
}
