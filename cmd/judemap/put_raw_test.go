package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// A raw input ends between two frames, or it is an error; the last whole frame stays, whatever the type.
func TestPutRaw(t *testing.T) {
	type test struct {
		name   string
		dtype  judemap.DType
		shape  []int
		bytes  int // of the input
		file   bool
		frames int
		want   string // of the error
	}
	tests := []test{
		{name: "empty", shape: []int{2, 3}, dtype: judemap.Uint8},
		{name: "one frame", shape: []int{2, 3}, dtype: judemap.Uint8, bytes: 6, frames: 1},
		{name: "frames", shape: []int{2, 3}, dtype: judemap.Uint8, bytes: 600, frames: 100},
		{name: "file", shape: []int{2, 3}, dtype: judemap.Uint8, bytes: 600, frames: 100, file: true},
		{name: "larger than a pipe", shape: []int{720, 1280, 3}, dtype: judemap.Uint8, bytes: 3 * 2764800, frames: 3},
		{name: "less than one", shape: []int{2, 3}, dtype: judemap.Uint8, bytes: 5, want: "the last frame has 5 of 6 bytes; the 0 "},
		{name: "partial", shape: []int{2, 3}, dtype: judemap.Float32, bytes: 73, frames: 3,
			want: "the last frame has 1 of 24 bytes; the 3 frames before it"},
		{name: "partial file", shape: []int{2, 3}, dtype: judemap.Uint8, bytes: 17, frames: 2, file: true,
			want: "the last frame has 5 of 6 bytes; the 2 frames before it"},
	}
	for _, dtype := range dtypes {
		tests = append(tests, test{name: dtype.String(), dtype: dtype, shape: []int{5, 1}, bytes: 20 * dtype.Size(), frames: 4})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := segmentName(t)
			input := make([]byte, test.bytes)
			for i := range input {
				input[i] = byte(i * 7)
			}
			path, stdin := "-", input
			if test.file {
				path, stdin = filepath.Join(t.TempDir(), "frames"), nil
				if err := os.WriteFile(path, input, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := runWithInput(t, bytes.NewReader(stdin), "put", "--raw", test.dtype.String(), "--shape", shapeFlag(test.shape), path, name)
			if status := min(len(test.want), 1); r.status != status || r.out != "" || !strings.Contains(r.err, test.want) ||
				test.want == "" && r.err != "" {
				t.Errorf("status %d, printed %q and %q, want %q", r.status, r.out, r.err, test.want)
			}
			s, err := judemap.OpenStream(name)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			size := bytesOfShape(test.shape, test.dtype)
			if s.Slots() != 4 || s.EveryFrame() || s.ByteCapacity() != size || s.Writer() != judemap.WriterNone ||
				s.Version() != 2*uint64(test.frames) {
				t.Errorf("%v, capacity %d, writer %v; want %d frames of %d bytes", s, s.ByteCapacity(), s.Writer(), test.frames, size)
			}
			if test.frames == 0 {
				return
			}
			got, err := s.ReadCopy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.shape, got.Shape()); diff != "" || got.DType() != test.dtype {
				t.Errorf("%v, want %v %v", got, test.dtype, test.shape)
			}
			if !bytes.Equal(got.Data(), input[(test.frames-1)*size:test.frames*size]) {
				t.Error("the last frame has other bytes than the input's")
			}
		})
	}
}

// What is there under the name is taken if it will do, and is named with its numbers if not.
func TestPutRawToWhatIsThere(t *testing.T) {
	name := segmentName(t)
	for _, test := range []struct {
		name  string
		slots int // 0: a segment is there
		every bool
		args  string
		want  string // of the error
	}{
		{"as it is", 2, false, "", ""},
		{"every frame, as it is", 8, true, "", ""},
		{"as asked for", 3, true, "--slots 3 --every-frame --capacity 7", ""},
		{"more than asked for", 8, false, "--slots 3", ""},
		{"too few slots", 3, false, "--slots 4", "with 3 slots of 7 bytes, and 4 of 6 are asked for"},
		{"slots too small", 3, false, "--capacity 8", "with 3 slots of 7 bytes, and 3 of 8 are asked for"},
		{"another policy", 4, false, "--every-frame", "--every-frame is false for it"},
		{"another policy, with slots", 4, true, "--slots 4", "--every-frame is true for it"},
		{"segment", 0, false, "", "is a segment, with room for 100 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.slots == 0 {
				s, err := judemap.Create(name, 100)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
			} else {
				var options []judemap.Option
				if test.every {
					options = append(options, judemap.WithEveryFrame())
				}
				s, err := judemap.CreateStream(name, test.slots, 7, options...)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
			}
			defer judemap.Remove(name)
			args := append([]string{"put", "--raw", "uint8", "--shape", "2,3", "-", name}, strings.Fields(test.args)...)
			r := runWithInput(t, strings.NewReader("123456"), args...)
			if status := min(len(test.want), 1); r.status != status || !strings.Contains(r.err, test.want) {
				t.Errorf("status %d, %q, want %q", r.status, r.err, test.want)
			}
		})
	}
}

