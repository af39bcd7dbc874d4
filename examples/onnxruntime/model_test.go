package onnxruntime

import (
	"context"
	"errors"
	"log"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	ort "github.com/yalue/onnxruntime_go"
)

// Where the tests find what they run, which the script `test` installs.
var (
	library  = os.Getenv("ONNXRUNTIME")   // the library
	packages = os.Getenv("SITE_PACKAGES") // the folder with magika and rapidocr
)

func TestMain(m *testing.M) {
	if library != "" {
		if err := Init(library); err != nil {
			log.Fatal(err)
		}
	}
	os.Exit(m.Run())
}

func needRuntime(t testing.TB) {
	t.Helper()
	if library == "" || packages == "" {
		t.Skip("ONNXRUNTIME and SITE_PACKAGES don't say where ONNX Runtime's library and the models are")
	}
}

// magika is a model that takes int32 [-1 2048] and answers with float32 [-1 214].
func magika(t testing.TB) *Model {
	return load(t, filepath.Join("magika", "models", "standard_v3_3", "model.onnx"))
}

// detector is a model that takes float32 [-1 3 -1 -1], the last two multiples of 32, and answers with float32 [-1 1 -1 -1].
func detector(t testing.TB) *Model {
	return load(t, filepath.Join("rapidocr", "models", "PP-OCRv6_det_small.onnx"))
}

