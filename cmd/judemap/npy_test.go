package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/judemap/judemap"
)

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
		{"overflow", file("{'descr': '<f4', 'fortran_order': True, 'shape': (2147483647, 2147483647, 2147483647), }", ""), "overflows"},
		{"short", file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "1234"), "4 bytes"},
		{"long", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "12345"), "5 bytes"},
		{"other float8", file("{'descr': '<V1', 'fortran_order': False, 'shape': (1,), }", "1"), "which one is not in the file"},
		{"no byte order", file("{'descr': 'f4', 'fortran_order': False, 'shape': (1,), }", "1234"), "'f4'"},
		{"nine dimensions", file("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }", "1"), "9 dimensions"},
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
