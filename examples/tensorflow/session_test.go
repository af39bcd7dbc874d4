package tensorflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// Every element type goes in and comes out as it is, in every kind of shape.
func TestTypes(t *testing.T) {
	s := load(t, "types.pb", "")
	in, inReader := newStream(t, 1<<12)
	out, outReader := newStream(t, 1<<12)
	for dtype := judemap.Float32; dtype <= judemap.Complex64; dtype++ {
		for _, shape := range [][]int{{}, {0}, {1}, {3, 5}, {2, 0, 3}, {1, 2, 1, 2, 1, 2, 1, 2}} {
			size := dtype.Size()
			for _, n := range shape {
				size *= n
			}
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i*37 + 11)
				if dtype == judemap.Bool {
					data[i] %= 2
				}
			}
			if err := in.Write(t.Context(), shape, dtype, data); err != nil {
				t.Fatal(err)
			}
			f := next(t, inReader)
			err := s.Run(limited(t), map[string]*judemap.Tensor{"in_" + dtype.String(): &f},
				map[string]Output{"out_" + dtype.String(): out.Update})
			if err != nil {
				t.Fatalf("%v %v: %v", dtype, shape, err)
			}
			got := next(t, outReader)
			if got.DType() != dtype || !cmp.Equal(got.Shape(), shape) || !bytes.Equal(got.Data(), data) {
				t.Errorf("%v %v: got %v with % x, want % x", dtype, shape, got, got.Data(), data)
			}
			if !bytes.Equal(f.Data(), data) {
				t.Errorf("%v %v: TensorFlow wrote to its input", dtype, shape)
			}
		}
	}
	if n := inputsInUse.Load(); n != 0 {
		t.Errorf("%d inputs are in use after the last run", n)
	}
}

