package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/judemap/judemap"
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

// copyTimeout is how long copyTensor tries.
const copyTimeout = 2 * time.Second

// copyTensor returns a copy of a segment's tensor. ReadCopy would wait for as long as a writer of another process
// commits without a pause.
func copyTensor(ctx context.Context, s *judemap.Segment) (judemap.Tensor, error) {
	if _, err := s.TryRead(); err != nil && !errors.Is(err, judemap.ErrBusy) {
		return judemap.Tensor{}, err // above all ErrEmpty, for which ReadCopyWait would wait
	}
	limited, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	t, err := s.ReadCopyWait(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return t, fmt.Errorf("segment %q is written so often that no copy of it came about in %v", s.Name(), copyTimeout)
	}
	return t, err
}

// openToRead opens a segment only to read it, which needs no right to write and wakes nobody.
func openToRead(name string) (*judemap.Segment, error) {
	return judemap.Open(name, judemap.WithReadOnly())
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
	var t judemap.Tensor
	err := judemap.ErrBusy
	for until := now() + 2*time.Millisecond; errors.Is(err, judemap.ErrBusy) && now() < until; {
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
