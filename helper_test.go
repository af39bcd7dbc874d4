// Helpers for the tests of several files.

package judemap

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// child runs a test of this binary again in a process of its own, in which the variable JUDEMAP_CHILD is set.
func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), "JUDEMAP_CHILD="+name)
	return cmd
}

func isChild(t *testing.T) bool { return os.Getenv("JUDEMAP_CHILD") == t.Name() }

// statusKiB returns a row of the kernel's account of this process's memory.
func statusKiB(t *testing.T, row string) int { return procKiB(t, "/proc/self/status", row) }

func procKiB(t *testing.T, file, row string) int {
	t.Helper()
	if runtime.GOOS != "linux" { // Wine shows the one of the system below
		t.Skipf("SKIP: memory is read from %s", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("SKIP: memory is read from %s: %v", file, err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(line, row+": %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Skipf("SKIP: no %s in %s", row, file)
	return 0
}

func newSegment(t testing.TB, capacity int, opts ...Option) *Segment {
	t.Helper()
	s, err := New(capacity, opts...)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.CloseWait(); err != nil {
			t.Errorf("CloseWait: %v", err)
		}
	})
	return s
}

// memory returns the whole segment, header and data.
func memory(s *Segment) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s.mapping.header)), DataOffset+s.capacity)
}

// seen is what a test compares of a Tensor.
type seen struct {
	Shape   []int
	DType   DType
	Data    []byte
	Version uint64
	Valid   bool
}

func see(t *Tensor) seen {
	return seen{t.Shape(), t.DType(), append([]byte{}, t.Data()...), t.Version(), t.Valid()}
}

// reads are all calls that read a tensor without waiting for a new one.
var reads = map[string]func(*Segment) (Tensor, error){
	"Read":     (*Segment).Read,
	"TryRead":  (*Segment).TryRead,
	"ReadCopy": func(s *Segment) (Tensor, error) { return s.ReadCopy(context.Background()) },
	"ReadInto": func(s *Segment) (Tensor, error) { return s.ReadInto(make([]byte, s.ByteCapacity())) },
	"ReadWait": func(s *Segment) (Tensor, error) { return s.ReadWait(context.Background()) },
	"ReadCopyWait": func(s *Segment) (Tensor, error) {
		return s.ReadCopyWait(context.Background())
	},
	"Next": func(s *Segment) (Tensor, error) { return s.Next(context.Background(), 0) },
	"NextInto": func(s *Segment) (Tensor, error) {
		return s.NextInto(context.Background(), 0, make([]byte, s.ByteCapacity()))
	},
}

// waits are the calls that park.
var waits = map[string]func(context.Context, *Segment, uint64) (Tensor, error){
	"ReadWait":     func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) { return s.ReadWait(ctx) },
	"ReadCopyWait": func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) { return s.ReadCopyWait(ctx) },
	"Next":         func(ctx context.Context, s *Segment, after uint64) (Tensor, error) { return s.Next(ctx, after) },
	"NextInto": func(ctx context.Context, s *Segment, after uint64) (Tensor, error) {
		return s.NextInto(ctx, after, make([]byte, s.ByteCapacity()))
	},
	"Frames": func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) {
		for t, err := range s.Frames(ctx) {
			return t, err
		}
		panic("Frames ended")
	},
}

// descriptors and osThreads are how many of them this process has, where that can be counted; else 0.
func descriptors(t *testing.T) int { return countOwn(t, "fd") }
func osThreads(t *testing.T) int   { return countOwn(t, "task") }

func countOwn(t *testing.T, what string) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	return count(t, "/proc/self/"+what)
}

// sharedMemory is the folder where named segments lie.
func sharedMemory() string {
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
}

// temporaryMemory is a folder whose files lie in memory, where there is one; else "".
func temporaryMemory() string {
	if runtime.GOOS == "linux" {
		return "/dev/shm"
	}
	return ""
}

func count(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	return len(entries)
}

// stressTime is how long a stress test runs for each of its sizes.
func stressTime(t *testing.T) time.Duration {
	return testTime(t, "JUDEMAP_STRESS", 300*time.Millisecond)
}