func load(t testing.TB, model string) *Model {
	t.Helper()
	needRuntime(t)
	m, err := Load(filepath.Join(packages, model), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// newFrames returns a stream and a reader of it.
func newFrames(t testing.TB, capacity int) (*judemap.Stream, *judemap.Reader) {
	t.Helper()
	s, err := judemap.NewStream(4, capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// send writes a frame of tokens to s and returns it as r sees it.
func send(t testing.TB, s *judemap.Stream, r *judemap.Reader, rows, seed int) judemap.Tensor {
	t.Helper()
	tokens := make([]int32, rows*2048)
	for i := range tokens {
		tokens[i] = int32((i*seed + i/7) % 257)
	}
	if err := judemap.StreamSlice(t.Context(), s, []int{rows, 2048}, tokens); err != nil {
		t.Fatal(err)
	}
	frame, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// byCopy is what the model answers if ONNX Runtime gets a copy in Go's memory and allocates the answer itself.
func byCopy(t testing.TB, m *Model, in *judemap.Tensor) []float32 {
	t.Helper()
	values, err := judemap.Slice[int32](in)
	if err != nil {
		t.Fatal(err)
	}
	tensor, err := ort.NewTensor(ort.NewShape(int64(in.Shape()[0]), 2048), append([]int32(nil), values...))
	if err != nil {
		t.Fatal(err)
	}
	defer tensor.Destroy()
	outputs := []ort.Value{nil}
	if err := m.session.Run([]ort.Value{tensor}, outputs); err != nil {
		t.Fatal(err)
	}
	defer outputs[0].Destroy()
	return append([]float32(nil), outputs[0].(*ort.Tensor[float32]).GetData()...)
}

// sameBits is stricter than ==, and takes NaN for what it is.
func sameBits(t testing.TB, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestInputIsNotCopied(t *testing.T) {
	m := magika(t)
	s, r := newFrames(t, 1<<16)
	frame := send(t, s, r, 1, 3)
	out := make([]byte, 214*4)
	answer := unsafe.Slice((*float32)(unsafe.Pointer(&out[0])), 214)
	if _, err := m.bind(&frame, []int{1, 214}, out); err != nil { // makes ONNX Runtime's tensor
		t.Fatal(err)
	}
	before := byCopy(t, m, &frame)

	tokens, err := judemap.Slice[int32](&frame)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tokens { // behind the tensor's back
		tokens[i] = int32(i % 100)
	}
	if err := m.Run(&frame, []int{1, 214}, out); err != nil {
		t.Fatal(err)
	}
	sameBits(t, answer, byCopy(t, m, &frame))
	if cmp.Equal(answer, before) {
		t.Error("the answer is that to the frame before it was changed")
	}
	if len(m.bound) != 1 {
		t.Errorf("%d bindings, want the first to be used again", len(m.bound))
	}
}

func TestOutputIsNotCopied(t *testing.T) {
	m := magika(t)
	s, r := newFrames(t, 1<<16)
	answers, reader := newFrames(t, 1<<16)
	slots := make(map[uintptr]bool)
	for i := range answers.Slots() {
		slots[answers.Slot(i)] = true
	}
	for seed := range 6 {
		frame := send(t, s, r, 1, seed)
		err := answers.Update(t.Context(), []int{1, 214}, judemap.Float32, func(data []byte) error {
			for i := range data {
				data[i] = 0xff // NaN everywhere, if nobody writes to it
			}
			if err := m.Run(&frame, []int{1, 214}, data); err != nil {
				return err
			}
			if at := uintptr(unsafe.Pointer(&data[0])); !slots[at] || m.bound[place{frame.DataPtr(), at}] == nil {
				t.Errorf("nothing is bound from %#x to %#x", frame.DataPtr(), at)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := judemap.Slice[float32](&answer)
		if err != nil {
			t.Fatal(err)
		}
		sameBits(t, got, byCopy(t, m, &frame))
	}
}

// A tensor is made once for each pair of slots, however many frames go through them.
func TestBindingsAreThoseOfSlots(t *testing.T) {
	m := magika(t)
	s, r := newFrames(t, 1<<16)
	answers, reader := newFrames(t, 1<<16)
	for seed := range 60 {
		rows := 1 + seed/20%2 // the shape changes, and changes back
		frame := send(t, s, r, rows, seed)
		shape, err := m.OutputShape(&frame)
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(shape, []int{rows, 214}) {
			t.Fatalf("an answer of %v to %v", shape, &frame)
		}
		err = answers.Update(t.Context(), shape, judemap.Float32, func(data []byte) error { return m.Run(&frame, shape, data) })
		if err != nil {
			t.Fatal(err)
		}
		answer, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := judemap.Slice[float32](&answer)
		if err != nil {
			t.Fatal(err)
		}
		sameBits(t, got, byCopy(t, m, &frame))
	}
	if n := len(m.bound); n > 16 {
		t.Errorf("%d bindings for 4 × 4 slots", n)
	}
}

// Memory that is new each time doesn't make the model remember more and more.
func TestBindingsAreBounded(t *testing.T) {
	m := magika(t)
	s, r := newFrames(t, 1<<16)
	frame := send(t, s, r, 1, 3)
	for range maxBindings + 10 {
		if _, err := m.bind(&frame, []int{1, 214}, make([]byte, 214*4)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.bound); n > maxBindings {
		t.Errorf("%d bindings, want %d at most", n, maxBindings)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	m := magika(t)
	s, r := newFrames(t, 1<<16)
	frame := send(t, s, r, 1, 3)
	out, shape := make([]byte, 214*4), []int{1, 214}
	n := testing.AllocsPerRun(20, func() {
		if _, err := m.OutputShape(&frame); err != nil {
			t.Fatal(err)
		}
		if err := m.Run(&frame, shape, out); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("Run allocates %v times", n)
	}
}

func TestErrors(t *testing.T) {
	m, d := magika(t), detector(t)
	frame := func(shape []int, dtype judemap.DType) *judemap.Tensor {
		s, err := judemap.New(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.Fill(shape, dtype, 1); err != nil {
			t.Fatal(err)
		}
		in, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		return &in
	}
	tests := []struct {
		name  string
		model *Model
		in    *judemap.Tensor
		shape []int
		bytes int
		want  error  // or nil
		text  string // that the error has in it
	}{
		{"another type", m, frame([]int{1, 2048}, judemap.Float32), []int{1, 214}, 856, ErrInput,
			`model.onnx takes "bytes", int32 [-1 2048] (-1: any size), and the tensor is float32 [1 2048], version 2`},
		{"another size", m, frame([]int{1, 2047}, judemap.Int32), []int{1, 214}, 856, ErrInput, `int32 [1 2047]`},
		{"another rank", m, frame([]int{2048}, judemap.Int32), []int{1, 214}, 856, ErrInput, `int32 [2048]`},
		{"no elements", m, frame([]int{0, 2048}, judemap.Int32), []int{1, 214}, 856, ErrInput, `int32 [0 2048]`},
		{"another type, of pictures", d, frame([]int{1, 3, 32, 32}, judemap.Uint8), []int{1, 1, 32, 32}, 4096, ErrInput,
			`takes "x", float32 [-1 3 -1 -1] (-1: any size), and the tensor is uint8 [1 3 32 32]`},
		{"an answer of another rank", m, frame([]int{1, 2048}, judemap.Int32), []int{214}, 856, ErrOutput,
			`model.onnx answers with "target_label", float32 [-1 214] (-1: any size), not with [214]`},
		{"too little memory", m, frame([]int{1, 2048}, judemap.Int32), []int{1, 214}, 855, ErrOutput,
			`answers with [1 214] of float32, 856 bytes, and there are 855`},
		{"too much memory", m, frame([]int{1, 2048}, judemap.Int32), []int{1, 214}, 857, ErrOutput, `and there are 857`},
		{"no answer", m, frame([]int{1, 2048}, judemap.Int32), []int{0, 214}, 0, ErrOutput, `[0 214]`},
		{"another number of answers", m, frame([]int{1, 2048}, judemap.Int32), []int{2, 214}, 1712, nil,
			`model.onnx: from int32 [1 2048]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.model.Run(test.in, test.shape, make([]byte, test.bytes))
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v\nwant %v with %s", err, test.want, test.text)
			}
			if n := len(test.model.bound); n > 1 {
				t.Errorf("%d bindings are left", n)
			}
			test.model.unbind()
		})
	}
	if _, err := d.OutputShape(tests[0].in); !errors.Is(err, ErrInput) {
		t.Errorf("OutputShape: %v", err)
	}
	// A size that only a run of the model shows to be bad.
	_, err := d.OutputShape(frame([]int{1, 3, 100, 100}, judemap.Float32))
	if err == nil || !strings.Contains(err.Error(), "PP-OCRv6_det_small.onnx: from float32 [1 3 100 100]") {
		t.Errorf("OutputShape: %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	needRuntime(t)
	nothing := filepath.Join(t.TempDir(), "model.onnx")
	if _, err := Load(nothing, 1); err == nil || !strings.Contains(err.Error(), nothing) {
		t.Errorf("a model that is not there: %v", err)
	}
	if err := os.WriteFile(nothing, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(nothing, 1); err == nil || !strings.Contains(err.Error(), nothing) {
		t.Errorf("a file that is no model: %v", err)
	}
}

func TestInitErrors(t *testing.T) {
	if library != "" {
		t.Skip("the library is loaded once")
	}
	nothing := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := Init(nothing); err == nil || !strings.Contains(err.Error(), nothing) {
		t.Errorf("a library that is not there: %v", err)
	}
}

func TestOnly(t *testing.T) {
	float := ort.InputOutputInfo{Name: "x", OrtValueType: ort.ONNXTypeTensor, Dimensions: ort.NewShape(-1, 3),
		DataType: ort.TensorElementDataTypeFloat}
	words := ort.InputOutputInfo{Name: "words", OrtValueType: ort.ONNXTypeTensor, DataType: ort.TensorElementDataTypeString}
	got, err := only([]ort.InputOutputInfo{float})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Put{"x", judemap.Float32, []int{-1, 3}}, got); diff != "" {
		t.Error(diff)
	}
	for name, infos := range map[string][]ort.InputOutputInfo{"none": nil, "two": {float, float}, "strings": {words}} {
		if _, err := only(infos); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The code in the documentation is this package's example, which the tests compile and run.
func TestPageIsTheExample(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "onnxruntime.md"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the page shows no code")
	}
	unindented := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		return strings.Join(lines, "\n")
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(unindented(string(example)), unindented(block)) {
			t.Errorf("example_test.go has not what the page shows:\n%s", block)
		}
	}
}

// Frames of each model, answered in place, and with a copy in and a copy out.
func BenchmarkAnswer(b *testing.B) {
	for _, model := range []struct {
		name    string
		load    func(testing.TB) *Model
		in, out []int
	}{
		{"filetype", magika, []int{1, 2048}, []int{1, 214}},
		{"textdetect", detector, []int{1, 3, 480, 640}, []int{1, 1, 480, 640}},
	} {
		b.Run(model.name+"/inplace", func(b *testing.B) {
			m := model.load(b)
			frame, answers := benchFrame(b, m, model.in)
			run := func(data []byte) error { return m.Run(&frame, model.out, data) }
			for range answers.Slots() { // the first run over each makes its tensors
				if err := answers.Update(context.Background(), model.out, m.Output.DType, run); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := answers.Update(context.Background(), model.out, m.Output.DType, run); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(model.name+"/copied", func(b *testing.B) {
			m := model.load(b)
			frame, answers := benchFrame(b, m, model.in)
			in, out, run := copies(b, m, &frame, model.out)
			for b.Loop() {
				copy(in, frame.Data())
				run()
				if err := answers.Write(context.Background(), model.out, m.Output.DType, out); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(model.name+"/copies", func(b *testing.B) { // what the one above does and the first does not
			m := model.load(b)
			frame, answers := benchFrame(b, m, model.in)
			in, out, _ := copies(b, m, &frame, model.out)
			for b.Loop() {
				copy(in, frame.Data())
				if err := answers.Write(context.Background(), model.out, m.Output.DType, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchFrame returns a frame for m, and where its answers go.
func benchFrame(b *testing.B, m *Model, shape []int) (judemap.Tensor, *judemap.Stream) {
	b.Helper()
	s, r := newFrames(b, 4<<20)
	if err := s.Fill(context.Background(), shape, m.Input.DType, 0); err != nil {
		b.Fatal(err)
	}
	frame, err := r.Next(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	answers, _ := newFrames(b, 4<<20)
	b.ReportAllocs()
	return frame, answers
}

// copies returns memory of Go's for a model's input and output, and what runs the model over it.
func copies(b *testing.B, m *Model, frame *judemap.Tensor, shape []int) (in, out []byte, run func()) {
	b.Helper()
	in, out = make([]byte, len(frame.Data())), make([]byte, elements(shape)*m.Output.DType.Size())
	input, err := over(in, frame.Shape(), m.Input.DType)
	if err != nil {
		b.Fatal(err)
	}
	output, err := over(out, shape, m.Output.DType)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { input.Destroy(); output.Destroy() })
	inputs, outputs := []ort.Value{input}, []ort.Value{output}
	return in, out, func() {
		if err := m.session.Run(inputs, outputs); err != nil {
			b.Fatal(err)
		}
	}
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// What a frame costs for which there is no tensor yet, and what one for which there is.
func BenchmarkTensor(b *testing.B) {
	m := detector(b)
	frame, _ := benchFrame(b, m, []int{1, 3, 480, 640})
	shape := []int{1, 1, 480, 640}
	out := make([]byte, elements(shape)*4)
	b.Run("make", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			t, err := over(frame.Data(), frame.Shape(), frame.DType())
			if err != nil {
				b.Fatal(err)
			}
			t.Destroy()
		}
	})
	b.Run("bind", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.bind(&frame, shape, out); err != nil {
				b.Fatal(err)
			}
			m.unbind()
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.bind(&frame, shape, out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