// A pipe's end, also by SIGKILL, leaves the name to the next, and readers stay. While it lives, another has no right to write.
func TestPutRawTakesOver(t *testing.T) {
	name := segmentName(t)
	first, firstIn := startPut(t, name)
	writeFrames(t, firstIn, 1, 2)
	s := awaitStream(t, name)
	defer s.Close()
	awaitVersion(t, s, 4)
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	got := runWithInput(t, bytes.NewReader(numbered(9)), "put", "--raw", "uint64", "--shape", "1", "-", name)
	if want := fmt.Sprintf("stream %q has a writer, another process", name); got.status != 1 || !strings.Contains(got.err, want) {
		t.Errorf("a second writer: status %d, %q, want %q", got.status, got.err, want)
	}

	writeFrames(t, firstIn, 3)
	wantFrame(t, r, 3)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if _, err := r.Next(t.Context()); !errors.Is(err, judemap.ErrWriterDied) {
		t.Errorf("after the writer was killed: %v", err)
	}

	second, secondIn := startPut(t, name)
	writeFrames(t, secondIn, 4)
	for s.Version() != 8 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	wantFrame(t, r, 4)
	if err := errors.Join(secondIn.Close(), second.Wait()); err != nil {
		t.Error(err)
	}
	last, err := s.ReadCopy(t.Context())
	if err != nil || !bytes.Equal(last.Data(), numbered(4)) || s.Writer() != judemap.WriterNone {
		t.Errorf("after the end: %v, %v, writer %v", last, err, s.Writer())
	}
}

// Readers that hold all slots don't slow the pipe: it leaves frames out, but not the last one.
func TestPutRawSlowReader(t *testing.T) {
	const frames = 10000
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 2, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put, in := startPut(t, name, "--verbose")
	writeFrames(t, in, 1)
	wantFrame(t, r, 1) // and holds it
	for i := uint64(2); i <= frames; i++ {
		writeFrames(t, in, i)
	}
	awaitVersion(t, s, 4)
	time.Sleep(time.Second) // for the put to have read what is in the pipe, also in an emulator
	if version := s.Version(); version != 4 {
		t.Errorf("version %d, with one of 2 slots held", version)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(copyTimeout / 10)
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	frame, err := r.Next(limited) // gives the slot of the first back, and by then the last may be there
	if err == nil && bytes.Equal(frame.Data(), numbered(2)) {
		frame, err = r.Next(limited)
	}
	if err != nil || !bytes.Equal(frame.Data(), numbered(frames)) {
		t.Fatalf("%v, %v, %x; want the last frame", err, frame, frame.Data())
	}
	stderr := put.Stderr.(*bytes.Buffer)
	if err := put.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	for _, want := range []string{fmt.Sprintf("%d of %d frames were left out", frames-3, frames), "of the 2 that stream",
		fmt.Sprintf("%d frames read, of [1] uint64, 8 bytes each; %d of them left out", frames, frames-3)} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("printed %q, want %q", stderr, want)
		}
	}
}

// If there is no slot for the last frame either, that is an error, after a while.
func TestPutRawNoSlotForTheLast(t *testing.T) {
	t.Parallel()
	s, r := streamOf(t, 2)
	p := newRawPutter(s, rawFormat{[]int{1}, judemap.Uint64, 8})
	if err := s.Write(t.Context(), []int{1}, judemap.Uint64, numbered(1)); err != nil {
		t.Fatal(err)
	}
	wantFrame(t, r, 1)
	err := p.run(t.Context(), bytes.NewReader(numbered(2, 3)))
	if want := "the last frame: "; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "holds 1 of the 2 slots") {
		t.Errorf("%v, want %q and who holds the slots", err, want)
	}
}

// Where every frame counts the pipe waits for the slowest reader, and Ctrl-C ends the wait.
func TestPutRawEveryFrame(t *testing.T) {
	name := segmentName(t)
	put, in := startPut(t, name, "--every-frame", "--slots", "3", "--readers", "1")
	writeFrames(t, in, 1, 2, 3, 4, 5, 6, 7, 8)
	s := awaitStream(t, name)
	defer s.Close()
	time.Sleep(50 * time.Millisecond)
	if version := s.Version(); version != 0 {
		t.Errorf("version %d before there is a reader", version)
	}
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := uint64(1); i <= 4; i++ {
		time.Sleep(10 * time.Millisecond)
		wantFrame(t, r, i)
	}
	time.Sleep(50 * time.Millisecond)
	if frames := s.Version() / 2; frames < 4 || frames > 7 {
		t.Errorf("%d frames were put, of which 4 were taken, into 3 slots", frames)
	}
	interrupt(t, put, 130)
}

