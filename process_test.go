//go:build cgo && linux

package judemap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

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
			if rand.IntN(4) == 0 { // and now and then a header that can be true
				header[0], header[16], header[17], header[18], header[19], header[34], header[35] = 2*rand.Uint32N(1000), 1, 4, 64, 0, 64, 0
			}
		}
	},
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestMain(m *testing.M) {
	name := os.Getenv("JUDEMAP_ROLE")
	if name == "" {
		code := m.Run()
		_ = os.RemoveAll(peerFolder)
		os.Exit(code)
	}
	go func() { // the end of the process that started this one is the end of this one
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// A segment is handed over by its name, or as the first file after the standard ones.
	var s *Segment
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0:
	case args[0] == "-":
		s, err = OpenFile(os.NewFile(3, "segment"))
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

// process is a child that is killed with the test, if it is still there.
type process struct {
	*exec.Cmd
	output bytes.Buffer
}

func start(t testing.TB, cmd *exec.Cmd, files ...*os.File) *process {
	t.Helper()
	p := &process{Cmd: cmd}
	p.Stdout, p.Stderr = &p.output, &p.output
	p.ExtraFiles = files
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

var (
	peerFolder string
	buildPeer  = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "judemap-peer-*")
		if err != nil {
			return "", err
		}
		peerFolder = dir
		cxx, err := exec.Command("go", "env", "CXX").Output()
		if err != nil {
			return "", err
		}
		program := filepath.Join(dir, "peer")
		out, err := exec.Command(strings.TrimSpace(string(cxx)), "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror",
			"-Iinclude", "testdata/peer/peer.cc", "judemap_core.cc", "-pthread", "-o", program).CombinedOutput()
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

// reopen opens the segment once more, as another process would.
func reopen(t testing.TB, s *Segment, opts ...Option) *Segment {
	t.Helper()
	other, err := Open(s.Name(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.CloseWait() })
	return other
}

// eventually waits until something holds; a test that needs long for that has failed.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
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

// Go and C++ processes share a segment, in both directions, by name and by descriptor.
func TestProcesses(t *testing.T) {
	const elements, versions = 4 << 10, 4000
	for _, kind := range []string{"named", "sealed"} {
		for _, pair := range [][2]string{{"Go", "Go"}, {"Go", "C++"}, {"C++", "Go"}, {"C++", "C++"}} {
			t.Run(kind+", "+pair[0]+" to "+pair[1], func(t *testing.T) {
				var s *Segment
				name, files := "-", []*os.File(nil)
				if kind == "named" {
					s = named(t, 8*elements)
					name = s.Name()
				} else {
					s = newSegment(t, 8*elements, WithSealed())
					file, err := s.File()
					if err != nil {
						t.Fatal(err)
					}
					defer file.Close()
					files = []*os.File{file}
				}
				command := func(language, role string, last int) *process {
					args := []string{name, strconv.Itoa(elements), strconv.Itoa(last)}
					if language == "C++" {
						return start(t, peer(t, append([]string{role}, args...)...), files...)
					}
					return start(t, roleCommand(role, args...), files...)
				}
				writer := command(pair[0], "write", 0)
				eventually(t, "the first commit", func() bool { return s.Version() != 0 })
				reader := command(pair[1], "read", versions)
				if err := checkedReads(context.Background(), s, elements, versions); err != nil {
					t.Errorf("reading in the test's process: %v", err)
				}
				if err := reader.Wait(); err != nil {
					t.Errorf("reading: %v\n%s", err, reader.output.String())
				}
				writer.kill(t)
			})
		}
	}
}

// Two processes hand a turn back and forth, each parked until the other's commit. A parked reader looks up every 40 ms
// by itself: were it not woken, the rounds would take 20 s.
func TestWakesAtOnce(t *testing.T) {
	const rounds = 500
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ping, pong := named(t, 8), named(t, 8)
	other := startRole(t, "echo", ping.Name(), pong.Name())
	for i := range uint64(rounds) {
		if err := ping.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := pong.Next(ctx, 2*i); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	other.kill(t)
}

// waits are the calls that park.
var waits = map[string]func(context.Context, *Segment, uint64) (Tensor, error){
	"ReadWait":     func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) { return s.ReadWait(ctx) },
	"ReadCopyWait": func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) { return s.ReadCopyWait(ctx) },
	"Next":         func(ctx context.Context, s *Segment, after uint64) (Tensor, error) { return s.Next(ctx, after) },
	"Frames": func(ctx context.Context, s *Segment, _ uint64) (Tensor, error) {
		for t, err := range s.Frames(ctx) {
			return t, err
		}
		panic("Frames ended")
	},
}

// One commit, in another process, wakes the parked readers of all; a context and Close end a wait with their own error.
func TestWaitAcrossProcesses(t *testing.T) {
	for name, wait := range waits {
		for _, ending := range []struct {
			name string
			end  func(s, reader *Segment, cancel func())
			want error
		}{
			{"a commit", func(s, _ *Segment, _ func()) { _ = s.Fill(nil, Uint8, 1) }, nil},
			{"the context's end", func(_, _ *Segment, cancel func()) { cancel() }, context.Canceled},
			{"Close", func(_, reader *Segment, _ func()) { _ = reader.Close() }, ErrClosed},
		} {
			t.Run(name+", "+ending.name, func(t *testing.T) {
				s := named(t, 64)
				reader := reopen(t, s)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				other := start(t, peer(t, "park", s.Name()))
				type result struct {
					version uint64
					err     error
				}
				results := make(chan result)
				for range 3 {
					go func() {
						got, err := wait(ctx, reader, 0)
						results <- result{got.Version(), err}
					}()
				}
				parked := func() uint32 { return load32(&s.mapping.header.waiters) }
				eventually(t, "two processes parked", func() bool { return parked() == 2 })
				start := time.Now()
				ending.end(s, reader, cancel)
				for range 3 {
					got := <-results
					if !errors.Is(got.err, ending.want) || ending.want == nil && got.version != 2 {
						t.Errorf("version %d, error %v; want %v", got.version, got.err, ending.want)
					}
				}
				t.Logf("%s ended 3 waits in %v", ending.name, time.Since(start))
				eventually(t, "only the other process parked", func() bool { return parked() == 1 })
				other.kill(t)
			})
		}
	}
}

// The death of the writer ends every wait, and every read that finds it in the middle of a commit. The next writer
// takes over: readers see nothing of the torn tensor.
func TestWriterDies(t *testing.T) {
	for _, test := range []struct {
		name   string
		writer func(name string) *exec.Cmd
		calls  []string // those that find nothing to return
	}{
		{"between commits", func(name string) *exec.Cmd { return peer(t, "idle", name) }, []string{"Next", "Frames"}},
		{"in a commit", func(name string) *exec.Cmd { return roleCommand("half", name) },
			[]string{"Next", "Frames", "ReadWait", "ReadCopyWait", "Read", "ReadCopy", "ReadInto"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := named(t, 64)
			writer := start(t, test.writer(s.Name()))
			eventually(t, "the commit", func() bool { return s.Version() != 0 })
			eventually(t, "the writer waits", func() bool { return s.Writer() == WriterOther })
			if err := s.Fill(nil, Uint8, 1); err != ErrWriterActive {
				t.Errorf("writing beside another writer: %v, want ErrWriterActive", err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			after := s.Version() &^ 1
			call := func(name string) error {
				var err error
				if wait := waits[name]; wait != nil {
					_, err = wait(ctx, s, after)
				} else {
					_, err = reads[name](s)
				}
				return err
			}
			type result struct {
				name string
				err  error
			}
			results := make(chan result, len(test.calls))
			for _, name := range test.calls {
				go func() { results <- result{name, call(name)} }()
			}
			eventually(t, "a parked reader", func() bool { return load32(&s.mapping.header.waiters) != 0 })
			time.Sleep(20 * time.Millisecond)
			writer.kill(t)
			start := time.Now()
			for range test.calls {
				if got := <-results; got.err != ErrWriterDied {
					t.Errorf("%s: %v, want ErrWriterDied", got.name, got.err)
				}
			}
			t.Logf("known to all after %v", time.Since(start))
			if s.Writer() != WriterDied {
				t.Errorf("Writer is %v", s.Writer())
			}
			for _, name := range test.calls { // and at once for those that come later
				if err := call(name); err != ErrWriterDied {
					t.Errorf("%s, later: %v, want ErrWriterDied", name, err)
				}
			}
			before := s.Version()
			if err := s.Fill([]int{2}, Uint8, 7); err != nil {
				t.Fatalf("taking over: %v", err)
			}
			got, err := s.Next(ctx, before)
			if err != nil || string(got.Data()) != "\a\a" || s.Writer() != WriterHere {
				t.Errorf("after taking over: %v, %v, writer %v", got.Data(), err, s.Writer())
			}
		})
	}
}

// A program that never wakes anybody, and knows nothing of the reserved block, is met by polling.
func TestWriterThatNeverWakes(t *testing.T) {
	s := named(t, 64, WithForeignWriters())
	plain := filepath.Join("/dev/shm", uniqueName())
	if err := os.WriteFile(plain, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(plain)
	byHand := func(file string) *os.File {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, test := range []struct {
		name string
		file *os.File
		open func() (*Segment, error)
	}{
		{"a segment of Create", byHand("/dev/shm/" + s.Name()), func() (*Segment, error) { return Open(s.Name()) }},
		{"a segment of the Node addon", byHand(plain), func() (*Segment, error) { return Open(filepath.Base(plain)) }},
		{"a slow poll", byHand(plain), func() (*Segment, error) {
			return Open(filepath.Base(plain), WithPollInterval(100*time.Millisecond))
		}},
		{"read-only", byHand(plain), func() (*Segment, error) { return Open(filepath.Base(plain), WithReadOnly()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader, err := test.open()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			before := reader.Version()
			go func() {
				time.Sleep(30 * time.Millisecond)
				// Writing to the file is as storing to the mapping, and wakes nobody.
				dump := dumpOf(before+2, Uint8, []byte{1, 2, 3, byte(before)})
				_, _ = test.file.WriteAt(dump[8:192], 8)
				_, _ = test.file.WriteAt(dump[256:], 256)
				_, _ = test.file.WriteAt(dump[:8], 0)
			}()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			got, err := reader.Next(ctx, before)
			if err != nil || string(got.Data()) != string([]byte{1, 2, 3, byte(before)}) {
				t.Errorf("%v, %v", got.Data(), err)
			}
		})
	}
}

// Children inherit no descriptor of a segment, unless it is passed on.
func TestCloseOnExec(t *testing.T) {
	s := named(t, 64)
	sealed := newSegment(t, 64, WithSealed())
	file, err := sealed.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := s.Next(ctx, 0); done <- err }() // the parker's descriptors
	eventually(t, "a parked reader", func() bool { return load32(&s.mapping.header.waiters) != 0 })
	p := startRole(t, "fds")
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"judemap", "shm"} {
		if out := p.output.String(); strings.Contains(out, part) {
			t.Errorf("a child inherits a descriptor of ours:\n%s", out)
		}
	}
	cancel()
	<-done
}

// A commit that finds no waiter makes no system call.
func TestCommitsWithoutSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIP: strace is not installed")
	}
	calls := func(commits int) (lines int, text string) {
		s := named(t, 64)
		cmd := peer(t, "write", s.Name(), "3", strconv.Itoa(commits))
		cmd.Args = append([]string{strace, "-f", "-qq", "-o", "/dev/stdout"}, cmd.Args...)
		cmd.Path = strace
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("SKIP: strace can't trace here: %v\n%s", err, out)
		}
		if got := s.Version(); got != uint64(2*commits) {
			t.Fatalf("version %d after %d commits", got, commits)
		}
		return bytes.Count(out, []byte("\n")), string(out)
	}
	one, _ := calls(1)
	many, text := calls(100000)
	if one != many {
		t.Errorf("%d system calls for 1 commit, %d for 100,000:\n%.2000s", one, many, text)
	}
	t.Logf("%d system calls for 1 commit, %d for 100,000", one, many)
}
