package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/onnxruntime"
)

// newStream returns a stream and a reader of it.
func newStream(t *testing.T) (*judemap.Stream, *judemap.Reader) {
	t.Helper()
	s, err := judemap.NewStream(4, 1<<16)
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

// The server's own part of a frame makes no garbage, however many slots there are, and a frame that is not the model's
// input is an error that says so.
func TestServer(t *testing.T) {
	library, packages := os.Getenv("ONNXRUNTIME"), os.Getenv("SITE_PACKAGES")
	if library == "" || packages == "" {
		t.Skip("ONNXRUNTIME and SITE_PACKAGES don't say where ONNX Runtime's library and the models are")
	}
	if err := onnxruntime.Init(library); err != nil {
		t.Fatal(err)
	}
	m, err := onnxruntime.Load(filepath.Join(packages, "magika", "models", "standard_v3_3", "model.onnx"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	frames, reader := newStream(t)
	answers, _ := newStream(t)
	server := newServer(m, reader, answers)

	shape, ctx := []int{1, 2048}, t.Context()
	next := func() {
		if err := frames.Fill(ctx, shape, judemap.Int32, 65); err != nil {
			t.Fatal(err)
		}
		if err := server.next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for range 40 { // until each pair of slots has had its turn
		next()
	}
	if n := testing.AllocsPerRun(40, next); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
	if server.frames != 81 || answers.Version() != 2*81 {
		t.Errorf("%d frames and version %d after 81 frames", server.frames, answers.Version())
	}

	if err := frames.Fill(ctx, []int{48, 64, 3}, judemap.Uint8, 0); err != nil {
		t.Fatal(err)
	}
	err = server.next(ctx)
	want := `frame 82, answered in "": onnxruntime: not the model's input: model.onnx takes "bytes", int32 [-1 2048] ` +
		`(-1: any size), and the tensor is uint8 [48 64 3]`
	if !errors.Is(err, onnxruntime.ErrInput) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
	if answers.Version() != 2*81 {
		t.Error("a frame that can't be answered was answered")
	}
}
