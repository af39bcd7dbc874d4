//go:build cgo && linux

// RegisterCUDA with a stand-in for the driver (test/cuda_driver.c), which is where the loader of a child process finds it.

package judemap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// deviceShift is how far the stand-in's devices see memory from where the process does.
const deviceShift = uintptr(1) << (30 + bits.UintSize/64*16)

// cudaDriver is the stand-in, as seen in the child that has it.
type cudaDriver struct {
	t    *testing.T
	log  string
	seen int // bytes of the log
}

// driverChild runs the test again in a child whose CUDA driver is the stand-in, and returns nil; in the child it returns
// the driver. flags are the compiler's.
func driverChild(t *testing.T, flags ...string) *cudaDriver {
	t.Helper()
	skipIfStatic(t, "a static program loads no driver")
	if isChild(t) {
		runtime.LockOSThread() // the current context is the thread's
		return &cudaDriver{t: t, log: os.Getenv("JUDEMAP_CUDA_LOG")}
	}
	dir := t.TempDir()
	cc, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "test/cuda_driver.c",
		"-o", filepath.Join(dir, "libcuda.so.1"), "-pthread"}, flags...)
	if runtime.GOARCH == "386" {
		args = append(args, "-m32")
	}
	compiler := strings.Fields(string(cc)) // CC may have flags
	if out, err := exec.Command(compiler[0], append(compiler[1:], args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	runWithDriver(t, dir)
	return nil
}

// runWithDriver runs the test again in a child that has the libcuda.so.1 of this folder.
func runWithDriver(t *testing.T, dir string) {
	t.Helper()
	cmd := child(t, t.Name())
	cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+dir, "JUDEMAP_CUDA_LOG="+filepath.Join(dir, "log"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// calls returns what was called since it was last asked: the lines of the log, without the results of calls that succeed.
func (d *cudaDriver) calls() []string {
	d.t.Helper()
	text, err := os.ReadFile(d.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	var calls []string
	for line := range strings.Lines(string(text[d.seen:])) {
		calls = append(calls, strings.TrimRight(line, " \n"))
	}
	d.seen = len(text)
	return calls
}

// expect compares the calls since it was last asked with these.
func (d *cudaDriver) expect(what string, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.calls()); diff != "" {
		d.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// failing runs f while a call has an error.
func (d *cudaDriver) failing(call string, code int, f func()) {
	d.t.Helper()
	if err := os.Setenv("JUDEMAP_CUDA_FAIL", fmt.Sprintf("%s=%d", call, code)); err != nil {
		d.t.Fatal(err)
	}
	f()
	_ = os.Unsetenv("JUDEMAP_CUDA_FAIL")
}

// expectNothingLeft looks at what there is after the last call.
func (d *cudaDriver) expectNothingLeft(what string) {
	d.t.Helper()
	calls := d.calls()
	if len(calls) == 0 || !strings.Contains(calls[len(calls)-1], "contexts=0 ranges=0 current=0") {
		d.t.Errorf("%s leaves something behind:\n%s", what, strings.Join(calls, "\n"))
	}
	for _, call := range calls {
		if strings.HasPrefix(call, "cuMemHostUnregister ") && !strings.Contains(call, "mapped=1") {
			d.t.Errorf("%s: unregistered after the memory was gone: %s", what, call)
		}
	}
}

// registered and unregistered are the calls of RegisterCUDA and of what undoes it.
func registered(device, bytes, flags int) []string {
	calls := []string{
		"cuInit 0 contexts=0 ranges=0 current=0",
		fmt.Sprintf("cuDeviceGet 0 contexts=0 ranges=0 current=0 device=%d", device),
		fmt.Sprintf("cuDevicePrimaryCtxRetain 0 contexts=1 ranges=0 current=0 device=%d", device),
		"cuCtxPushCurrent_v2 0 contexts=1 ranges=0 current=1",
		fmt.Sprintf("cuMemHostRegister_v2 0 contexts=1 ranges=1 current=1 bytes=%d flags=%d", bytes, flags),
		"cuMemHostGetDevicePointer_v2 0 contexts=1 ranges=1 current=1",
		"cuCtxPopCurrent_v2 0 contexts=1 ranges=1 current=0",
	}
	if flags&8 != 0 {
		calls = append(calls[:2:2], append([]string{"cuDeviceGetAttribute 0 contexts=0 ranges=0 current=0 attribute=113"},
			calls[2:]...)...)
	}
	return calls
}

func unregistered(device int, word uint64) []string {
	return []string{
		"cuCtxPushCurrent_v2 0 contexts=1 ranges=1 current=1",
		fmt.Sprintf("cuMemHostUnregister 0 contexts=1 ranges=0 current=1 mapped=1 word=%d", word),
		"cuCtxPopCurrent_v2 0 contexts=1 ranges=0 current=0",
		fmt.Sprintf("cuDevicePrimaryCtxRelease_v2 0 contexts=0 ranges=0 current=0 device=%d", device),
	}
}

// cudaHandle is what a Segment and a Stream have for CUDA.
type cudaHandle interface {
	RegisterCUDA(device int) error
	UnregisterCUDA() error
	Version() uint64
	CloseWait() error
}

func TestRegisterCUDA(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	ctx := context.Background()
	page := os.Getpagesize()
	pages := func(bytes int) int { return (bytes + page - 1) / page * page }
	written := func(s *Segment, err error) *Segment {
		if err == nil {
			err = s.Fill([]int{8}, Uint8, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	frames := func(s *Stream, err error) *Stream {
		if err == nil {
			err = s.Fill(ctx, []int{8}, Uint8, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	own := func(opts ...Option) func() cudaHandle {
		return func() cudaHandle { return written(New(3*page, opts...)) }
	}
	for name, test := range map[string]struct {
		open  func() cudaHandle
		bytes int
		flags int
	}{
		"private": {own(), pages(DataOffset + 3*page), 3},
		"sealed":  {own(WithSealed()), pages(DataOffset + 3*page), 3},
		"named":   {func() cudaHandle { return written(Open(named(t, 100).Name())) }, page, 3},
		"read-only": {func() cudaHandle {
			s := named(t, 100)
			return reopen(t, written(s, nil), WithReadOnly())
		}, page, 3 | 8},
		"stream": {func() cudaHandle { return frames(NewStream(3, page)) }, 0, 3},
		"read-only stream": {func() cudaHandle {
			s, err := OpenStream(frames(namedStream(t, 3, page), nil).Name(), WithReadOnly())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, 0, 3 | 8},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.calls()
			s := test.open()
			seen := func() (host, device uintptr) {
				switch s := s.(type) {
				case *Segment:
					return s.DataPtr(), s.DevicePtr()
				case *Stream:
					return s.Slot(2), s.SlotDevicePtr(2)
				}
				panic("neither")
			}
			bytes := test.bytes
			if stream, ok := s.(*Stream); ok {
				bytes = pages(stream.mapping.core.bytes())
			}
			if err := s.UnregisterCUDA(); err != nil {
				t.Errorf("UnregisterCUDA of what is not registered: %v", err)
			}
			if _, device := seen(); device != 0 {
				t.Errorf("the device has an address, %#x, of what is not registered", device)
			}
			d.expect("before", []string(nil)...)
			for range 2 { // the second one does nothing
				if err := s.RegisterCUDA(0); err != nil {
					t.Fatal(err)
				}
			}
			d.expect("RegisterCUDA", registered(0, bytes, test.flags)...)
			if host, device := seen(); device != host+deviceShift {
				t.Errorf("the device sees %#x at %#x, want %#x", host, device, host+deviceShift)
			}
			err := s.RegisterCUDA(1)
			if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "device 0") {
				t.Errorf("RegisterCUDA with another device: %v, want fs.ErrInvalid and device 0", err)
			}
			d.expect("RegisterCUDA with another device", []string(nil)...)
			for range 2 {
				if err := s.UnregisterCUDA(); err != nil {
					t.Error(err)
				}
			}
			d.expect("UnregisterCUDA", unregistered(0, s.Version())...)
			if _, device := seen(); device != 0 {
				t.Errorf("the device has an address, %#x, after UnregisterCUDA", device)
			}

			version := s.Version()
			if err := s.RegisterCUDA(1); err != nil {
				t.Fatal(err)
			}
			d.expect("RegisterCUDA again", registered(1, bytes, test.flags)...)
			if err := s.CloseWait(); err != nil {
				t.Error(err)
			}
			// The version: the memory is there still.
			d.expect("Close", unregistered(1, version)...)
			if _, device := seen(); device != 0 {
				t.Errorf("the device has an address, %#x, after Close", device)
			}
			if err := s.RegisterCUDA(0); err != ErrClosed {
				t.Errorf("RegisterCUDA after Close: %v, want ErrClosed", err)
			}
			if err := s.UnregisterCUDA(); err != nil {
				t.Errorf("UnregisterCUDA after Close: %v", err)
			}
			d.expect("after Close", []string(nil)...)
		})
	}
}

// What was handed out before has its address on the device too, and that takes no memory.
func TestDevicePtr(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	ctx := context.Background()
	segment := newSegment(t, 100)
	if err := segment.Fill([]int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	stream, err := NewStream(3, 100)
	if err != nil {
		t.Fatal(err)
	}
	r, err := stream.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Fill(ctx, []int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	view, err := segment.Read()
	if err != nil {
		t.Fatal(err)
	}
	frame, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := stream.ReadCopy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []cudaHandle{segment, stream} {
		if err := s.RegisterCUDA(0); err != nil {
			t.Fatal(err)
		}
	}
	for name, tensor := range map[string]*Tensor{"a view": &view, "a frame": &frame} {
		if got, want := tensor.DevicePtr(), tensor.DataPtr()+deviceShift; got != want {
			t.Errorf("%s is at %#x for the device, want %#x", name, got, want)
		}
	}
	if got := copied.DevicePtr(); got != 0 {
		t.Errorf("a copy is at %#x for the device", got)
	}
	for _, i := range []int{-1, 3} {
		if got := stream.SlotDevicePtr(i); got != 0 {
			t.Errorf("slot %d, which is not there, is at %#x for the device", i, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		_ = view.DevicePtr() + frame.DevicePtr() + segment.DevicePtr() + stream.SlotDevicePtr(1)
	}); n != 0 {
		t.Errorf("DevicePtr allocates %v times", n)
	}
	if err := errors.Join(segment.CloseWait(), stream.CloseWait()); err != nil {
		t.Error(err)
	}
	if view.DevicePtr() != 0 || frame.DevicePtr() != 0 {
		t.Errorf("after Close a view is at %#x for the device, and a frame at %#x", view.DevicePtr(), frame.DevicePtr())
	}
}

// Whatever fails, what was done before is undone, and the segment works.
func TestRegisterCUDAFails(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	s := newSegment(t, 100)
	readOnly := reopen(t, named(t, 100), WithReadOnly())
	for _, test := range []struct {
		s    *Segment
		call string
		code int
		want error
		text string
		left string
	}{
		{s, "cuInit", 100, ErrUnsupported, "CUDA_ERROR_NO_DEVICE (100) from cuInit", ""},
		{s, "cuInit", 34, ErrUnsupported, "CUDA_ERROR_STUB_LIBRARY (34) from cuInit", ""},
		{s, "cuInit", 2, ErrCUDA, "CUDA_ERROR_OUT_OF_MEMORY (2) from cuInit", ""},
		{s, "cuDeviceGet", 719, ErrCUDA, "CUDA_ERROR_LAUNCH_FAILED (719) from cuDeviceGet", ""},
		{s, "cuDevicePrimaryCtxRetain", 46, ErrCUDA, "CUDA_ERROR_DEVICE_UNAVAILABLE (46) from cuDevicePrimaryCtxRetain", ""},
		{s, "cuCtxPushCurrent_v2", 201, ErrCUDA, "CUDA_ERROR_INVALID_CONTEXT (201) from cuCtxPushCurrent_v2", ""},
		{s, "cuMemHostRegister_v2", 2, ErrCUDA, "registering 356 bytes with CUDA device 0: judemap: CUDA: " +
			"CUDA_ERROR_OUT_OF_MEMORY (2) from cuMemHostRegister_v2", ""},
		{s, "cuMemHostRegister_v2", 123456, ErrCUDA, "a CUDA error (123456) from cuMemHostRegister_v2", ""},
		{s, "cuMemHostGetDevicePointer_v2", 1, ErrCUDA, "CUDA_ERROR_INVALID_VALUE (1) from cuMemHostGetDevicePointer_v2", ""},
		{readOnly, "cuDeviceGetAttribute", 999, ErrCUDA, "CUDA_ERROR_UNKNOWN (999) from cuDeviceGetAttribute", ""},
		{readOnly, "cuDeviceGetAttribute", 1, ErrUnsupported, "mapped read-only", ""},
		// The thread's context is one that could not be popped.
		{s, "cuCtxPopCurrent_v2", 3, ErrCUDA, "CUDA_ERROR_NOT_INITIALIZED (3) from cuCtxPopCurrent_v2", "current=1"},
	} {
		d.calls()
		var err error
		d.failing(test.call, test.code, func() { err = test.s.RegisterCUDA(0) })
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s fails with %d: %v, want %v, %s", test.call, test.code, err, test.want, test.text)
		}
		calls := d.calls()
		want := "contexts=0 ranges=0 " + max(test.left, "current=0")
		if last := calls[len(calls)-1]; !strings.Contains(last, want) {
			t.Errorf("%s fails, and leaves something behind: %s", test.call, strings.Join(calls, "\n"))
		}
		if test.s.DevicePtr() != 0 {
			t.Errorf("%s fails, and the device has an address", test.call)
		}
	}
	os.Setenv("JUDEMAP_CUDA_READ_ONLY", "0")
	if err := readOnly.RegisterCUDA(0); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("registering read-only memory with a device that can't: %v", err)
	}
	devices := []int{-1}
	if math.MaxInt > math.MaxInt32 {
		devices = append(devices, math.MaxInt&^math.MaxUint32) // which is 0 in 32 bits
	}
	for _, device := range devices {
		if err := s.RegisterCUDA(device); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("RegisterCUDA with device %d: %v, want fs.ErrInvalid", device, err)
		}
	}
	err := s.RegisterCUDA(2)
	if !errors.Is(err, ErrCUDA) || !strings.Contains(err.Error(), "CUDA_ERROR_INVALID_DEVICE (101) from cuDeviceGet") {
		t.Errorf("RegisterCUDA with device 2 of 2: %v", err)
	}
	if err := s.RegisterCUDA(0); err != nil {
		t.Errorf("RegisterCUDA after all that: %v", err)
	}
	if err := s.Fill([]int{1}, Uint8, 1); err != nil {
		t.Error(err)
	}
}

func TestUnregisterCUDAFails(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	// The stand-in may have a range still of which it said that it has not, and would refuse another at its addresses.
	var kept []*Segment
	defer func() { runtime.KeepAlive(kept) }()
	for _, test := range []struct {
		call string
		code int
		text string // of the error; "": none
		left bool   // it is registered still
	}{
		{"cuCtxPushCurrent_v2", 201, "CUDA_ERROR_INVALID_CONTEXT (201) from cuCtxPushCurrent_v2", true},
		{"cuMemHostUnregister", 719, "CUDA_ERROR_LAUNCH_FAILED (719) from cuMemHostUnregister", true},
		{"cuDevicePrimaryCtxRelease_v2", 201, "CUDA_ERROR_INVALID_CONTEXT (201) from cuDevicePrimaryCtxRelease_v2", false},
		// The driver says that it has it no more.
		{"cuCtxPushCurrent_v2", 709, "", false},
		{"cuCtxPushCurrent_v2", 4, "", false},
		{"cuMemHostUnregister", 713, "", false},
		{"cuCtxPopCurrent_v2", 3, "CUDA_ERROR_NOT_INITIALIZED (3) from cuCtxPopCurrent_v2", false},
	} {
		for name, end := range map[string]func(*Segment) error{
			"UnregisterCUDA": (*Segment).UnregisterCUDA, "CloseWait": (*Segment).CloseWait,
		} {
			t.Run(fmt.Sprintf("%s, %s, %d", name, test.call, test.code), func(t *testing.T) {
				s, err := New(100)
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, s)
				if err := s.RegisterCUDA(0); err != nil {
					t.Fatal(err)
				}
				d.failing(test.call, test.code, func() { err = end(s) })
				if test.text == "" && err != nil || test.text != "" && (!errors.Is(err, ErrCUDA) || !strings.Contains(err.Error(), test.text)) {
					t.Errorf("%v, want %q", err, test.text)
				}
				if left := s.mapping.core.deviceAddress(uintptr(s.DataPtr())) != 0; name == "UnregisterCUDA" && left != test.left {
					t.Errorf("registered after it: %v, want %v", left, test.left)
				}
				if name == "UnregisterCUDA" {
					// What is registered still goes with Close.
					d.calls()
					if err := s.CloseWait(); err != nil {
						t.Error(err)
					}
					if n := len(d.calls()); (n != 0) != test.left {
						t.Errorf("Close makes %d calls", n)
					}
				}
			})
		}
	}
}

func expectNoCUDA(t *testing.T, parts ...string) {
	t.Helper()
	s := newSegment(t, 100)
	for range 2 {
		err := s.RegisterCUDA(0)
		if !errors.Is(err, ErrUnsupported) {
			t.Fatalf("RegisterCUDA: %v, want ErrUnsupported", err)
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v does not say %q", err, part)
			}
		}
	}
	if s.DevicePtr() != 0 {
		t.Error("the device has an address")
	}
}

func TestCUDADriverTooOld(t *testing.T) {
	if d := driverChild(t, "-DWITHOUT_POINTERS"); d != nil {
		expectNoCUDA(t, "libcuda.so.1", "cuMemHostGetDevicePointer_v2", "CUDA 11")
		d.expect("a driver that is too old", []string(nil)...)
	}
}

func TestCUDADriverIsNoLibrary(t *testing.T) {
	if isChild(t) {
		expectNoCUDA(t, "can't be loaded", "libcuda.so.1")
		return
	}
	skipIfStatic(t, "a static program loads no driver")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libcuda.so.1"), []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	runWithDriver(t, dir)
}

func TestNoCUDADriver(t *testing.T) {
	if err := newSegment(t, 100).RegisterCUDA(0); err == nil || errors.Is(err, ErrCUDA) {
		t.Skipf("SKIP: this machine has a driver: %v", err)
	}
	expectNoCUDA(t)
}

// A driver that does not know the names of its errors.
func TestCUDAErrorNames(t *testing.T) {
	d := driverChild(t, "-DWITHOUT_NAMES")
	if d == nil {
		return
	}
	s := newSegment(t, 100)
	for code, name := range map[int]string{2: "CUDA_ERROR_OUT_OF_MEMORY (2)", 100: "CUDA_ERROR_NO_DEVICE (100)", 77: "a CUDA error (77)"} {
		d.failing("cuInit", code, func() {
			if err := s.RegisterCUDA(0); err == nil || !strings.Contains(err.Error(), name+" from cuInit") {
				t.Errorf("%v, want %s", err, name)
			}
		})
	}
}

// Goroutines register, unregister and look while others close: nothing is left, and memory that is registered never goes.
func TestRegisterCUDABesideClose(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	runtime.UnlockOSThread()
	rounds := 300
	for range rounds {
		s, err := New(100)
		if err != nil {
			t.Fatal(err)
		}
		var goroutines sync.WaitGroup
		start := make(chan struct{})
		for i := range 3 {
			goroutines.Go(func() {
				<-start
				for {
					if err := s.RegisterCUDA(0); err == ErrClosed {
						return
					} else if err != nil {
						t.Errorf("RegisterCUDA: %v", err)
						return
					}
					if p := s.DevicePtr(); p != 0 && p%DataOffset != 0 {
						t.Errorf("DevicePtr: %#x", p)
					}
					if i == 0 {
						if err := s.UnregisterCUDA(); err != nil {
							t.Errorf("UnregisterCUDA: %v", err)
						}
					}
				}
			})
		}
		goroutines.Go(func() {
			<-start
			runtime.Gosched()
			_ = s.Close()
		})
		close(start)
		goroutines.Wait()
		if err := s.CloseWait(); err != nil {
			t.Fatal(err)
		}
	}
	d.expectNothingLeft("Close")
}

// A forgotten segment is unregistered before its addresses go.
func TestForgottenCUDA(t *testing.T) {
	d := driverChild(t)
	if d == nil {
		return
	}
	func() {
		s, err := New(100)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RegisterCUDA(0); err != nil {
			t.Fatal(err)
		}
	}()
	eventually(t, "the end of a forgotten segment", func() bool {
		runtime.GC()
		text, err := os.ReadFile(d.log)
		return err == nil && strings.Contains(string(text), "cuDevicePrimaryCtxRelease_v2")
	})
	d.expectNothingLeft("a forgotten segment")
}

// The program of docs/cuda.md compiles, with a header that declares what it calls of the CUDA runtime.
func TestCUDAPage(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/cuda.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(page), "```go\n")
	program, _, closed := strings.Cut(program, "```\n")
	if !found || !closed {
		t.Fatal("docs/cuda.md has no program")
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/upload\n\ngo 1.25.0\n\nrequire github.com/judemap/judemap v0.0.0\n\n" +
			"replace github.com/judemap/judemap => " + root + "\n",
		"go.sum":  string(sums),
		"main.go": program,
		"cuda_runtime_api.h": `#include <stddef.h>
typedef enum cudaError { cudaSuccess = 0 } cudaError_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1 };
typedef struct CUstream_st* cudaStream_t;
cudaError_t cudaMalloc(void** pointer, size_t size);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count, enum cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
const char* cudaGetErrorName(cudaError_t error);
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, ok := run(t, dir, []string{"CGO_CFLAGS=-I" + dir}, "go", "vet", "-mod=mod", "."); !ok {
		t.Error(out)
	}
	if out, ok := run(t, dir, nil, "gofmt", "-l", "main.go"); !ok || out != "" {
		t.Errorf("gofmt: %s", out)
	}
}
