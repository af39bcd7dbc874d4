package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/cmplx"
	"strings"
	"text/tabwriter"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
	"github.com/spf13/cobra"
)

func newInspectCommand() *cobra.Command {
	var open func(name string) (source, error)
	cmd := &cobra.Command{
		Use:               "inspect NAME",
		Short:             "Show a segment's header, field by field, and what numbers its tensor has",
		Example:           "  judemap inspect camera",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			s, err := open(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			return inspect(cmd.Context(), cmd.OutOrStdout(), s.(*judemap.Segment))
		}),
	}
	open = addMaxBytesFlag(cmd)
	return cmd
}

func inspect(ctx context.Context, out io.Writer, s *judemap.Segment) error {
	file, err := s.File()
	if err != nil {
		return err
	}
	defer file.Close()
	header := make([]byte, judemap.DataOffset)
	if _, err := file.ReadAt(header, 0); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Segment %s: %d bytes of shared memory, mode %04o, writer: %v\n\n", nameText(s.Name()), info.Size(),
		info.Mode().Perm(), s.Writer())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OFFSET\tFIELD\tVALUE\tMEANING")
	for _, f := range explain(header) {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", f.offset, f.name, f.value, f.meaning)
	}
	w.Flush()
	fmt.Fprintln(out)

	t, err := copyTensor(ctx, s, copyTimeout)
	if errors.Is(err, judemap.ErrEmpty) {
		fmt.Fprintln(out, "It holds no tensor.")
		return nil
	}
	if err != nil {
		return err
	}
	sum, err := summarize(&t)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Tensor of version %d: %v %v\n", t.Version(), t.DType(), t.Shape())
	sum.print(out)
	return nil
}

// A field is one of the header.
type field struct {
	offset               int
	name, value, meaning string
}

// explain returns the header's fields, as another process may be changing them.
func explain(header []byte) []field {
	u32 := func(offset int) uint32 { return binary.LittleEndian.Uint32(header[offset:]) }
	u64 := func(offset int) uint64 { return binary.LittleEndian.Uint64(header[offset:]) }

	sequence := u64(layout.Sequence)
	state := "stable"
	switch {
	case sequence == 0:
		state = "nothing was ever written"
	case inCommit(sequence):
		state = "a commit is in progress, or its writer died in it"
	}
	ndim, dtype := u32(layout.NDim), judemap.DType(u32(layout.DType))
	kind := "no element type that is known"
	if size := dtype.Size(); size != 0 {
		kind = fmt.Sprintf("%v; bytes of an element: %d", dtype, size)
	}
	dims := make([]string, 0, judemap.MaxDims)
	for i := range min(ndim, judemap.MaxDims) {
		dims = append(dims, fmt.Sprint(u64(layout.Shape+8*int(i))))
	}
	elements := "elements in each dimension"
	if ndim == 0 {
		elements = "no dimensions: one element, if there is a tensor"
	}
	magic := "none: a plain segment, as the Node addon makes them"
	if u32(layout.Magic) == layout.MagicValue {
		magic = fmt.Sprintf("%q: the fields below are in use", header[layout.Magic:][:4])
	}
	flags := u32(layout.Flags)
	wakes := "some writer wakes nobody, so parked readers poll"
	if flags&layout.FlagWritersWake != 0 {
		wakes = "every writer wakes parked readers"
	}
	if flags&layout.FlagWriterAttached != 0 {
		wakes += "; a writer has not closed the segment yet, or died"
	}
	return []field{
		{layout.Sequence, "sequence", fmt.Sprint(sequence), fmt.Sprintf("version; commits: %d; %s", commitsOf(sequence), state)},
		{layout.NDim, "ndim", fmt.Sprint(ndim), fmt.Sprintf("dimensions, of at most %d", judemap.MaxDims)},
		{layout.DType, "dtype", fmt.Sprint(uint32(dtype)), kind},
		{layout.Shape, "shape", "[" + strings.Join(dims, " ") + "]", elements},
		{layout.ByteLength, "byte_length", fmt.Sprint(u64(layout.ByteLength)), "bytes of tensor"},
		{layout.Magic, "magic", fmt.Sprintf("0x%08X", u32(layout.Magic)), magic},
		{layout.Flags, "flags", fmt.Sprintf("0x%X", flags), wakes},
		{layout.Waiters, "waiters", fmt.Sprint(u32(layout.Waiters)), "parked readers, in all processes"},
		{layout.Capacity, "capacity", fmt.Sprint(u64(layout.Capacity)), "bytes of tensor that there is room for"},
	}
}

// A summary says what numbers a tensor has.
type summary struct {
	elements  int
	of        string // what of the elements the numbers are, if not they themselves
	nan, inf  int    // elements that are no numbers; they are in nothing that follows
	min, max  string // in the element type's own notation
	mean      float64
	low, high float64 // the histogram's bounds
	histogram []int
}

