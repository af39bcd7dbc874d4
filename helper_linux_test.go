//go:build cgo

package judemap

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap/internal/floor"
	"golang.org/x/sys/unix"
)

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// What the benchmarks of several processes share. They report metrics of their own: medians and quantiles bear a busy
// machine better than the mean that b.N gives.

// quantile returns the value that so much of the sorted values is at most.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)])
}

// reportQuantiles reports the median and the 99th of a hundred of times in nanoseconds, and sorts them.
func reportQuantiles(b *testing.B, times []int64) {
	slices.Sort(times)
	b.ReportMetric(quantile(times, 0.50), "p50-ns")
	b.ReportMetric(quantile(times, 0.99), "p99-ns")
}

// seconds is how long a benchmark runs that works at a fixed rate: a second for each iteration, whose time is no result.
func seconds(b *testing.B) time.Duration {
	b.ReportMetric(0, "ns/op")
	return time.Duration(b.N) * time.Second
}

// pace calls do at a fixed rate until it fails or stop says so, and catches up when it was held up. It keeps a thread
// and sleeps in the kernel, since the runtime's timers are rounded up to a millisecond.
func pace(perSecond int, stop func() bool, do func(i int) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, period := floor.Clock(), int64(time.Second)/int64(perSecond)
	for i := 0; !stop(); i++ {
		if early := start + int64(i)*period - floor.Clock(); early > 0 {
			wait := syscall.NsecToTimespec(early)
			_ = syscall.Nanosleep(&wait, nil) // a signal ends it early, which does no harm
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

func never() bool { return false }

// until returns a function that says whether so much time has passed from now on.
func until(d time.Duration) func() bool {
	end := floor.Clock() + int64(d)
	return func() bool { return floor.Clock() >= end }
}

// commitClock commits the time of the machine's clock, for the reader to tell the commit's age.
func commitClock(s *Segment) error { return WriteSlice(s, []int{1}, []int64{floor.Clock()}) }

// clockOf returns the time that commitClock committed, and false if the view did not last.
func clockOf(t *Tensor) (int64, bool, error) {
	stamp, err := Slice[int64](t)
	if err != nil || len(stamp) != 1 {
		return 0, false, fmt.Errorf("%v of %v: %w", t.Shape(), t.DType(), err)
	}
	at := stamp[0]
	return at, t.Valid(), nil
}

// copyProgram puts this program where all users can read it.
var copyProgram = sync.OnceValues(func() (string, error) {
	dir, err := programFolder()
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "judemap.test")
	return path, os.WriteFile(path, program, 0o755)
})

const otherUser = 65534 // nobody

// asOtherUser has a command of roleCommand, or of child, run as another user.
func asOtherUser(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root can start a process as another user")
	}
	program, err := copyProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Dir = program, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	return cmd
}

// memfd makes a file without a name, of so many bytes without memory behind them, that may be sealed.
func memfd(t testing.TB, size int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("judemap-test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Skipf("SKIP: memfd_create: %v", err)
	}
	file := os.NewFile(uintptr(fd), "a memfd")
	t.Cleanup(func() { file.Close() })
	if err := file.Truncate(size); err != nil {
		t.Skipf("SKIP: a sparse memfd of %d bytes: %v", size, err)
	}
	return file
}
