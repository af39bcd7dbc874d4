package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// Every frame comes out as it went in, through pipes and files, in whatever order both commands start.
func TestGet(t *testing.T) {
	const frames = 500
	for _, test := range []struct {
		name, path string
		getFirst   bool
	}{
		{"pipe", "-", true},
		{"file", "frames", true},
		{"put first", "-", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := segmentName(t)
			if test.path != "-" {
				test.path = filepath.Join(t.TempDir(), test.path)
			}
			want := make([]byte, frames*1000)
			for i := range want {
				want[i] = byte(i * i / 255)
			}
			var out, stderr bytes.Buffer
			get := exec.Command(command, "get", "--wait", name, "--raw", test.path, "--until-end", "--verbose")
			get.Stdout, get.Stderr = &out, &stderr
			put := exec.Command(command, "put", "--raw", "int16", "--shape", "50,10", "--every-frame", "--readers", "1", "-", name)
			put.Stdin = bytes.NewReader(want)
			commands := []*exec.Cmd{get, put}
			if !test.getFirst {
				commands = []*exec.Cmd{put, get}
			}
			for _, cmd := range commands {
				startProcess(t, cmd)
				time.Sleep(20 * time.Millisecond)
			}
			if err := errors.Join(put.Wait(), get.Wait()); err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			got := out.Bytes()
			if test.path != "-" {
				var err error
				if got, err = os.ReadFile(test.path); err != nil || out.Len() != 0 {
					t.Errorf("%v, and %d bytes to the standard output", err, out.Len())
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes came out, or others, of %d", len(got), len(want))
			}
			if want := "frames of [50 10] int16, 1000 bytes each\njudemap: 500 frames written, 0 missed\n"; !strings.Contains(stderr.String(), want) {
				t.Errorf("printed %q, want %q", &stderr, want)
			}
		})
	}
}

// A get that is slow skips frames where the newest wins, and those that it writes are whole.
func TestGetNewest(t *testing.T) {
	const words = 64 << 10 // more bytes than a pipe takes
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 4, 8*words)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get, out := startGet(t, name)
	awaitReader(t, s)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		frame := make([]uint64, words)
		for n := uint64(1); ; n++ {
			for i := range frame {
				frame[i] = n
			}
			if err := judemap.StreamSlice(t.Context(), s, []int{words}, frame); err != nil {
				stopped <- err
				return
			}
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
		}
	}()
	last, skipped := uint64(0), false
	frame := make([]byte, 8*words)
	for range 20 {
		if _, err := io.ReadFull(out, frame); err != nil {
			t.Fatal(err)
		}
		n := binary.LittleEndian.Uint64(frame)
		if !bytes.Equal(frame, bytes.Repeat(frame[:8], words)) || n <= last {
			t.Errorf("frame %d after %d is not whole, or comes late", n, last)
		}
		skipped = skipped || n > last+1
		last = n
		time.Sleep(5 * time.Millisecond)
	}
	if !skipped {
		t.Error("no frame was skipped")
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	interrupt(t, get, 0)
}

// get goes on with the next writer when one was killed, unless it is to end with the writer.
func TestGetWriterDies(t *testing.T) {
	name := segmentName(t)
	first, firstIn := startPut(t, name, "--every-frame")
	s := awaitStream(t, name)
	defer s.Close()
	on, onOut := startGet(t, name, "--verbose")
	ends, endsOut := startGet(t, name, "--until-end")
	awaitReaders(t.Context(), s, 2)
	writeFrames(t, firstIn, 1, 2)
	wantNumbers(t, onOut, 1, 2)
	wantNumbers(t, endsOut, 1, 2)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _ = ends.Wait(); ends.ProcessState.ExitCode() != 1 || !strings.Contains(fmt.Sprint(ends.Stderr), "died") {
		t.Errorf("--until-end with a writer that was killed: %v, %s", ends.ProcessState, ends.Stderr)
	}
	time.Sleep(50 * time.Millisecond)
	second, secondIn := startPut(t, name)
	writeFrames(t, secondIn, 3)
	wantNumbers(t, onOut, 3)
	if err := errors.Join(secondIn.Close(), second.Wait()); err != nil {
		t.Error(err)
	}
	third, thirdIn := startPut(t, name)
	writeFrames(t, thirdIn, 4)
	wantNumbers(t, onOut, 4)
	if err := errors.Join(thirdIn.Close(), third.Wait()); err != nil {
		t.Error(err)
	}
	interrupt(t, on, 0)
	if want := "waiting for another"; strings.Count(fmt.Sprint(on.Stderr), want) != 1 {
		t.Errorf("printed %q, want %q once", on.Stderr, want)
	}
}

// A frame of another shape or type is an error, which says both.
func TestGetOtherFrames(t *testing.T) {
	for _, test := range []struct {
		dtype judemap.DType
		shape []int
		data  []byte
		want  string
	}{
		{judemap.Uint8, []int{3, 2}, make([]byte, 6), "frame 2 is [3 2] uint8, and those before it are [2 3] uint8"},
		{judemap.Int8, []int{2, 3}, make([]byte, 6), "frame 2 is [2 3] int8, and those before it are [2 3] uint8"},
		{judemap.Uint8, []int{6}, make([]byte, 6), "frame 2 is [6] uint8, and those before it are [2 3] uint8"},
	} {
		t.Run(fmt.Sprint(test.dtype, test.shape), func(t *testing.T) {
			name := segmentName(t)
			s, err := judemap.CreateStream(name, 4, 8, judemap.WithEveryFrame())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			get, out := startGet(t, name, "--frames", "2")
			awaitReader(t, s)
			if err := errors.Join(s.Write(t.Context(), []int{2, 3}, judemap.Uint8, make([]byte, 6)),
				s.Write(t.Context(), test.shape, test.dtype, test.data)); err != nil {
				t.Fatal(err)
			}
			written, _ := io.ReadAll(out)
			_ = get.Wait()
			if stderr := fmt.Sprint(get.Stderr); len(written) != 6 || get.ProcessState.ExitCode() != 1 || !strings.Contains(stderr, test.want) {
				t.Errorf("%d bytes, %v, %q, want %q", len(written), get.ProcessState, stderr, test.want)
			}
		})
	}
}