func TestSignatures(t *testing.T) {
	sum := load(t, "pair", "sum")
	inputs, outputs := sum.Names()
	if got, want := fmt.Sprint(inputs, outputs), "[a b] [sum]"; got != want {
		t.Errorf("signature sum has %s, want %s", got, want)
	}
	port, err := sum.Input("a")
	if got, want := port.String(), `"a" float32 [? 2]`; err != nil || got != want {
		t.Errorf("input a is %s, %v, want %s", got, err, want)
	}
	in, inReader := newStream(t, 1<<12)
	a := frame(t, in, inReader, []int{2, 2}, []float32{1, 2, 3, 4})
	a.Keep()
	b := frame(t, in, inReader, []int{2}, []float32{10, 20})
	result, err := judemap.New(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	err = sum.Run(limited(t), map[string]*judemap.Tensor{"a": &a, "b": &b}, map[string]Output{"sum": ToSegment(result)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := result.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float32{11, 22, 13, 24}, elements[float32](t, got)); diff != "" {
		t.Errorf("sum: -want +got\n%s", diff)
	}

	// Two outputs, to a stream and a segment. The input is the segment's own view.
	parts := load(t, "pair", "parts")
	whole, wholeReader := newStream(t, 1<<12)
	x, err := judemap.New(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := judemap.WriteSlice(x, []int{2}, []float32{1.25, 7.5}); err != nil {
		t.Fatal(err)
	}
	view, err := x.Read()
	if err != nil {
		t.Fatal(err)
	}
	err = parts.Run(limited(t), map[string]*judemap.Tensor{"x": &view},
		map[string]Output{"whole": whole.Update, "rest": ToSegment(result)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err = result.Read(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]float32{{1, 7}, {0.25, 0.5}},
		[][]float32{elements[float32](t, next(t, wholeReader)), elements[float32](t, got)}); diff != "" {
		t.Errorf("parts: -want +got\n%s", diff)
	}
}

func TestLoadErrors(t *testing.T) {
	folder := t.TempDir()
	garbage, empty := filepath.Join(folder, "garbage.pb"), filepath.Join(folder, "empty.pb")
	if err := errors.Join(os.WriteFile(garbage, []byte("no graph"), 0o600), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, signature, text string
		is                    error
	}{
		{filepath.Join(folder, "none"), "", "none", fs.ErrNotExist},
		{folder, "", "NOT_FOUND", nil},
		{garbage, "", "INVALID_ARGUMENT", nil},
		{empty, "", "empty", nil},
		{model(t, "pair"), "difference", `signature "difference"; there are `, ErrName},
		{model(t, "types.pb"), "sum", "a frozen graph has none", ErrName},
	} {
		s, err := Load(c.path, c.signature)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), c.path) && c.is != fs.ErrNotExist {
			t.Errorf("Load(%q, %q): %v, want %q and the path in it", c.path, c.signature, err, c.text)
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("Load(%q, %q): %v, want one that is %v", c.path, c.signature, err, c.is)
		}
	}
}

func TestWrongCalls(t *testing.T) {
	digits, pair, words := load(t, "digits", ""), load(t, "pair", "sum"), load(t, "words", "")
	s, r := newStream(t, 1<<16)
	floats := frame(t, s, r, []int{2, 8, 8, 1}, make([]float32, 128))
	floats.Keep()
	flat := frame(t, s, r, []int{2, 64}, make([]float32, 128))
	flat.Keep()
	raw := frame(t, s, r, []int{2, 8, 8, 1}, make([]uint8, 128))
	out, _ := newStream(t, 1<<16)
	tiny, err := judemap.New(8)
	if err != nil {
		t.Fatal(err)
	}
	defer tiny.Close()
	inputs, outputs := digits.Names()
	if len(inputs) != 1 || len(outputs) != 1 {
		t.Fatalf("the digits' signature has %v, %v", inputs, outputs)
	}
	in, logits := inputs[0], outputs[0]
	for _, c := range []struct {
		name    string
		session *Session
		inputs  map[string]*judemap.Tensor
		outputs map[string]Output
		text    string
		is      error
	}{
		{"type", digits, map[string]*judemap.Tensor{in: &raw}, map[string]Output{logits: out.Update},
			fmt.Sprintf("the model takes float32 [? 8 8 1] as %q, and the tensor is uint8 [2 8 8 1]", in), judemap.ErrDType},
		{"shape", digits, map[string]*judemap.Tensor{in: &flat}, map[string]Output{logits: out.Update},
			fmt.Sprintf("the model takes float32 [? 8 8 1] as %q, and the tensor is float32 [2 64]", in), judemap.ErrShape},
		{"input", digits, map[string]*judemap.Tensor{"pixels": &floats}, map[string]Output{logits: out.Update},
			fmt.Sprintf(`input "pixels"; the signature has %s`, in), ErrName},
		{"output", digits, map[string]*judemap.Tensor{in: &floats}, map[string]Output{"classes": out.Update},
			fmt.Sprintf(`output "classes"; the signature has %s`, logits), ErrName},
		{"output's number", digits, map[string]*judemap.Tensor{in: &floats},
			map[string]Output{"serving_default_image:7": out.Update}, "", ErrName},
		{"no tensor", digits, map[string]*judemap.Tensor{in: {}}, map[string]Output{logits: out.Update}, in, judemap.ErrEmpty},
		{"nil", digits, map[string]*judemap.Tensor{in: nil}, map[string]Output{logits: out.Update}, in, judemap.ErrEmpty},
		{"no outputs", digits, map[string]*judemap.Tensor{in: &floats}, nil, "without outputs", nil},
		{"an input too few", pair, map[string]*judemap.Tensor{}, map[string]Output{"sum": out.Update}, "INVALID_ARGUMENT", nil},
		{"strings", words, map[string]*judemap.Tensor{"text": &raw}, map[string]Output{"length": out.Update},
			`"text" is of string in the model`, judemap.ErrDType},
		{"room", digits, map[string]*judemap.Tensor{in: &floats}, map[string]Output{logits: ToSegment(tiny)}, logits,
			judemap.ErrCapacity},
	} {
		err := c.session.Run(limited(t), c.inputs, c.outputs)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q in an error that is %v", c.name, err, c.text, c.is)
		}
	}
	var failure *Error
	err = pair.Run(limited(t), nil, map[string]Output{"sum": out.Update})
	if !errors.As(err, &failure) || failure.Code != 3 || failure.Code.String() != "INVALID_ARGUMENT" || failure.Message == "" {
		t.Errorf("TensorFlow's error is %#v", err)
	}
	if out.Version() != 0 {
		t.Errorf("a call with an error has committed %v", out)
	}
	if n := inputsInUse.Load(); n != 0 {
		t.Errorf("%d inputs are in use after calls with errors", n)
	}
}

// What TensorFlow would copy is refused, at the first address that is not aligned and at others.
func TestMisaligned(t *testing.T) {
	s := load(t, "types.pb", "")
	x, err := judemap.New(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := judemap.WriteSlice(x, []int{16}, make([]float32, 16)); err != nil {
		t.Fatal(err)
	}
	out, r := newStream(t, 1<<12)
	for offset := 0; offset <= 64; offset += 4 {
		copied, err := x.ReadInto(Aligned(256)[offset:])
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(limited(t), map[string]*judemap.Tensor{"in_float32": &copied}, map[string]Output{"out_float32": out.Update})
		switch {
		case offset%64 == 0 && err != nil:
			t.Errorf("at %d: %v", offset, err)
		case offset%64 == 0:
			next(t, r)
		case !errors.Is(err, ErrMisaligned) || !strings.Contains(err.Error(), fmt.Sprintf("%#x", copied.DataPtr())):
			t.Errorf("at %d: %v, want ErrMisaligned with the address %#x", offset, err, copied.DataPtr())
		}
		if n := inputsInUse.Load(); n != 0 {
			t.Fatalf("at %d: %d inputs are in use", offset, n)
		}
	}
}

// startAtGate starts a run of gate.pb, which then waits until openGate.
func startAtGate(t *testing.T, ctx context.Context, s *Session, x *judemap.Tensor, y Output) (result chan error) {
	t.Helper()
	before := inputsInUse.Load()
	result = make(chan error, 1)
	go func() { result <- s.Run(ctx, map[string]*judemap.Tensor{"x": x}, map[string]Output{"y": y}) }()
	eventually(t, "the run has its input", func() bool { return inputsInUse.Load() == before+1 })
	time.Sleep(20 * time.Millisecond)
	select {
	case err := <-result:
		t.Fatalf("the run at a closed gate returned %v", err)
	default:
	}
	return result
}

func openGate(t *testing.T, s *Session) {
	t.Helper()
	ignore := func(context.Context, []int, judemap.DType, func([]byte) error) error { return nil }
	if err := s.Run(limited(t), nil, map[string]Output{"open": ignore}); err != nil {
		t.Fatal(err)
	}
}

// TensorFlow looks at the memory itself: what is changed there while a run waits comes out.
func TestReadsInPlace(t *testing.T) {
	s := load(t, "gate.pb", "")
	x, err := judemap.New(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := judemap.WriteSlice(x, []int{4}, filled(4, 1)); err != nil {
		t.Fatal(err)
	}
	copied, err := x.ReadInto(Aligned(16))
	if err != nil {
		t.Fatal(err)
	}
	out, r := newStream(t, 1<<12)
	result := startAtGate(t, limited(t), s, &copied, out.Update)
	copy(elements[float32](t, copied), filled(4, 2))
	openGate(t, s)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(filled(4, 2), elements[float32](t, next(t, r))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	// A view of a segment that the next commit overwrites meanwhile gives no result.
	view, err := x.Read()
	if err != nil {
		t.Fatal(err)
	}
	result = startAtGate(t, limited(t), s, &view, out.Update)
	if err := judemap.WriteSlice(x, []int{4}, filled(4, 3)); err != nil {
		t.Fatal(err)
	}
	version := out.Version()
	openGate(t, s)
	if err := <-result; !errors.Is(err, ErrOverwritten) || out.Version() != version {
		t.Errorf("with an input that was overwritten: %v, and %v", err, out)
	}
}

// The context ends while the model runs: Run returns, the frame stays whole, and nothing comes out any more.
func TestContextEnds(t *testing.T) {
	s := load(t, "gate.pb", "")
	in, r := newStream(t, 1<<12)
	out, _ := newStream(t, 1<<12)
	x := frame(t, in, r, []int{4}, filled(4, 1))
	ctx, cancel := context.WithCancel(context.Background())
	result := startAtGate(t, ctx, s, &x, out.Update)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("Run returned %v", err)
	}
	for i := range 10 { // more than there are slots
		frame(t, in, r, []int{4}, filled(4, float32(i+2)))
	}
	if held := in.Readers()[0].Held; held != 2 || !x.Valid() || !cmp.Equal(elements[float32](t, x), filled(4, 1)) {
		t.Errorf("the frame is %v of %v while the model runs, and %d slots are held, want 2", elements[float32](t, x), x, held)
	}
	openGate(t, s)
	eventually(t, "the model is done", func() bool { return inputsInUse.Load() == 0 })
	if held := in.Readers()[0].Held; held != 1 {
		t.Errorf("%d slots are held when the model is done, want 1", held)
	}
	for range 10 {
		frame(t, in, r, []int{4}, filled(4, 0))
	}
	if x.Valid() {
		t.Error("the frame is held when the model is done")
	}
	if out.Version() != 0 {
		t.Errorf("%v after Run had returned", out)
	}
	if err := s.Run(ctx, map[string]*judemap.Tensor{"x": &x}, map[string]Output{"y": out.Update}); err != context.Canceled {
		t.Errorf("Run with a context that has ended: %v", err)
	}
}

// A frame goes to two runs. The caller of one leaves; the frame is held until both are done.
func TestFrameInTwoRuns(t *testing.T) {
	s := load(t, "gate.pb", "")
	in, r := newStream(t, 1<<12)
	out, outReader := newStream(t, 1<<12)
	x := frame(t, in, r, []int{4}, filled(4, 1))
	ctx, cancel := context.WithCancel(context.Background())
	first := startAtGate(t, ctx, s, &x, out.Update)
	second := startAtGate(t, limited(t), s, &x, out.Update)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	openGate(t, s) // for the first, which came before
	eventually(t, "the first run is done", func() bool { return inputsInUse.Load() == 1 })
	for range 10 { // more than there are slots
		frame(t, in, r, []int{4}, filled(4, 0))
	}
	if held := in.Readers()[0].Held; held != 2 || !x.Valid() {
		t.Errorf("%d slots are held while the second run goes on, want 2", held)
	}
	openGate(t, s)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(filled(4, 1), elements[float32](t, next(t, outReader))); diff != "" {
		t.Errorf("the second run: -want +got\n%s", diff)
	}
	if held := in.Readers()[0].Held; held != 1 {
		t.Errorf("%d slots are held when both are done, want 1", held)
	}
}

// Close waits for the model, also where nobody waits for the result any more.
func TestCloseWaits(t *testing.T) {
	for _, left := range []bool{false, true} {
		s := load(t, "gate.pb", "")
		in, r := newStream(t, 1<<12)
		out, _ := newStream(t, 1<<12)
		x := frame(t, in, r, []int{4}, filled(4, 1))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		result := startAtGate(t, ctx, s, &x, out.Update)
		if left {
			cancel()
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if err := s.begin(); err != nil { // a run that opens the gate, as far as a session takes it before it is closed
			t.Fatal(err)
		}
		opener, err := s.newCall(nil, map[string]Output{"open": out.Update})
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- s.Close() }()
		}
		select {
		case err := <-closed:
			t.Fatalf("left %v: Close returned %v while the model ran", left, err)
		case <-time.After(50 * time.Millisecond):
		}
		if err := s.Run(limited(t), map[string]*judemap.Tensor{"x": &x}, map[string]Output{"y": out.Update}); err != ErrClosed {
			t.Errorf("left %v: Run of a session that is being closed: %v", left, err)
		}
		if err := opener.run(); err != nil {
			t.Fatal(err)
		}
		opener.deleteOutputs()
		s.running.Done()
		if !left {
			if err := <-result; err != nil {
				t.Errorf("the run that Close waited for: %v", err)
			}
		}
		if err := errors.Join(<-closed, <-closed); err != nil {
			t.Error(err)
		}
		if n := inputsInUse.Load(); n != 0 {
			t.Errorf("left %v: %d inputs are in use after Close", left, n)
		}
		if _, err := s.Input("x"); err != ErrClosed {
			t.Errorf("Input of a closed session: %v", err)
		}
	}
}

// A model that keeps its input in a variable finds it there, whole, at the next run.
func TestModelKeepsInput(t *testing.T) {
	s := load(t, "keep.pb", "")
	in, r := newStream(t, 1<<16)
	out, outReader := newStream(t, 1<<16)
	for i := range 20 {
		x := frame(t, in, r, []int{4096}, filled(4096, float32(i*i)))
		err := s.Run(limited(t), map[string]*judemap.Tensor{"x": &x}, map[string]Output{"y": out.Update})
		if err != nil {
			t.Fatal(err)
		}
		last := max(i-1, 0)
		if diff := cmp.Diff(filled(4096, float32(i*i-last*last)), elements[float32](t, next(t, outReader))); diff != "" {
			t.Fatalf("run %d: -want +got\n%s", i, diff)
		}
		if n := inputsInUse.Load(); n != 1 {
			t.Fatalf("run %d: TensorFlow holds %d inputs, want 1: does it copy to variables?", i, n)
		}
		for range 5 { // more than there are slots
			frame(t, in, r, []int{4096}, filled(4096, -1))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, held := inputsInUse.Load(), in.Readers()[0].Held; n != 0 || held > 1 {
		t.Errorf("after Close %d inputs are in use, and %d slots held", n, held)
	}
}

// Runs go on side by side, while contexts end, and results are those of their own inputs.
func TestConcurrentRuns(t *testing.T) {
	s := load(t, "types.pb", "")
	var wg sync.WaitGroup
	for g := range 8 {
		in, r := newStream(t, 1<<12)
		out, outReader := newStream(t, 1<<12)
		wg.Go(func() {
			for i := range 100 {
				value := filled(16, float32(g*1000+i))
				if err := judemap.StreamSlice(t.Context(), in, []int{16}, value); err != nil {
					t.Error(err)
					return
				}
				x, err := r.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == 0 {
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				err = s.Run(ctx, map[string]*judemap.Tensor{"in_float32": &x}, map[string]Output{"out_float32": out.Update})
				cancel()
				if errors.Is(err, context.Canceled) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				y, err := outReader.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				got, err := judemap.Slice[float32](&y)
				if err != nil || !cmp.Equal(got, value) {
					t.Errorf("got %v, %v, want %v", got, err, value)
				}
			}
		})
	}
	wg.Wait()
}
