package judemap

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// run runs a program in a folder and returns what it printed, on both streams, and whether it succeeded.
func run(t *testing.T, dir string, env []string, name string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// A crash in the core names the C++ function and line.
func TestCrashNamesTheCore(t *testing.T) {
	switch platform := runtime.GOOS + "/" + runtime.GOARCH; platform {
	case "linux/amd64", "linux/arm64", "linux/ppc64le":
	default: // see runtime.SetCgoTraceback
		t.Skipf("SKIP: on %s the Go runtime does not ask for the C++ functions of a thread that gets a signal", platform)
	}
	skipIfStatic(t, "the symbolizer finds no C++ names in a static program")
	// go build, because go run and go test leave out the debug information.
	program := filepath.Join(t.TempDir(), "crash")
	if out, ok := run(t, "", nil, "go", "build", "-o", program, "./testdata/crash"); !ok {
		t.Fatal(out)
	}
	out, ok := run(t, "", nil, program)
	if ok {
		t.Fatal("the program did not crash")
	}
	for _, want := range []string{
		`SIGSEGV`,
		`7judemap12begin_commit.*\n.*include/judemap/seqlock\.h:\d+`, // the C++ names are as the linker has them
		`7judemap8Protocol.*\n.*csrc/protocol\.cc:\d+`,               // the symbolizer goes up 1 KiB of stack
		`go_fill`,
		`judemap\.\(\*Segment\)\.Fill`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the trace does not name %s", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// needGo skips where the tests run without the go command, as under an emulator.
func needGo(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("SKIP: %v", err)
	}
}

// programName is the name of a program with the ending that the system wants.
func programName(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// Without cgo everything builds, and a segment can't be made, for a reason that is given.
func TestWithoutCgo(t *testing.T) {
	needGo(t)
	env := []string{"CGO_ENABLED=0", "GOFLAGS="} // flags for a linker of C are not for this
	if out, ok := run(t, "", env, "go", "build", "-o", os.DevNull, "./..."); !ok {
		t.Fatal(out)
	}
	program := filepath.Join(t.TempDir(), programName("nocgo"))
	if out, ok := run(t, "", env, "go", "build", "-o", program, "./testdata/nocgo"); !ok {
		t.Fatal(out)
	}
	out, _ := run(t, "", nil, program)
	if !strings.HasPrefix(out, "true ") || !strings.Contains(out, "CGO_ENABLED=0") {
		t.Errorf("New printed %q, want ErrUnsupported and the reason", out)
	}
}

// A module that vendors this one has all that it takes to build it.
func TestVendoring(t *testing.T) {
	needGo(t)
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": "module example.com/consumer\n\ngo 1.25.0\n\nrequire github.com/judemap/judemap v0.0.0\n\n" +
			"replace github.com/judemap/judemap => " + root + "\n",
		"go.sum": string(sums),
		"main.go": `package main

import (
	"context"

	"github.com/judemap/judemap"
)

func main() {
	s, err := judemap.New(24)
	if err != nil {
		panic(err)
	}
	if err := judemap.WriteSlice(s, []int{3}, []float64{1, 2, 3}); err != nil {
		panic(err)
	}
	t, err := s.ReadCopy(context.Background())
	if err != nil {
		panic(err)
	}
	println("read", len(t.Data()), "bytes")
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, ok := run(t, dir, nil, "go", "mod", "vendor"); !ok {
		t.Fatal(out)
	}
	for _, name := range []string{"csrc/segment.cc", "csrc/share.h", "include/judemap/judemap.h"} {
		if _, err := os.Stat(filepath.Join(dir, "vendor/github.com/judemap/judemap", name)); err != nil {
			t.Error(err)
		}
	}
	if out, ok := run(t, dir, nil, "go", "build", "-mod=vendor", "-o", programName("consumer"), "."); !ok {
		t.Fatal(out)
	}
	if out, _ := run(t, dir, nil, filepath.Join(dir, programName("consumer"))); out != "read 24 bytes\n" {
		t.Errorf("the consumer printed %q", out)
	}
	// The command's libraries stay out of a user's module.
	if out, _ := run(t, dir, nil, "go", "list", "-mod=vendor", "-deps", "."); strings.Contains(out, "cobra") {
		t.Errorf("the library package depends on the command's libraries:\n%s", out)
	}
}
