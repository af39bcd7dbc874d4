package tensorflow

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

// fromEnvironment returns what the script `test` sets.
func fromEnvironment(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: examples/tensorflow/test sets it, and runs these tests", name)
	}
	return value
}

// model returns the path of a model that the scripts in python made.
func model(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(fromEnvironment(t, "MODELS"), name)
}

func load(t testing.TB, name, signature string) *Session {
	t.Helper()
	s, err := Load(model(t, name), signature)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := inputsInUse.Load(); n != 0 {
			t.Errorf("%d inputs are in use after Close", n)
		}
	})
	return s
}

// limited returns a context that ends the test's waits.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newStream(t testing.TB, capacity int, options ...judemap.Option) (*judemap.Stream, *judemap.Reader) {
	t.Helper()
	s, err := judemap.NewStream(4, capacity, options...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.CloseWait() })
	return s, r
}

// frame returns the frame that the reader gets of these elements.
func frame[T judemap.Element](t testing.TB, s *judemap.Stream, r *judemap.Reader, shape []int, elements []T) judemap.Tensor {
	t.Helper()
	if err := judemap.StreamSlice(t.Context(), s, shape, elements); err != nil {
		t.Fatal(err)
	}
	return next(t, r)
}

func next(t testing.TB, r *judemap.Reader) judemap.Tensor {
	t.Helper()
	f, err := r.Next(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func elements[T judemap.Element](t testing.TB, tensor judemap.Tensor) []T {
	t.Helper()
	slice, err := judemap.Slice[T](&tensor)
	if err != nil {
		t.Fatal(err)
	}
	return slice
}

func filled(n int, value float32) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = value
	}
	return s
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// run runs a command to its end.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(limited(t), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

var names atomic.Int64 // so many were given away

// uniqueName returns the name of a segment or stream that is gone after the test.
func uniqueName(t testing.TB, what string) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d-%s", fromEnvironment(t, "NAMES"), names.Add(1), what)
	t.Cleanup(func() { _ = judemap.Remove(name) })
	return name
}

// readNPY returns the array in a file, by way of the command judemap.
func readNPY(t testing.TB, path string) judemap.Tensor {
	t.Helper()
	name := uniqueName(t, "npy")
	run(t, fromEnvironment(t, "JUDEMAP"), "put", path, name)
	s, err := judemap.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tensor, err := s.ReadCopy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tensor
}