// The tensors of a segment come out as copies, the newest first of all.
func TestGetSegment(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(n uint64) {
		if err := s.Write([]int{1}, judemap.Uint64, numbered(n)); err != nil {
			t.Error(err)
		}
	}
	write(1) // is there already, and does not come out
	get, out := startGet(t, name, "--frames", "3", "--verbose")
	tensor, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	header := unsafe.Add(unsafe.Pointer(unsafe.SliceData(tensor.Data())), -judemap.DataOffset)
	waiters := (*atomic.Uint32)(unsafe.Add(header, layout.Waiters))
	for waiters.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for n := uint64(2); n <= 4; n++ {
		write(n)
		wantNumbers(t, out, n)
	}
	if err := get.Wait(); err != nil || !strings.Contains(fmt.Sprint(get.Stderr), "3 frames written, 0 missed") {
		t.Errorf("%v, %s", err, get.Stderr)
	}
}

// Ctrl-C ends a get that waits, for a name or for frames: well, or too early if there should be more frames.
func TestGetInterrupted(t *testing.T) {
	for _, test := range []struct {
		name, args string
		exists     bool
		status     int
	}{
		{"for frames", "", true, 0},
		{"for a number of frames", "--frames 5", true, 130},
		{"for the end", "--until-end", true, 0},
		{"for the name", "", false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := segmentName(t)
			if test.exists {
				s, err := judemap.CreateStream(name, 4, 8)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				get, _ := startGet(t, name, strings.Fields(test.args)...)
				awaitReader(t, s)
				time.Sleep(20 * time.Millisecond)
				interrupt(t, get, test.status)
				if readers := s.Readers(); len(readers) != 0 {
					t.Errorf("it left %+v", readers)
				}
				return
			}
			get := exec.Command(command, "get", name, "--raw", "-", "--wait", "--verbose")
			said, err := get.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			startProcess(t, get)
			line, err := bufio.NewReader(said).ReadString('\n')
			if want := "judemap: waiting for " + name + "\n"; err != nil || line != want {
				t.Fatalf("it said %q, %v; want %q", line, err, want)
			}
			interrupt(t, get, test.status)
		})
	}
}

// An output that nobody reads can't keep the command from ending.
func TestGetBlockedOutput(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 4, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get, _ := startGet(t, name)
	awaitReader(t, s)
	if err := s.Fill(t.Context(), []int{8 << 20}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	interrupt(t, get, 130)
}

// Who reads the output may have seen enough: the command then ends without a word, and leaves the stream.
func TestGetClosedOutput(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 4, 8, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get, out := startGet(t, name)
	awaitReader(t, s)
	for n := uint64(1); get.ProcessState == nil && n <= 2; n++ {
		if err := s.Write(t.Context(), []int{1}, judemap.Uint64, numbered(n)); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			wantNumbers(t, out, 1)
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _ = get.Wait(); get.ProcessState.ExitCode() != 141 || fmt.Sprint(get.Stderr) != "" {
		t.Errorf("%v, %q", get.ProcessState, get.Stderr)
	}
	if readers := s.Readers(); len(readers) != 0 {
		t.Errorf("it left %+v", readers)
	}
}

// Where a process may only read, frames come as copies.
func TestGetReadOnly(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 4, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reader, err := openToRead(name)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var out bytes.Buffer
	g, err := newRawGetter(reader, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), []int{1}, judemap.Uint64, numbered(7)); err != nil {
		t.Fatal(err)
	}
	if err := g.run(t.Context(), 1, false); err != nil || !bytes.Equal(out.Bytes(), numbered(7)) {
		t.Errorf("%v, %x", err, out.Bytes())
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	stream, _ := streamOf(t, 4)
	segment, err := judemap.New(8)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	data, shape, ctx := numbered(1), []int{1}, t.Context()
	for _, test := range []struct {
		source source
		write  func() error
	}{
		{stream, func() error { return stream.Write(ctx, shape, judemap.Uint64, data) }},
		{segment, func() error { return segment.Write(shape, judemap.Uint64, data) }},
	} {
		g, err := newRawGetter(test.source, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() {
			if err := test.write(); err != nil {
				t.Fatal(err)
			}
			if err := g.frame(ctx); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for a frame", kindOf(test.source), n)
		}
	}
}

// startGet starts a get whose output is a pipe.
func startGet(t *testing.T, name string, args ...string) (*exec.Cmd, io.ReadCloser) {
	t.Helper()
	cmd := exec.Command(command, append([]string{"get", name, "--raw", "-"}, args...)...)
	cmd.Stderr = new(bytes.Buffer)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	startProcess(t, cmd)
	return cmd, out
}

func awaitReader(t *testing.T, s *judemap.Stream) {
	t.Helper()
	if err := awaitReaders(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
}

// wantNumbers reads frames of a uint64 each.
func wantNumbers(t *testing.T, in io.Reader, want ...uint64) {
	t.Helper()
	got := make([]byte, 8*len(want))
	if _, err := io.ReadFull(in, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, numbered(want...)) {
		t.Fatalf("%x, want frames %v", got, want)
	}
}
