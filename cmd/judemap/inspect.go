package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/cmplx"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
	"github.com/spf13/cobra"
)

func newInspectCommand() *cobra.Command {
	var open func(name string) (source, error)
	var asJSON, sizes *bool
	cmd := &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show the header of a segment or stream, field by field, and what numbers its tensor has",
		Long: `Show the header of a segment or stream, field by field, and what numbers its tensor has. Of a stream that is the newest
frame, and there are tables of its slots and readers.`,
		Example: `  judemap inspect camera
  judemap inspect camera --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(completeNames),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			s, err := open(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			seen, err := inspect(cmd.Context(), s)
			if seen == nil {
				return err
			}
			if *asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), seen), err)
			}
			var text bytes.Buffer
			seen.print(&text, tableWidth(cmd.OutOrStdout()), sizeFormat(*sizes))
			_, failed := text.WriteTo(cmd.OutOrStdout())
			return errors.Join(failed, err)
		}),
	}
	asJSON, sizes = addJSONFlag(cmd), addBytesFlag(cmd)
	open = addMaxBytesFlag(cmd)
	return cmd
}

// An inspection is what inspect shows.
type inspection struct {
	Name   string  `json:"name"`
	Kind   string  `json:"kind"`
	Size   int64   `json:"size"` // of its file, in bytes
	Mode   string  `json:"mode"` // of the file, octal
	Writer string  `json:"writer"`
	Header []field `json:"header"`

	// What only a stream has; else nil.
	Slots   []slotState   `json:"slots,omitzero"`
	Readers []readerState `json:"readers,omitzero"`

	Tensor  *summary `json:"tensor,omitempty"`  // nil if there is none
	Problem string   `json:"problem,omitempty"` // why the tensor can't be had, if that is not for want of one
}

// A slotState is what can be seen of a slot.
type slotState struct {
	Slot     int      `json:"slot"`
	Offset   uint64   `json:"offset"`  // of its header, in bytes from the start of the stream
	Version  uint64   `json:"version"` // of its frame; 0: none; odd: one is being written
	DType    string   `json:"dtype,omitempty"`
	Shape    []uint64 `json:"shape,omitzero"`
	PinnedBy []int    `json:"pinned_by"` // numbers of readers
}

// A readerState is what can be seen of a reader.
type readerState struct {
	Reader  int    `json:"reader"`
	Process int    `json:"process"`
	Next    uint64 `json:"next"` // the version of the frame that it wants next
	Held    int    `json:"held"` // slots
	Dead    bool   `json:"dead"`
}

// inspect returns what can be seen, also with an error of the tensor, unless it is nil.
func inspect(ctx context.Context, s source) (*inspection, error) {
	file, err := s.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	seen := &inspection{Name: s.Name(), Kind: kindOf(s), Size: info.Size(), Mode: fmt.Sprintf("%04o", permissions(info)),
		Writer: s.Writer().String()}
	if stream, ok := s.(*judemap.Stream); ok {
		headers, err := readStreamHeaders(stream)
		if err != nil {
			return nil, err
		}
		seen.Header = headers.explain()
		seen.Slots, seen.Readers = headers.slotStates(), []readerState{}
		for _, r := range stream.Readers() {
			seen.Readers = append(seen.Readers, readerState{r.Number, r.Process, r.Next, r.Held, r.Dead})
		}
	} else {
		header := make([]byte, judemap.DataOffset)
		if _, err := file.ReadAt(header, 0); err != nil {
			return nil, err
		}
		seen.Header = explain(header)
	}

	seen.Tensor, err = summaryOf(ctx, s)
	if err != nil {
		seen.Problem = err.Error()
	}
	return seen, err
}

// permissions returns who may open a segment's file. On Windows it is the user alone, of which the file's mode says nothing.
func permissions(info fs.FileInfo) fs.FileMode {
	if runtime.GOOS == "windows" {
		return 0o600
	}
	return info.Mode().Perm()
}

// summaryOf summarizes the tensor of a segment, or a stream's newest frame; nil if there is none.
func summaryOf(ctx context.Context, s source) (*summary, error) {
	t, err := copyTensor(ctx, s, copyTimeout)
	if errors.Is(err, judemap.ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sum, err := summarize(arrayOfTensor(&t))
	if err != nil {
		return nil, err
	}
	sum.Version, sum.DType, sum.Shape = t.Version(), t.DType().String(), t.Shape()
	return &sum, nil
}

// print prints it in lines of at most so many characters, as far as that is possible; 0: of any number.
func (i *inspection) print(out io.Writer, width int, sizes sizeFormat) {
	size := sizes.text(i.Size)
	if sizes == exactSizes {
		size += " bytes"
	}
	text := fmt.Sprintf(": %s of shared memory, mode %s, writer: %s", size, i.Mode, i.Writer)
	name := nameText(i.Name)
	if width > 0 {
		name = shortened(name, max(1, width-len(text)-len(i.Kind)-1))
	}
	fmt.Fprintf(out, "%s%s %s%s\n\n", strings.ToUpper(i.Kind[:1]), i.Kind[1:], name, text)
	t := table{wrap: true}
	t.row("OFFSET", "FIELD", "VALUE", "MEANING")
	for _, f := range i.Header {
		t.row(fmt.Sprint(f.Offset), f.Name, f.Value, f.Meaning)
	}
	_ = t.print(out, width) // to a buffer
	fmt.Fprintln(out)
	if i.Slots != nil {
		i.printStream(out, width)
	}
	if i.Problem != "" {
		return
	}
	if i.Tensor == nil {
		fmt.Fprintln(out, "It holds no tensor.")
		return
	}
	text = fmt.Sprintf("Tensor of version %d: %s %v", i.Tensor.Version, i.Tensor.DType, i.Tensor.Shape)
	if width > 0 {
		text = shortened(text, width)
	}
	fmt.Fprintln(out, text)
	i.Tensor.print(out)
}

// printStream prints what only a stream has.
func (i *inspection) printStream(out io.Writer, width int) {
	t := table{wrap: true}
	t.row("SLOT", "OFFSET", "VERSION", "TENSOR", "PINNED BY")
	for _, s := range i.Slots {
		tensor := s.DType + " " + fmt.Sprint(s.Shape)
		switch {
		case layout.InCommit(s.Version):
			tensor = "being written, or its writer died"
		case s.Version == 0:
			tensor = "none"
		}
		readers := "nobody"
		if len(s.PinnedBy) > 0 {
			readers = "reader " + strings.Trim(fmt.Sprint(s.PinnedBy), "[]")
		}
		t.row(fmt.Sprint(s.Slot), fmt.Sprint(s.Offset), fmt.Sprint(s.Version), tensor, readers)
	}
	_ = t.print(out, width)
	fmt.Fprintln(out)
	if len(i.Readers) == 0 {
		fmt.Fprint(out, "It has no readers.\n\n")
		return
	}
	t = table{wrap: true}
	t.row("READER", "PROCESS", "NEXT VERSION", "SLOTS HELD", "STATE")
	for _, r := range i.Readers {
		state := "alive"
		if r.Dead {
			state = "dead: the writer takes its place when it needs a slot"
		}
		t.row(fmt.Sprint(r.Reader), fmt.Sprint(r.Process), fmt.Sprint(r.Next), fmt.Sprint(r.Held), state)
	}
	_ = t.print(out, width)
	fmt.Fprintln(out)
}

// A field is one of the header.
type field struct {
	Offset  int    `json:"offset"`
	Name    string `json:"field"`
	Value   string `json:"value"`
	Meaning string `json:"meaning"`
}

// explain returns the fields of a segment's header, as another process may be changing them.
func explain(header []byte) []field {
	u32 := func(offset int) uint32 { return binary.LittleEndian.Uint32(header[offset:]) }
	u64 := func(offset int) uint64 { return binary.LittleEndian.Uint64(header[offset:]) }

	sequence := u64(layout.Sequence)
	state := "stable"
	switch {
	case sequence == 0:
		state = "nothing was ever written"
	case layout.InCommit(sequence):
		state = "a commit is in progress, or its writer died in it"
	}
	ndim, dtype := u32(layout.NDim), judemap.DType(u32(layout.DType))
	kind := "no element type that is known"
	if size := dtype.Size(); size != 0 {
		kind = fmt.Sprintf("%v; bytes of an element: %d", dtype, size)
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
	return append([]field{
		{layout.Sequence, "sequence", fmt.Sprint(sequence), fmt.Sprintf("version; commits: %d; %s", layout.Commits(sequence), state)},
		{layout.NDim, "ndim", fmt.Sprint(ndim), fmt.Sprintf("dimensions, of at most %d", judemap.MaxDims)},
		{layout.DType, "dtype", fmt.Sprint(uint32(dtype)), kind},
		{layout.Shape, "shape", fmt.Sprint(shapeIn(header)), elements},
		{layout.ByteLength, "byte_length", fmt.Sprint(u64(layout.ByteLength)), "bytes of tensor"},
		{layout.Magic, "magic", fmt.Sprintf("0x%08X", u32(layout.Magic)), magic},
		{layout.Flags, "flags", fmt.Sprintf("0x%X", flags), flagsText(flags)},
		{layout.Waiters, "waiters", fmt.Sprint(u32(layout.Waiters)), "parked readers, in all processes"},
		{layout.Capacity, "capacity", fmt.Sprint(u64(layout.Capacity)), "bytes of tensor that there is room for"},
	}, explainCreator(header, layout.Creator)...)
}

// explainCreator returns the fields that say who made it, which begin at an offset.
func explainCreator(header []byte, at int) []field {
	word := func(offset int) string { return fmt.Sprint(binary.LittleEndian.Uint32(header[at+offset:])) }
	made := binary.LittleEndian.Uint64(header[at+layout.CreatorTime:])
	when := "nanoseconds since 1970"
	if made != 0 && made <= math.MaxInt64 {
		when = "when it was made: " + time.Unix(0, int64(made)).UTC().Format(time.RFC3339)
	}
	return []field{
		{at + layout.CreatorStart, "creator.start", fmt.Sprint(binary.LittleEndian.Uint64(header[at+layout.CreatorStart:])),
			"when the process that made it began, in the system's own unit"},
		{at + layout.CreatorTime, "creator.time", fmt.Sprint(made), when},
		{at + layout.CreatorProcess, "creator.process", word(layout.CreatorProcess), "the id of that process; 0: it does not say"},
		{at + layout.CreatorSpace, "creator.space", word(layout.CreatorSpace), "where that id means something; 0: everywhere, or not known"},
	}
}

// shapeIn returns the shape in a segment's header, or a slot's.
func shapeIn(header []byte) []uint64 {
	ndim := min(binary.LittleEndian.Uint32(header[layout.NDim:]), judemap.MaxDims)
	shape := make([]uint64, ndim)
	for i := range shape {
		shape[i] = binary.LittleEndian.Uint64(header[layout.Shape+8*i:])
	}
	return shape
}

// flagsText says what the flags mean that segments and streams have in common.
func flagsText(flags uint32) string {
	text := "some writer wakes nobody, so parked readers poll"
	if flags&layout.FlagWritersWake != 0 {
		text = "every writer wakes parked readers"
	}
	if flags&layout.FlagWriterAttached != 0 {
		text += "; a writer has not closed it yet, or died"
	}
	return text
}

// A summary says what numbers a tensor has.
type summary struct {
	Version   uint64      `json:"version"`
	DType     string      `json:"dtype"`
	Shape     []int       `json:"shape"`
	Elements  int         `json:"elements"`
	Of        string      `json:"of,omitempty"` // what of the elements the numbers are, if not they themselves
	NaN       int         `json:"nan"`          // elements that are no numbers; they are in nothing that follows
	Infinite  int         `json:"infinite"`     // likewise
	Min       json.Number `json:"min,omitempty"`
	Max       json.Number `json:"max,omitempty"`
	Mean      float64     `json:"mean"`
	low, high float64     // the histogram's bounds
	Histogram []int       `json:"histogram,omitempty"` // of histogramBins equal parts between the least and the greatest
	fine      []int       // the same in fineBins, for where there is room for them
}

const (
	histogramBins = 10
	fineBins      = 4 * histogramBins
)

func summarize(a array) (summary, error) {
	le := binary.LittleEndian
	switch a.dtype {
	case judemap.Float32:
		return summarizeAs(a, func(e []byte) float32 { return math.Float32frombits(le.Uint32(e)) }), nil
	case judemap.Float64:
		return summarizeAs(a, func(e []byte) float64 { return math.Float64frombits(le.Uint64(e)) }), nil
	case judemap.Int32:
		return summarizeAs(a, func(e []byte) int32 { return int32(le.Uint32(e)) }), nil
	case judemap.Int64:
		return summarizeAs(a, func(e []byte) int64 { return int64(le.Uint64(e)) }), nil
	case judemap.Uint8, judemap.Bool: // a Bool may hold more than 0 and 1 if another program wrote it
		return summarizeAs(a, func(e []byte) uint8 { return e[0] }), nil
	case judemap.Int8:
		return summarizeAs(a, func(e []byte) int8 { return int8(e[0]) }), nil
	case judemap.Uint16:
		return summarizeAs(a, le.Uint16), nil
	case judemap.Int16:
		return summarizeAs(a, func(e []byte) int16 { return int16(le.Uint16(e)) }), nil
	case judemap.Float16:
		return summarizeAs(a, func(e []byte) float32 { return judemap.F16(le.Uint16(e)).Float32() }), nil
	case judemap.BFloat16:
		return summarizeAs(a, func(e []byte) float32 { return judemap.BF16(le.Uint16(e)).Float32() }), nil
	case judemap.Uint32:
		return summarizeAs(a, le.Uint32), nil
	case judemap.Uint64:
		return summarizeAs(a, le.Uint64), nil
	case judemap.Float8E4M3FN:
		return summarizeAs(a, func(e []byte) float32 { return judemap.F8E4M3FN(e[0]).Float32() }), nil
	case judemap.Float8E5M2:
		return summarizeAs(a, func(e []byte) float32 { return judemap.F8E5M2(e[0]).Float32() }), nil
	case judemap.Complex64: // complex numbers have no order, and so no least one
		s := summarizeAs(a, func(e []byte) float64 {
			return cmplx.Abs(complex128(complex(math.Float32frombits(le.Uint32(e)), math.Float32frombits(le.Uint32(e[4:])))))
		})
		s.Of = "magnitudes"
		return s, nil
	}
	return summary{}, fmt.Errorf("there is no summary of elements of %v", a.dtype)
}

type number interface {
	float32 | float64 | int32 | int64 | uint32 | uint64 | uint8 | int8 | uint16 | int16
}

// summarizeAs summarizes the numbers that elements stand for, each of which `as` makes of its bytes.
func summarizeAs[T number](a array, as func(element []byte) T) summary {
	size := a.dtype.Size()
	s := summary{Elements: len(a.data) / size}
	var lowest, highest T
	numbers := 0
	for i := 0; i < len(a.data); i += size {
		v := as(a.data[i : i+size])
		switch f := float64(v); {
		case math.IsNaN(f):
			s.NaN++
		case math.IsInf(f, 0):
			s.Infinite++
		case numbers == 0:
			lowest, highest, numbers, s.Mean = v, v, 1, f
		default:
			lowest, highest = min(lowest, v), max(highest, v)
			numbers++
			s.Mean += f/float64(numbers) - s.Mean/float64(numbers) // a sum might overflow, and so might a difference
		}
	}
	if numbers == 0 {
		return s
	}
	s.Min, s.Max = json.Number(fmt.Sprint(lowest)), json.Number(fmt.Sprint(highest))
	s.low, s.high = float64(lowest), float64(highest)
	s.Histogram, s.fine = make([]int, histogramBins), make([]int, fineBins)
	// Halves, because the distance between two numbers may be more than a float64 can hold.
	width := s.high/2 - s.low/2
	for i := 0; i < len(a.data); i += size {
		f := float64(as(a.data[i : i+size]))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		bin := 0
		if width > 0 {
			bin = min(int((f/2-s.low/2)/width*fineBins), fineBins-1)
		}
		s.Histogram[bin/(fineBins/histogramBins)]++
		s.fine[bin]++
	}
	return s
}

func (s *summary) print(out io.Writer) {
	fmt.Fprintf(out, "elements %d\n", s.Elements)
	if s.NaN+s.Infinite > 0 {
		fmt.Fprintf(out, "NaN      %d\ninfinite %d\n", s.NaN, s.Infinite)
	}
	if s.Histogram == nil {
		return
	}
	if s.Of != "" {
		fmt.Fprintf(out, "Of the %s:\n", s.Of)
	}
	fmt.Fprintf(out, "min      %s\nmax      %s\nmean     %.6g\n\n", s.Min, s.Max, s.Mean)
	most := 0
	for _, n := range s.Histogram {
		most = max(most, n)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, n := range s.Histogram {
		from := s.low + (s.high/histogramBins-s.low/histogramBins)*float64(i)
		bar := strings.Repeat("█", (n*40+most-1)/most)
		fmt.Fprintf(w, "%.4g\t%d\t  %s\n", from, n, bar)
		if s.low == s.high {
			break
		}
	}
	w.Flush()
}
