package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

var dtypes = func() (all []judemap.DType) {
	for d := judemap.DType(0); d.Size() != 0; d++ {
		all = append(all, d)
	}
	return all
}()

// bytesOf returns the bytes of elements, in place.
func bytesOf[T judemap.Element](values []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*judemap.DTypeOf[T]().Size())
}

// sample returns an array of that type and shape: 0, 1, 0, 1, … in the lowest byte of each element.
func sample(dtype judemap.DType, shape ...int) array {
	elements := 1
	for _, n := range shape {
		elements *= n
	}
	data := make([]byte, elements*dtype.Size())
	for i := range elements {
		data[i*dtype.Size()] = byte(i % 2)
	}
	return array{shape, dtype, data}
}

// Every type and kind of shape survives put and export, and inspect and ls show it.
func TestRoundTrips(t *testing.T) {
	dir := t.TempDir()
	for _, dtype := range dtypes {
		for _, shape := range [][]int{{}, {5}, {2, 3, 4}, {1, 1, 1, 1, 1, 1, 1, 2}} {
			t.Run(fmt.Sprint(dtype, shape), func(t *testing.T) {
				name := fmt.Sprintf("judemap-command-%d-round-trip", os.Getpid())
				segmentName(t)
				defer judemap.Remove(name)
				in, out := filepath.Join(dir, "in.npy"), filepath.Join(dir, "out.npy")
				want := sample(dtype, shape...)
				var file bytes.Buffer
				if err := writeNPY(&file, want); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(in, file.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				mustRun(t, "put", in, name)
				mustRun(t, "export", name, out)
				exported, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(file.Bytes(), exported); diff != "" {
					t.Errorf("the exported file differs: %s", diff)
				}
				got, err := readNPY(exported)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
					t.Error(diff)
				}
				if len(shape) != 3 {
					return
				}
				if row := fmt.Sprintf(`(?m)^%s +%v +\[2 3 4\] +2 +%d +%[3]d +none$`, name, dtype, len(want.data)); !regexp.MustCompile(row).MatchString(mustRun(t, "ls")) {
					t.Errorf("ls has no row %q:\n%s", row, mustRun(t, "ls"))
				}
				report := mustRun(t, "inspect", name)
				for _, want := range []string{`sequence +2 `, `"JUM1"`, `byte_length +` + fmt.Sprint(len(want.data)) + " ",
					"Tensor of version 2: " + dtype.String() + ` \[2 3 4\]`, "elements 24\n", "min +0\n", "█"} {
					if !regexp.MustCompile(want).MatchString(report) {
						t.Errorf("inspect does not say %q:\n%s", want, report)
					}
				}
			})
		}
	}
}

// python returns a Python that has NumPy and ml_dtypes: $PYTHON, or python3.
func python(t *testing.T) string {
	t.Helper()
	name := os.Getenv("PYTHON")
	if name == "" {
		name = "python3"
	}
	if err := exec.Command(name, "-c", "import numpy, ml_dtypes").Run(); err != nil {
		t.Skipf("SKIP: %s has no NumPy and ml_dtypes (%v); set PYTHON to one that has", name, err)
	}
	return name
}