// Ctrl-C ends the command while the pipe is silent, and gives the right to write back.
func TestPutRawInterrupted(t *testing.T) {
	name := segmentName(t)
	put, in := startPut(t, name)
	writeFrames(t, in, 1)
	s := awaitStream(t, name)
	defer s.Close()
	awaitVersion(t, s, 2)
	interrupt(t, put, 130)
	if s.Writer() != judemap.WriterNone {
		t.Errorf("writer %v", s.Writer())
	}
}

// A partial frame is not seen while the pipe is silent, and readers have the frame before it.
func TestPutRawReadersDoNotWait(t *testing.T) {
	name := segmentName(t)
	put, in := startPut(t, name)
	writeFrames(t, in, 1)
	if _, err := in.Write([]byte{2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	s := awaitStream(t, name)
	defer s.Close()
	awaitVersion(t, s, 2)
	limited, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	got, err := s.ReadCopy(limited)
	if err != nil || !bytes.Equal(got.Data(), numbered(1)) {
		t.Errorf("%v, %v", got, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _ = put.Wait(); put.ProcessState.ExitCode() != 1 {
		t.Errorf("after 3 bytes of a frame: %v", put.ProcessState)
	}
}

func TestPutRawAllocatesNothing(t *testing.T) {
	for _, every := range []bool{false, true} {
		var options []judemap.Option
		if every {
			options = append(options, judemap.WithEveryFrame())
		}
		s, r := streamOf(t, 4, options...)
		p := newRawPutter(s, rawFormat{[]int{1}, judemap.Uint64, 8})
		in, ctx := zeros{}, t.Context()
		if n := testing.AllocsPerRun(1000, func() {
			if err := p.next(ctx, in); err != nil {
				t.Fatal(err)
			}
			if every {
				if _, err := r.Next(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("every frame %v: %v allocations for a frame", s.EveryFrame(), n)
		}
	}
}

// zeros is an input without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ---- Helpers, also of the tests of get

// runWithInput runs the command with a pipe as its standard input.
func runWithInput(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	cmd := exec.Command(command, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(pipe, in) // which may fail, as the command may end before it has read all
	_ = pipe.Close()
	if err, exit := cmd.Wait(), new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// startPut starts a put of frames that are a uint64 each, the number of the frame.
func startPut(t *testing.T, name string, args ...string) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	cmd := exec.Command(command, append([]string{"put", "--raw", "uint64", "--shape", "1", "-", name}, args...)...)
	cmd.Stderr = new(bytes.Buffer)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	startProcess(t, cmd)
	return cmd, in
}

// startProcess starts a process, which ends with the test, and after 20 seconds.
func startProcess(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// interrupt ends a process as Ctrl-C does.
func interrupt(t *testing.T, cmd *exec.Cmd, status int) {
	t.Helper()
	if err := sendInterrupt(t, cmd); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != status {
		t.Errorf("after Ctrl-C: %v, want status %d; it printed %q", cmd.ProcessState, status, cmd.Stderr)
	}
}

// numbered returns frames of a uint64 each.
func numbered(frames ...uint64) (all []byte) {
	for _, n := range frames {
		all = binary.LittleEndian.AppendUint64(all, n)
	}
	return all
}

func writeFrames(t *testing.T, w io.Writer, frames ...uint64) {
	t.Helper()
	if _, err := w.Write(numbered(frames...)); err != nil {
		t.Fatal(err)
	}
}

// wantFrame takes the next frame, and holds it.
func wantFrame(t *testing.T, r *judemap.Reader, want uint64) {
	t.Helper()
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		frame, err := r.Next(limited)
		if errors.Is(err, judemap.ErrWriterDied) {
			continue // the one before
		}
		if err != nil {
			t.Errorf("the next frame: %v", err)
			return
		}
		if got := binary.LittleEndian.Uint64(frame.Data()); got != want {
			t.Errorf("frame %d, want %d", got, want)
		}
		return
	}
}

// streamOf makes a stream of frames of 8 bytes, and a reader.
func streamOf(t *testing.T, slots int, options ...judemap.Option) (*judemap.Stream, *judemap.Reader) {
	t.Helper()
	s, err := judemap.NewStream(slots, 8, options...)
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // not when the test has no use for it any more: it may hold a frame
	return s, r
}

// awaitStream opens a stream that another process makes.
func awaitStream(t *testing.T, name string) *judemap.Stream {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s, err := judemap.OpenStream(name)
		if err == nil {
			return s
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func awaitVersion(t *testing.T, s source, version uint64) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); s.Version() < version; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("version %d, want %d", s.Version(), version)
		}
	}
}

func bytesOfShape(shape []int, dtype judemap.DType) int {
	n := dtype.Size()
	for _, dim := range shape {
		n *= dim
	}
	return n
}

func shapeFlag(shape []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ","), "[]")
}
