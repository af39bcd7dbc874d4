package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/judemap/judemap"
)

// command is the built command.
var command string

func TestMain(m *testing.M) {
	if name := os.Getenv("JUDEMAP_TEST_DIE_WRITING"); name != "" {
		dieWriting(name)
	}
	if kind := os.Getenv("JUDEMAP_TEST_MAKE"); kind != "" {
		makeAndWait(kind, os.Getenv("JUDEMAP_TEST_NAME"))
	}
	if name := os.Getenv("JUDEMAP_TEST_DIE_READING"); name != "" {
		dieReading(name)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if command = os.Getenv("JUDEMAP_COMMAND"); command != "" { // where there is no compiler
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "judemap")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	command = filepath.Join(dir, "judemap")
	if runtime.GOOS == "windows" {
		command += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", command, ".").CombinedOutput(); err != nil {
		fmt.Printf("building the command: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// dieWriting dies in the middle of a commit to a segment.
func dieWriting(name string) {
	s, err := judemap.Open(name)
	if err != nil {
		panic(err)
	}
	err = s.Update([]int{1}, judemap.Uint8, func([]byte) error { die(); return nil })
	panic(err)
}

// dieReading dies with a frame of a stream in hand. It prints a line when it has its place.
func dieReading(name string) {
	s, err := judemap.OpenStream(name)
	if err != nil {
		panic(err)
	}
	r, err := s.Reader()
	if err != nil {
		panic(err)
	}
	fmt.Println()
	if _, err := r.Next(context.Background()); err != nil {
		panic(err)
	}
	die()
}

// die ends the process as SIGKILL does.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	if err := self.Kill(); err != nil {
		panic(err)
	}
	select {}
}

// sendInterrupt does what Ctrl-C does. The test is skipped where one process can't do that to another.
func sendInterrupt(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIP: Windows has no interrupt for one other process")
	}
	return cmd.Process.Signal(os.Interrupt)
}

// sharedMemory is where the system has the segments.
var sharedMemory = func() string {
	switch runtime.GOOS {
	case "windows":
		return filepath.Join(os.Getenv("LOCALAPPDATA"), "judemap")
	case "darwin":
		folder, err := exec.Command("getconf", "DARWIN_USER_CACHE_DIR").Output()
		if err != nil {
			panic(err)
		}
		return filepath.Join(strings.TrimSpace(string(folder)), "judemap")
	}
	return "/dev/shm"
}()

// exists says whether there is a segment or stream of that name.
func exists(name string) bool {
	s, err := openToRead(name)
	if err == nil {
		s.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// result is what came of a run of the command.
type result struct {
	out, err string
	status   int
}

func judemapCommand(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.Command(command, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if runErr, exit := cmd.Run(), new(exec.ExitError); runErr != nil && !errors.As(runErr, &exit) {
		t.Fatal(runErr)
	}
	return result{out.String(), err.String(), cmd.ProcessState.ExitCode()}
}

// mustRun returns what the command printed. It must succeed.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	r := judemapCommand(t, args...)
	if r.status != 0 || r.err != "" {
		t.Fatalf("judemap %s: status %d, %s%s", strings.Join(args, " "), r.status, r.out, r.err)
	}
	return r.out
}

// segmentName returns a name for a segment of this test, which is removed with the test's end. The test is skipped where
// segments can't be shared.
func segmentName(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("judemap-command-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	s, err := judemap.Create(name, 1)
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = judemap.Remove(name) })
	return name
}

var dtypes = func() (all []judemap.DType) {
	for d := judemap.DType(0); d.Size() != 0; d++ {
		all = append(all, d)
	}
	return all
}()

// arrayOf returns elements as an array of one dimension.
func arrayOf[T judemap.Element](values []T) array {
	return array{[]int{len(values)}, judemap.DTypeOf[T](), bytesOf(values)}
}

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
