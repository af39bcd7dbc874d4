package judemap

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

func TestPin(t *testing.T) {
	s := newSegment(t, 64<<10)
	s.Unpin() // safe when not pinned
	for range 2 {
		if err := s.Pin(); err != nil {
			t.Skipf("SKIP: this process may not lock 64 KiB: %v", err)
		}
		if !s.IsPinned() {
			t.Error("pinned, and IsPinned is false")
		}
	}
	if locked := statusKiB(t, "VmLck"); locked < 64 {
		t.Errorf("%d KiB are locked, want at least 64", locked)
	}
	for range 2 {
		s.Unpin()
		if s.IsPinned() {
			t.Error("unpinned, and IsPinned is true")
		}
	}
	if locked := statusKiB(t, "VmLck"); locked != 0 {
		t.Errorf("%d KiB are locked after Unpin", locked)
	}
}

// TestPinDenied runs in a child process that may lock next to nothing.
func TestPinDenied(t *testing.T) {
	if !isChild(t) {
		if runtime.GOOS != "linux" {
			t.Skip("SKIP: limits are set with prlimit, which is Linux's")
		}
		// As an ordinary user: root may lock what it wants.
		args := []string{"--memlock=65536:65536"}
		if os.Geteuid() == 0 {
			args = append(args, "setpriv", "--inh-caps=-all", "--bounding-set=-all", "--reuid=65534", "--clear-groups", "--no-new-privs")
		}
		for _, tool := range []string{"prlimit", "setpriv"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("SKIP: %v", err)
			}
		}
		// An ordinary user may not be able to reach the folder of the test's program.
		program, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.CreateTemp("", "judemap-pin-*")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		if _, err := file.Write(program); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Chmod(0o755), file.Close()); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("prlimit", append(args, file.Name(), "-test.run=^TestPinDenied$", "-test.v")...)
		cmd.Env = append(os.Environ(), "JUDEMAP_CHILD=TestPinDenied")
		cmd.Dir = os.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "denied as it should be") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newSegment(t, 1<<20)
	if err := WriteSlice(s, []int{1}, []float64{1}); err != nil {
		t.Fatal(err)
	}
	err := s.Pin()
	if !errors.Is(err, ErrPinDenied) {
		t.Fatalf("Pin: %v, want ErrPinDenied", err)
	}
	for _, part := range []string{"1048832", "ulimit -l"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if got, err := s.Read(); s.IsPinned() || err != nil || !got.Valid() {
		t.Errorf("after a denied pin: pinned %v, Read: %v", s.IsPinned(), err)
	}
	t.Logf("denied as it should be: %v", err)
}

// The zero values are closed.
func TestCUDAZero(t *testing.T) {
	var segment Segment
	var stream Stream
	var tensor Tensor
	for _, err := range []error{segment.RegisterCUDA(0), stream.RegisterCUDA(0)} {
		if err != ErrClosed {
			t.Errorf("RegisterCUDA: %v, want ErrClosed", err)
		}
	}
	if err := errors.Join(segment.UnregisterCUDA(), stream.UnregisterCUDA()); err != nil {
		t.Errorf("UnregisterCUDA: %v", err)
	}
	if segment.DevicePtr() != 0 || stream.SlotDevicePtr(0) != 0 || tensor.DevicePtr() != 0 {
		t.Error("a device has an address in nothing")
	}
}

func TestPointers(t *testing.T) {
	s := newSegment(t, 100)
	if p := s.DataPtr(); p == 0 || p%256 != 0 {
		t.Errorf("DataPtr is %#x, which is not aligned to 256", p)
	}
	if err := s.Fill([]int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	view, _ := s.Read()
	if got := uintptr(unsafe.Pointer(unsafe.SliceData(view.Data()))); got != s.DataPtr() {
		t.Errorf("a view's data is at %#x, and DataPtr is %#x", got, s.DataPtr())
	}
	// A view can be written back over itself.
	if err := s.Write(view.Shape(), view.DType(), view.Data()); err != nil {
		t.Error(err)
	}
}