const histogramBins = 10

func summarize(t *judemap.Tensor) (summary, error) {
	switch t.DType() {
	case judemap.Float32:
		return summarizeSlice(judemap.Slice[float32](t))
	case judemap.Float64:
		return summarizeSlice(judemap.Slice[float64](t))
	case judemap.Int32:
		return summarizeSlice(judemap.Slice[int32](t))
	case judemap.Int64:
		return summarizeSlice(judemap.Slice[int64](t))
	case judemap.Uint8, judemap.Bool: // a Bool may hold more than 0 and 1 if another program wrote it
		return summarizeSlice(t.Data(), nil)
	case judemap.Int8:
		return summarizeSlice(judemap.Slice[int8](t))
	case judemap.Uint16:
		return summarizeSlice(judemap.Slice[uint16](t))
	case judemap.Int16:
		return summarizeSlice(judemap.Slice[int16](t))
	case judemap.Float16:
		return summarizeFloats(judemap.Slice[judemap.F16](t))
	case judemap.BFloat16:
		return summarizeFloats(judemap.Slice[judemap.BF16](t))
	case judemap.Uint32:
		return summarizeSlice(judemap.Slice[uint32](t))
	case judemap.Uint64:
		return summarizeSlice(judemap.Slice[uint64](t))
	case judemap.Float8E4M3FN:
		return summarizeFloats(judemap.Slice[judemap.F8E4M3FN](t))
	case judemap.Float8E5M2:
		return summarizeFloats(judemap.Slice[judemap.F8E5M2](t))
	case judemap.Complex64: // complex numbers have no order, and so no least one
		numbers, err := judemap.Slice[complex64](t)
		s, err := summarizeAs(numbers, err, func(c complex64) float64 { return cmplx.Abs(complex128(c)) })
		s.of = "magnitudes"
		return s, err
	}
	return summary{}, fmt.Errorf("there is no summary of elements of %v", t.DType())
}

// summarizeFloats is summarizeSlice for the small floats.
func summarizeFloats[T interface{ Float32() float32 }](values []T, err error) (summary, error) {
	return summarizeAs(values, err, T.Float32)
}

type number interface {
	float32 | float64 | int32 | int64 | uint32 | uint64 | uint8 | int8 | uint16 | int16
}

func summarizeSlice[T number](values []T, err error) (summary, error) {
	return summarizeAs(values, err, func(v T) T { return v })
}

// summarizeAs summarizes the numbers that elements stand for, unless there is an error already.
func summarizeAs[E any, T number](elements []E, err error, as func(E) T) (summary, error) {
	s := summary{elements: len(elements)}
	var lowest, highest T
	numbers := 0
	for _, e := range elements {
		v := as(e)
		switch f := float64(v); {
		case math.IsNaN(f):
			s.nan++
		case math.IsInf(f, 0):
			s.inf++
		case numbers == 0:
			lowest, highest, numbers, s.mean = v, v, 1, f
		default:
			lowest, highest = min(lowest, v), max(highest, v)
			numbers++
			s.mean += (f - s.mean) / float64(numbers) // a sum might overflow
		}
	}
	if err != nil || numbers == 0 {
		return s, err
	}
	s.min, s.max = fmt.Sprint(lowest), fmt.Sprint(highest)
	s.low, s.high = float64(lowest), float64(highest)
	s.histogram = make([]int, histogramBins)
	// Halves, because the distance between two numbers may be more than a float64 can hold.
	width := s.high/2 - s.low/2
	for _, e := range elements {
		f := float64(as(e))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		bin := 0
		if width > 0 {
			bin = min(int((f/2-s.low/2)/width*histogramBins), histogramBins-1)
		}
		s.histogram[bin]++
	}
	return s, nil
}

func (s *summary) print(out io.Writer) {
	fmt.Fprintf(out, "elements %d\n", s.elements)
	if s.nan+s.inf > 0 {
		fmt.Fprintf(out, "NaN      %d\ninfinite %d\n", s.nan, s.inf)
	}
	if s.histogram == nil {
		return
	}
	if s.of != "" {
		fmt.Fprintf(out, "Of the %s:\n", s.of)
	}
	fmt.Fprintf(out, "min      %s\nmax      %s\nmean     %.6g\n\n", s.min, s.max, s.mean)
	most := 0
	for _, n := range s.histogram {
		most = max(most, n)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, n := range s.histogram {
		from := s.low + (s.high/histogramBins-s.low/histogramBins)*float64(i)
		bar := strings.Repeat("█", (n*40+most-1)/most)
		fmt.Fprintf(w, "%.4g\t%d\t  %s\n", from, n, bar)
		if s.low == s.high {
			break
		}
	}
	w.Flush()
}