// testTime returns the duration that an environment variable sets for tests that can run for any time.
func testTime(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return d
}

// element returns element i of the tensor of a version. So a reader can tell from the version what it must see.
func element(version uint64, i int) int64 {
	return int64(version*0x9E3779B97F4A7C15 + uint64(i)*0xD1B54A32D192ED03)
}

// stressShape returns the shape of the tensor of a version, with at most n elements. It differs from one commit to the
// next, so that a header that mixes two commits is noticed.
func stressShape(version uint64, n int) []int {
	switch version / 2 % 3 {
	case 0:
		return []int{n}
	case 1:
		return []int{1, n - 1, 1}
	default:
		return []int{n / 3, 3}
	}
}

// checkStress says how t differs from the tensor of its version. The header must match even where the data was
// overwritten since.
func checkStress(t *Tensor, n int) error {
	want := stressShape(t.Version(), n)
	if fmt.Sprint(t.Shape()) != fmt.Sprint(want) {
		return fmt.Errorf("version %d has shape %v, want %v", t.Version(), t.Shape(), want)
	}
	values, err := Slice[int64](t)
	if err != nil {
		return err
	}
	version := t.Version()
	for i, v := range values {
		if v != element(version, i) {
			if !t.Valid() {
				return nil // it was overwritten meanwhile, and Valid says so
			}
			return fmt.Errorf("version %d is torn: element %d of %d is %#x, want %#x", version, i, len(values), v,
				element(version, i))
		}
	}
	return nil
}

// stressWriter commits tensors of at most n elements until stop is closed (nil: for ever): copies and writes in place in turn.
func stressWriter(s *Segment, n int, stop <-chan struct{}) error {
	values := make([]int64, n)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		version := s.Version() + 2
		if version%2 != 0 { // the previous writer died in a commit: the repair takes a version
			version++
		}
		shape := stressShape(version, n)
		size := 1
		for _, d := range shape {
			size *= d
		}
		for i := range size {
			values[i] = element(version, i)
		}
		var err error
		if version%8 == 0 {
			err = s.Update(shape, Int64, func(data []byte) error {
				copy(unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(data))), size), values)
				return nil
			})
		} else {
			err = WriteSlice(s, shape, values[:size])
		}
		if err != nil {
			return err
		}
	}
}

// headerOf returns the header of a segment, up to byte_length.
func headerOf(sequence uint64, ndim, dtype uint32, byteLength uint64, shape ...uint64) []byte {
	h := binary.LittleEndian.AppendUint64(nil, sequence)
	h = append(h, make([]byte, 56)...)
	h = binary.LittleEndian.AppendUint32(h, ndim)
	h = binary.LittleEndian.AppendUint32(h, dtype)
	for i := range 8 {
		d := uint64(0)
		if i < len(shape) {
			d = shape[i]
		}
		h = binary.LittleEndian.AppendUint64(h, d)
	}
	return binary.LittleEndian.AppendUint64(h, byteLength)
}