// What NumPy saves gets through a segment, and NumPy loads it as it was. What no tensor can hold is refused.
func TestNumPy(t *testing.T) {
	name := segmentName(t)
	program := python(t)
	dir := t.TempDir()
	runPython := func(script string) []string {
		cmd := exec.Command(program, "-c", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.Fields(string(out))
	}
	var names []string
	for _, dtype := range dtypes {
		names = append(names, dtype.String())
	}
	saved := runPython(`
import numpy as np, ml_dtypes
def save(name, a):
    if a.dtype.type is ml_dtypes.float8_e4m3fn: # numpy.save would not say which type of one byte it is
        with open(name, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, {'descr': 'float8_e4m3fn', 'fortran_order': not a.flags.c_contiguous, 'shape': a.shape})
            file.write(a.tobytes('A'))
    else:
        np.save(name, a)
for dtype in '` + strings.Join(names, " ") + `'.split():
    counted = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for shape, a in dict(scalar=np.array(1, dtype), row=(np.arange(5) - 2).astype(dtype), empty=np.zeros((2, 0), dtype),
                         cube=counted, big_endian=counted.astype(np.dtype(dtype).newbyteorder('>')), fortran=np.asfortranarray(counted), transposed=counted.T).items():
        print(f'{dtype}-{shape}')
        save(f'{dtype}-{shape}.npy', a)
`)
	if len(saved) != len(dtypes)*7 {
		t.Fatalf("NumPy saved %v", saved)
	}
	for _, array := range saved {
		_ = judemap.Remove(name)
		mustRun(t, "put", filepath.Join(dir, array+".npy"), name)
		mustRun(t, "export", name, filepath.Join(dir, array+".out.npy"))
	}
	differ := runPython(`
import numpy as np, ml_dtypes, glob
for name in glob.glob('*.out.npy'):
    dtype = np.dtype(name.split('-')[0])
    b = np.load(name)
    if dtype.name in ('bfloat16', 'float8_e5m2'): # numpy.load takes what numpy.save makes of these for something else
        with open(name.replace('.out', ''), 'rb') as file:
            fields = eval(file.read(128)[10:])
            a = np.frombuffer(file.read(), dtype.newbyteorder(fields['descr'][0]))
            a = a.reshape(fields['shape'], order='F' if fields['fortran_order'] else 'C')
    else:
        a = np.load(name.replace('.out', ''))
    if dtype != b.dtype or dtype != a.dtype.newbyteorder('<') or a.shape != b.shape or not (a == b).all():
        print(name)
`)
	if len(differ) > 0 {
		t.Errorf("NumPy loads other arrays than it saved: %v", differ)
	}

	refused := []struct{ array, want string }{
		{"np.zeros(3, 'c16')", "<c16"},
		{"np.zeros(3, 'V2')", "|V2"},
		{"np.zeros(3, ml_dtypes.int4)", "which one is not in the file"},
		{"np.zeros(3, [('a', 'f4'), ('b', 'i4')])", "'a', '<f4'"},
		{"np.array(['text'])", "<U4"},
		{"np.zeros((1, 1, 1, 1, 1, 1, 1, 1, 1), '?')", "9 dimensions"},
	}
	script := "import numpy as np, ml_dtypes\n"
	for i, r := range refused {
		script += fmt.Sprintf("np.save('refused-%d.npy', %s)\n", i, r.array)
	}
	runPython(script)
	_ = judemap.Remove(name)
	for i, r := range refused {
		got := judemapCommand(t, "put", filepath.Join(dir, fmt.Sprintf("refused-%d.npy", i)), name)
		if got.status != 1 || !strings.Contains(got.err, r.want) {
			t.Errorf("%s: status %d, %q, want %q", r.array, got.status, got.err, r.want)
		}
		if s, err := judemap.Open(name); err == nil {
			s.Close()
			t.Errorf("%s: a segment was left", r.array)
		}
	}
}

func TestReadNPYRefuses(t *testing.T) {
	const magic = "\x93NUMPY"
	file := func(header, data string) string {
		header += "\n"
		return magic + "\x01\x00" + string([]byte{byte(len(header)), byte(len(header) >> 8)}) + header + data
	}
	for _, test := range []struct{ name, file, want string }{
		{"nothing", "", "no NumPy file"},
		{"text", "some text that is long enough", "no NumPy file"},
		{"magic only", magic, "version number (0)"},
		{"version 9", magic + "\x09\x00\x00\x00", "version number (9)"},
		{"cut header", file("{'descr': '<f4'", "")[:20], "damaged"},
		{"huge header", magic + "\x02\x00\xff\xff\xff\xff", "ends in the middle"},
		{"no dictionary", file("hello", ""), "invalid dictionary"},
		{"no line's end", strings.TrimSuffix(file("hello", ""), "\n") + " ", "damaged"},
		{"no shape", file("{'descr': '<f4', 'fortran_order': False}", ""), "invalid dictionary"},
		{"other order", file("{'shape': (1,), 'fortran_order': False, 'descr': '<f4', }", "1234"), "damaged"},
		{"negative shape", file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", ""), "negative"},
		{"text shape", file("{'descr': '<f4', 'fortran_order': False, 'shape': (a,), }", ""), `"a"`},
		{"overflow", file("{'descr': '<f4', 'fortran_order': True, 'shape': (4294967296, 4294967296), }", ""), "overflows"},
		{"short", file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "1234"), "4 bytes"},
		{"long", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "12345"), "5 bytes"},
		{"other float8", file("{'descr': '<V1', 'fortran_order': False, 'shape': (1,), }", "1"), "which one is not in the file"},
		{"no byte order", file("{'descr': 'f4', 'fortran_order': False, 'shape': (1,), }", "1234"), "'f4'"},
		{"object", file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", ""), "|O"},
	} {
		if _, err := readNPY([]byte(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	empty := file("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", "")
	if a, err := readNPY([]byte(empty)); err != nil || len(a.data) != 0 || !slices.Equal(a.shape, []int{0, 3}) {
		t.Errorf("an empty array: %v, %v", a, err)
	}
}

func FuzzReadNPY(f *testing.F) {
	for _, dtype := range dtypes {
		var file bytes.Buffer
		if err := writeNPY(&file, sample(dtype, 2, 3)); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
		f.Add(bytes.Replace(file.Bytes(), []byte("False"), []byte("True "), 1))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := readNPY(file)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeNPY(&again, a); err != nil {
			t.Fatal(err)
		}
		b, err := readNPY(again.Bytes())
		if err != nil || !slices.Equal(a.shape, b.shape) || a.dtype != b.dtype || !bytes.Equal(a.data, b.data) {
			t.Fatalf("%v %v is read back as %v %v, %v", a.dtype, a.shape, b.dtype, b.shape, err)
		}
	})
}

// Pictures survive put and export, as grey, RGB, or with alpha.
func TestPictureRoundTrips(t *testing.T) {
	bounds := image.Rect(0, 0, 3, 2)
	gray, rgb, alpha := image.NewGray(bounds), image.NewNRGBA(bounds), image.NewNRGBA(bounds)
	palette := image.NewPaletted(bounds, color.Palette{color.White, color.RGBA{200, 100, 50, 255}})
	for i := range 6 {
		gray.Pix[i] = byte(40 * i)
		palette.Pix[i] = byte(i % 2)
		copy(rgb.Pix[4*i:], []byte{byte(40 * i), 7, byte(255 - i), 255})
		copy(alpha.Pix[4*i:], []byte{byte(40 * i), 7, byte(255 - i), byte(20 * i)})
	}
	for _, test := range []struct {
		name    string
		picture image.Image
		shape   string
	}{
		{"grey", gray, "[2 3]"}, {"rgb", rgb, "[2 3 3]"}, {"alpha", alpha, "[2 3 4]"}, {"palette", palette, "[2 3 3]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := segmentName(t)
			in, out := filepath.Join(t.TempDir(), "in.PNG"), filepath.Join(t.TempDir(), "out.png")
			var file bytes.Buffer
			if err := png.Encode(&file, test.picture); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(in, file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			mustRun(t, "put", in, name)
			if report := mustRun(t, "inspect", name); !strings.Contains(report, "uint8 "+test.shape+"\n") {
				t.Errorf("want shape %s:\n%s", test.shape, report)
			}
			mustRun(t, "export", name, out)
			exported, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			picture, err := png.Decode(bytes.NewReader(exported))
			if err != nil {
				t.Fatal(err)
			}
			for y := range 2 {
				for x := range 3 {
					want := color.NRGBAModel.Convert(test.picture.At(x, y))
					if got := color.NRGBAModel.Convert(picture.At(x, y)); got != want {
						t.Errorf("pixel %d, %d: %v, want %v", x, y, got, want)
					}
				}
			}
		})
	}
}

func TestPictureOf(t *testing.T) {
	rgb := []byte{1, 2, 3, 4, 5, 6} // two pixels, one beside the other
	for _, test := range []struct {
		array array
		want  string // the pixels, or the error
	}{
		{array{[]int{1, 2, 3}, judemap.Uint8, rgb}, "{1 2 3 255} {4 5 6 255}"},
		{array{[]int{1, 1, 2, 3}, judemap.Uint8, rgb}, "{1 2 3 255} {4 5 6 255}"},
		{array{[]int{3, 1, 2}, judemap.Uint8, rgb}, "{1 3 5 255} {2 4 6 255}"},
		{array{[]int{1, 3, 1, 2}, judemap.Uint8, rgb}, "{1 3 5 255} {2 4 6 255}"},
		{array{[]int{1, 2}, judemap.Bool, rgb[:2]}, "{255 255 255 255} {255 255 255 255}"},
		{array{[]int{1, 2, 1}, judemap.Uint8, rgb[:2]}, "{1 1 1 255} {2 2 2 255}"},
		{array{[]int{1, 2}, judemap.Float32, bytesOf([]float32{0.5, 2})}, "{128 128 128 255} {255 255 255 255}"},
		{array{[]int{1, 2}, judemap.Float16, bytesOf([]judemap.F16{judemap.ToF16(0.5), judemap.ToF16(2)})}, "{128 128 128 255} {255 255 255 255}"},
		{array{[]int{1, 2}, judemap.BFloat16, bytesOf([]judemap.BF16{judemap.ToBF16(0.5), judemap.ToBF16(-1)})}, "{128 128 128 255} {0 0 0 255}"},
		{array{[]int{1, 1}, judemap.Float8E5M2, make([]byte, 1)}, "float8_e5m2"},
		{array{[]int{1, 1}, judemap.Complex64, make([]byte, 8)}, "complex64"},
		{array{[]int{1, 1}, judemap.Float64, make([]byte, 8)}, "{0 0 0 255}"},
		{array{[]int{2}, judemap.Uint8, rgb[:2]}, "no picture"},
		{array{[]int{2, 1, 1, 3}, judemap.Uint8, rgb}, "no picture"},
		{array{[]int{0, 3}, judemap.Uint8, nil}, "no picture"},
		{array{[]int{2, 3, 0}, judemap.Uint8, nil}, "no picture"},
		{array{[]int{1, 1}, judemap.Int32, make([]byte, 4)}, "int32"},
	} {
		picture, err := pictureOf(test.array)
		got := fmt.Sprint(err)
		if err == nil {
			var pixels []string
			for y := range picture.Bounds().Dy() {
				for x := range picture.Bounds().Dx() {
					pixels = append(pixels, fmt.Sprint(color.NRGBAModel.Convert(picture.At(x, y))))
				}
			}
			got = strings.Join(pixels, " ")
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%v %v: %s, want %s", test.array.dtype, test.array.shape, got, test.want)
		}
	}
}

// put writes to a segment that is there, if it is large enough and nobody else writes to it.
func TestPut(t *testing.T) {
	name := segmentName(t)
	dir := t.TempDir()
	save := func(file string, a array) string {
		path := filepath.Join(dir, file)
		if err := writeFile(path, func(w io.Writer) error { return writeNPY(w, a) }); err != nil {
			t.Fatal(err)
		}
		return path
	}
	small, large := save("small.npy", sample(judemap.Int16, 4)), save("large.npy", sample(judemap.Float64, 1000))
	mustRun(t, "put", small, name, "--capacity", "1000")
	s, err := judemap.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.ByteCapacity() != 1000 || s.Version() != 2 {
		t.Errorf("capacity %d, version %d", s.ByteCapacity(), s.Version())
	}
	mustRun(t, "put", small, name)
	if s.Version() != 4 || s.Writer() != judemap.WriterNone {
		t.Errorf("version %d, writer %v", s.Version(), s.Writer())
	}
	if r := judemapCommand(t, "put", large, name); r.status != 1 || !strings.Contains(r.err, "8000 bytes") {
		t.Errorf("a tensor that is too large: status %d, %s", r.status, r.err)
	}
	if err := s.Fill([]int{1}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if r := judemapCommand(t, "put", small, name); r.status != 1 || !strings.Contains(r.err, "writer") {
		t.Errorf("while another writes: status %d, %s", r.status, r.err)
	}
	mustRun(t, "rm", name)
	if r := judemapCommand(t, "rm", name, name+"-2"); r.status != 1 || strings.Count(r.err, name) != 2 {
		t.Errorf("removing twice: status %d, %s", r.status, r.err)
	}
}

// An empty segment, and one whose writer died, are told apart by all that look at them.
func TestEmptyAndDead(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(t.TempDir(), "a.npy")

	if out := mustRun(t, "ls"); !regexp.MustCompile(name + ` +- +empty +0 +0 +64 +none`).MatchString(out) {
		t.Errorf("ls:\n%s", out)
	}
	if out := mustRun(t, "inspect", name); !strings.Contains(out, "It holds no tensor.") {
		t.Errorf("inspect:\n%s", out)
	}
	if r := judemapCommand(t, "export", name, path); r.status != 1 || !strings.Contains(r.err, "no tensor") {
		t.Errorf("export: status %d, %s", r.status, r.err)
	}

	watch := exec.Command(command, "watch", name, "--time", "1m")
	var out bytes.Buffer
	watch.Stdout = &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), "JUDEMAP_TEST_DIE_WRITING="+name)
	if err := writer.Run(); err == nil || s.Version() != 1 {
		t.Fatalf("the writer: %v, version %d", err, s.Version())
	}
	if r := judemapCommand(t, "ls"); !regexp.MustCompile(name + ` +- +half written +1 +0 +64 +died`).MatchString(r.out) {
		t.Errorf("ls:\n%s", r.out)
	}
	if r := judemapCommand(t, "inspect", name); r.status != 1 || !strings.Contains(r.err, "died") || !strings.Contains(r.out, "sequence") {
		t.Errorf("inspect: status %d, %s%s", r.status, r.out, r.err)
	}
	if r := judemapCommand(t, "export", name, path); r.status != 1 || !strings.Contains(r.err, "died") {
		t.Errorf("export: status %d, %s", r.status, r.err)
	}
	time.Sleep(1500 * time.Millisecond)
	if err := s.Fill([]int{3}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil { // it then shows what there is
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	for _, want := range []string{"died in the middle of a commit", "uint8 [3]", "writer other"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("watch does not say %q:\n%s", want, &out)
		}
	}
}

// watch counts commits, and ends with status 0 at an interrupt.
func TestWatch(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	watch := exec.CommandContext(ctx, command, "watch", name)
	var out bytes.Buffer
	watch.Stdout = &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 1300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if err := s.Fill([]int{2, 3}, judemap.Int16, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(name + `: version \d+, int16 \[2 3\]; [1-9]\d* commits/s, \d\.\d kB/s; last commit 0\.\d\d s ago; writer other\n`).MatchString(out.String()) {
		t.Errorf("watch printed\n%s", &out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape codes, and this is no terminal")
	}
}

func TestSummary(t *testing.T) {
	s, err := summarizeSlice([]float64{-1.7e308, 1.7e308, 0}, nil)
	if err != nil || s.histogram[0] != 1 || s.histogram[9] != 1 || s.histogram[5] != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	whole, err := summarizeSlice([]int64{9223372036854775807, 9223372036854775807}, nil)
	if err != nil || whole.max != "9223372036854775807" || whole.histogram[0] != 2 {
		t.Errorf("%+v, %v", whole, err)
	}
	var out bytes.Buffer
	odd, err := summarizeSlice([]float64{math.NaN(), math.Inf(1), 2}, nil)
	odd.print(&out)
	if err != nil || !strings.Contains(out.String(), "NaN      1\ninfinite 1\nmin      2\n") {
		t.Errorf("%s, %v", &out, err)
	}
}

// Every type is summarized by the numbers it stands for.
func TestSummaryOfTypes(t *testing.T) {
	s, err := judemap.New(64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, dtype := range dtypes {
		if err := s.Fill([]int{3}, dtype, 1); err != nil {
			t.Fatal(err)
		}
		tensor, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := summarize(&tensor)
		if err != nil || sum.elements != 3 || sum.min != "1" || sum.max != "1" || sum.mean != 1 {
			t.Errorf("%v: %+v, %v", dtype, sum, err)
		}
	}
	if err := judemap.WriteSlice(s, []int{3}, []complex64{3 + 4i, -1i, complex(float32(math.Inf(-1)), 0)}); err != nil {
		t.Fatal(err)
	}
	tensor, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sum, err := summarize(&tensor)
	sum.print(&out)
	if err != nil || !strings.Contains(out.String(), "infinite 1\nOf the magnitudes:\nmin      1\nmax      5\nmean     3\n") {
		t.Errorf("%s, %v", &out, err)
	}
}
