//go:build cgo && linux && (amd64 || arm64)

package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The program works with the stand-in for the driver, and finds what is wrong there. How fast that is says nothing.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	program, library, none := filepath.Join(dir, "cuda"), filepath.Join(dir, "libcuda.so.1"), filepath.Join(dir, "none")
	build := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	cc, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	build("go", "build", "-o", program, ".")
	if file, err := elf.Open(program); err != nil {
		t.Fatal(err)
	} else if !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Skip("SKIP: a static program loads no driver")
	}
	args := []string{"-std=c11", "-O1", "-shared", "-fPIC", "../../test/cuda_driver.c", "-o", library, "-pthread"}
	compiler := strings.Fields(string(cc)) // CC may have flags
	build(compiler[0], append(compiler[1:], args...)...)
	if err := os.Mkdir(none, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(none, "libcuda.so.1"), []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	for _, test := range []struct {
		name    string
		folder  string
		env     string
		args    []string
		status  int
		matches []string
	}{
		{"copies", dir, "JUDEMAP_CUDA_LOG=" + log, nil, 0, []string{
			`^stand-in 0, CUDA 12\.4, linux/`,
			`a segment of 4 MiB, ordinary: whole on the device`,
			`a segment of 4 MiB, registered: whole on the device`,
			`16 frames of 1 MiB, of a registered stream: whole on the device`,
			`\| 1 MiB \| [\d.]+ \[[\d.]+ [\d.]+\] \|`,
			`\| 4 MiB \| [\d.]+ \[[\d.]+ [\d.]+\] \|`,
			`\| registered \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|`,
		}},
		{"the other device", dir, "X=", []string{"-device=1"}, 0, []string{`^stand-in 1, `}},
		{"a wrong bit", dir, "JUDEMAP_CUDA_FLIP=1", nil, 1, []string{`byte 4194303 of 4194304 is 0x`}},
		{"a failure", dir, "JUDEMAP_CUDA_FAIL=cuMemHostRegister_v2=2", nil, 1,
			[]string{`CUDA_ERROR_OUT_OF_MEMORY \(2\) from cuMemHostRegister_v2`}},
		{"no device", dir, "JUDEMAP_CUDA_FAIL=cuInit=100", nil, 0, []string{`^SKIP: no CUDA device: cuInit: .*100`}},
		{"no driver", none, "X=", nil, 0, []string{`^SKIP: no CUDA device: .*libcuda\.so\.1`}},
		{"no size", dir, "X=", []string{"-max=0"}, 2, []string{`Usage`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(program, append([]string{"-max=4", "-rounds=2"}, test.args...)...)
			cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+test.folder, test.env)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
			for _, want := range test.matches {
				if !regexp.MustCompile(want).Match(out) {
					t.Errorf("the output does not match %s", want)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(lines)), "\n")
	if last := all[len(all)-1]; !strings.Contains(last, "contexts=0 ranges=0") {
		t.Errorf("the program leaves something behind: %s", last)
	}
}