// dumpOf returns a whole segment of one dimension, as a program without this package would write it.
func dumpOf(sequence uint64, dtype DType, data []byte) []byte {
	n := uint64(len(data))
	dump := headerOf(sequence, 1, uint32(dtype), n, n/uint64(dtype.Size()))
	dump = append(dump, make([]byte, DataOffset-len(dump))...)
	return append(dump, data...)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// process is a child that is killed at the end of the test, if it still runs.
type process struct {
	*exec.Cmd
	output bytes.Buffer
}

func start(t testing.TB, cmd *exec.Cmd, files ...*os.File) *process {
	t.Helper()
	p := &process{Cmd: cmd}
	p.Stdout, p.Stderr = &p.output, &p.output
	passFiles(cmd, files)
	if _, err := p.StdinPipe(); err != nil { // which ends with this process, however that ends
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// skipIfStatic skips a test in a program that is linked statically, which has no interpreter.
func skipIfStatic(t *testing.T, why string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	program, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if !slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Skipf("SKIP: %s", why)
	}
}

// startRole runs this binary in a role.
func startRole(t testing.TB, role string, args ...string) *process {
	t.Helper()
	return start(t, roleCommand(role, args...))
}

func roleCommand(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "JUDEMAP_ROLE="+role)
	return cmd
}

// kill ends the process as SIGKILL does, and says whether it had still been running without complaint.
func (p *process) kill(t testing.TB) {
	t.Helper()
	_ = p.Process.Kill()
	_ = p.Wait()
	if p.output.Len() != 0 {
		t.Errorf("%v: %s", p.Args, p.output.String())
	}
}

// named makes a segment that has its name until the test ends.
func named(t testing.TB, capacity int, opts ...Option) *Segment {
	t.Helper()
	s, err := Create(uniqueName(), capacity, opts...)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.CloseWait(), Remove(s.Name())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func uniqueName() string { return fmt.Sprintf("judemap-test-%d-%d", os.Getpid(), rand.Uint64()) }

// reopen opens the segment again, as another process would.
func reopen(t testing.TB, s *Segment, opts ...Option) *Segment {
	t.Helper()
	other, err := Open(s.Name(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.CloseWait() })
	return other
}

// checkOption checks what a call made of an option: the call takes it, or gives nothing but an error that names both.
func checkOption[S interface {
	comparable
	CloseWait() error
}](t *testing.T, call, option string, takes bool, s S, err error) {
	t.Helper()
	if takes {
		if err != nil {
			t.Errorf("%s with %s: %v", call, option, err)
		} else if err := s.CloseWait(); err != nil {
			t.Error(err)
		}
		return
	}
	bare, _, _ := strings.Cut(call, ",")
	if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), option) || !strings.Contains(err.Error(), bare) {
		t.Errorf("%s with %s: %v, want fs.ErrInvalid that names both", call, option, err)
	}
	if s != *new(S) {
		t.Errorf("%s with %s: %T beside the error", call, option, s)
	}
}

// eventually waits until a condition is true. If that takes long the test fails.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

// within calls a function that must end soon. The limit is far longer than it should take.
func within(t testing.TB, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); call() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s has not ended after 10 s", what)
	}
}

// checkedReads reads the tensors of a stressWriter in all ways, checks each, and that versions never go back, until it
// has seen a version (0: until ctx ends). A dead writer, and what it leaves, are no errors.
func checkedReads(ctx context.Context, s *Segment, n int, until uint64) error {
	buf := make([]byte, 8*n)
	last := uint64(0)
	for i := 0; until == 0 || last < until; i++ {
		var t Tensor
		var err error
		switch i % 4 {
		case 0:
			t, err = s.Next(ctx, last)
		case 1:
			t, err = s.Read()
		case 2:
			t, err = s.ReadInto(buf)
		case 3:
			t, err = s.ReadCopyWait(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrWriterDied):
			time.Sleep(time.Millisecond)
			continue
		case err == ErrEmpty:
			continue
		case err == nil:
			err = checkStress(&t, n)
		}
		if err != nil {
			return err
		}
		if t.Version() < last {
			return fmt.Errorf("version %d after %d", t.Version(), last)
		}
		last = t.Version()
	}
	return nil
}

