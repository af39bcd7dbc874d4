package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
def save(name, a, version):
    if a.dtype.type is ml_dtypes.float8_e4m3fn: # numpy.save would not say which type of one byte it is
        with open(name, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, {'descr': 'float8_e4m3fn', 'fortran_order': not a.flags.c_contiguous, 'shape': a.shape})
            file.write(a.tobytes('A'))
    else:
        with open(name, 'wb') as file:
            np.lib.format.write_array(file, a, version)
for dtype in '` + strings.Join(names, " ") + `'.split():
    counted = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for shape, a in dict(scalar=np.array(1, dtype), row=(np.arange(5) - 2).astype(dtype), empty=np.zeros((2, 0), dtype),
                         cube=counted, big_endian=counted.astype(np.dtype(dtype).newbyteorder('>')), fortran=np.asfortranarray(counted), transposed=counted.T, version2=counted, version3=counted).items():
        print(f'{dtype}-{shape}')
        save(f'{dtype}-{shape}.npy', a, dict(version2=(2, 0), version3=(3, 0)).get(shape))
`)
	if len(saved) != len(dtypes)*9 {
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
            start = file.read(128)
            fields = eval(start[10 if start[6] == 1 else 12:])
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