// Tests with several processes run this binary again, in a role: JUDEMAP_ROLE names it, and the arguments are its own.
// A role returns an error, or runs until it is killed.
var roles = map[string]func(s *Segment, args []string) error{
	// write ELEMENTS commits tensors of at most so many elements, until killed.
	"write": func(s *Segment, args []string) error { return stressWriter(s, number(args[0]), nil) },
	// half begins a commit, and stays in it.
	"half": func(s *Segment, _ []string) error {
		return s.Update([]int{4}, Uint8, func(data []byte) error { data[0] = 1; select {} })
	},
	// read ELEMENTS VERSION reads in all ways, and checks, until it has seen that version (0: until killed).
	"read": func(s *Segment, args []string) error {
		return checkedReads(context.Background(), s, number(args[0]), uint64(number(args[1])))
	},
	// echo answers each commit of its segment with one of another, until killed.
	"echo": func(s *Segment, args []string) error {
		back, err := Open(args[0])
		for after := uint64(0); err == nil; after += 2 {
			if _, err = s.Next(context.Background(), after); err == nil {
				err = back.Fill(nil, Uint8, 1)
			}
		}
		return err
	},
	// fds prints the descriptors that this process has.
	"fds": func(*Segment, []string) error {
		names, err := os.ReadDir("/proc/self/fd")
		for _, name := range names {
			target, _ := os.Readlink("/proc/self/fd/" + name.Name())
			fmt.Println(target)
		}
		return err
	},
	// scribble writes random words over the header, the reserved block too, until killed.
	"scribble": func(s *Segment, _ []string) error {
		header := unsafe.Slice((*uint32)(unsafe.Pointer(s.mapping.header)), DataOffset/4)
		plausible := []uint32{0, 1, 2, 3, 8, 9, 64, 4096, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1}
		for {
			for range 1 + rand.IntN(8) {
				word := rand.IntN(len(header))
				if rand.IntN(2) == 0 {
					word = []int{0, 1, 16, 17, 18, 19, 34, 35, 48, 49, 50, 52}[rand.IntN(12)]
				}
				header[word] = plausible[rand.IntN(len(plausible))]
				if rand.IntN(3) == 0 {
					header[word] = rand.Uint32()
				}
			}
			if rand.IntN(4) == 0 { // and sometimes a header that is possible
				header[0], header[16], header[17], header[18], header[19], header[34], header[35] = 2*rand.Uint32N(1000), 1, 4, 64, 0, 64, 0
			}
		}
	},
}

func TestMain(m *testing.M) {
	name := os.Getenv("JUDEMAP_ROLE")
	if name == "" {
		if os.Getenv("JUDEMAP_CHILD") == "" { // which has that of its parent
			if err := useOwnFolder(); err != nil {
				panic(err)
			}
		}
		code := m.Run()
		_ = os.RemoveAll(removeAfterwards)
		os.Exit(code)
	}
	go func() { // end this process when the process that started it ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// A segment is handed over by its name, or with "-" as the first file after the standard ones.
	var s *Segment
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0 || args[0] == "--": // the role opens what it needs itself
	case args[0] == "-":
		s, err = OpenFile(passedFile())
	default:
		s, err = Open(args[0])
	}
	if err == nil {
		err = roles[name](s, os.Args[min(2, len(os.Args)):])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

var (
	// programFolder makes a folder for programs, which all users can read, and which goes with the tests.
	programFolder = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "judemap-peer-*")
		if err != nil {
			return "", err
		}
		removeAfterwards = dir
		return dir, os.Chmod(dir, 0o755)
	})
	removeAfterwards string

	buildPeer = sync.OnceValues(func() (string, error) {
		if built := os.Getenv("JUDEMAP_PEER"); built != "" { // where there is no compiler
			return built, nil
		}
		dir, err := programFolder()
		if err != nil {
			return "", err
		}
		cxx, err := exec.Command("go", "env", "CXX").Output()
		if err != nil {
			return "", err
		}
		program := filepath.Join(dir, programName("peer"))
		libraries := "-ldl"
		if runtime.GOOS == "windows" {
			libraries = "-static" // those of the compiler, which no PATH needs to name then
		}
		out, err := exec.Command(strings.TrimSpace(string(cxx)), "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror",
			"-Iinclude", "testdata/peer/peer.cc", "judemap_core.cc", "-pthread", libraries, "-o", program).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		return program, nil
	})
)

// peer returns the command of the C++ program testdata/peer.
func peer(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program, err := buildPeer()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, args...)
}

// parkerThreads is how many threads the parker runs.
func parkerThreads() int {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if parkers.current == nil {
		return 0
	}
	return max(1, parkers.current.core.threads())
}

// parkedReaders is how many readers of one Segment are parked.
func (w *waiters) parkedReaders() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.led {
		return w.count + 1
	}
	return w.count
}

// inBothWays runs a test with readers that park their threads in the core, and with readers that the parker waits for.
func inBothWays(t *testing.T, test func(t *testing.T)) {
	t.Run("threads", test)
	t.Run("parker", func(t *testing.T) {
		threadsParked.Add(mostThreadsParked)
		defer threadsParked.Add(-mostThreadsParked)
		test(t)
	})
}
