package kserve_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap/examples/triton/kserve"
)

// A tritonServer is a Triton of the tests.
type tritonServer struct {
	port    int
	address string
	process *exec.Cmd
	output  *bytes.Buffer
	ended   chan struct{}
}

// models are the tests' models: an element type each, and a slow one.
var models = []struct {
	name, datatype, seconds string
}{
	{"same_BOOL", "BOOL", "0"}, {"same_UINT8", "UINT8", "0"}, {"same_UINT16", "UINT16", "0"}, {"same_UINT32", "UINT32", "0"},
	{"same_UINT64", "UINT64", "0"}, {"same_INT8", "INT8", "0"}, {"same_INT16", "INT16", "0"}, {"same_INT32", "INT32", "0"},
	{"same_INT64", "INT64", "0"}, {"same_FP16", "FP16", "0"}, {"same_FP32", "FP32", "0"}, {"same_FP64", "FP64", "0"},
	{"same_BF16", "BF16", "0"}, {"slow", "FP32", "1"},
}

var (
	folder string        // of models
	triton *tritonServer // that all tests may ask, and none ends
	skip   string        // why there is none
)

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	var err error
	if folder, err = os.MkdirTemp("", "kserve-test-"); err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	if err := writeModels(folder); err != nil {
		fmt.Println(err)
		return
	}
	triton = &tritonServer{}
	if err := triton.start(folder, ""); err != nil {
		if skip = triton.skipped(); skip == "" {
			fmt.Println(err)
			return
		}
	}
	defer triton.kill()
	code = m.Run()
}

func writeModels(folder string) error {
	python, err := os.ReadFile("testdata/model.py")
	if err != nil {
		return err
	}
	for _, model := range models {
		config := fmt.Sprintf(`backend: "python"
max_batch_size: 0
input [ { name: "X" data_type: TYPE_%[1]s dims: [ -1, -1 ] } ]
output [ { name: "Y" data_type: TYPE_%[1]s dims: [ -1, -1 ] }, { name: "PROCESS" data_type: TYPE_INT64 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
parameters { key: "seconds" value { string_value: "%[2]s" } }
`, model.datatype, model.seconds)
		at := filepath.Join(folder, model.name)
		if err := os.MkdirAll(filepath.Join(at, "1"), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, "config.pbtxt"), []byte(config), 0o666); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, "1", "model.py"), python, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// few returns a folder with these models alone, so that a server is there sooner.
func few(t *testing.T, names ...string) string {
	t.Helper()
	result := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(filepath.Join(folder, name), filepath.Join(result, name)); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// startServer starts another server, which ends with the test.
func startServer(t *testing.T, folder string) *tritonServer {
	t.Helper()
	needTriton(t)
	s := &tritonServer{}
	if err := s.start(folder, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

func needTriton(t *testing.T) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
}

// start starts the server, on the port that it had before or on a free one, and waits until it is ready. before is a shell
// command that comes first.
func (s *tritonServer) start(folder, before string) error {
	if s.port == 0 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.port = listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		s.address = fmt.Sprintf("127.0.0.1:%d", s.port)
	}
	s.output, s.ended = new(bytes.Buffer), make(chan struct{})
	serve := []string{"../serve", fmt.Sprint(s.port), folder}
	if before != "" {
		serve = append([]string{"unshare", "--mount", "sh", "-c", before + ` && exec "$@"`, "sh"}, serve...)
	}
	s.process = exec.Command(serve[0], serve[1:]...)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.WaitDelay = time.Second // the stubs of a server that was killed have its output open for a while
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // it may have to be installed
	defer cancel()
	client, err := kserve.New([]string{s.address})
	if err != nil {
		return err
	}
	defer client.Close()
	ready := make(chan error, 1)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	go func() { ready <- client.Ready(ctx, entries[0].Name()) }()
	select {
	case err = <-ready:
	case <-s.ended:
		err = fmt.Errorf("it ended: %s", s.output)
		cancel()
		<-ready
	}
	if err != nil {
		s.kill()
		return fmt.Errorf("starting Triton: %w", err)
	}
	return nil
}

// kill ends the server at once, and what it leaves in /dev/shm.
func (s *tritonServer) kill() {
	if s.process == nil || s.process.Process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL) // its stubs
	<-s.ended
	left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/*triton-%d-*", s.process.Process.Pid))
	for _, file := range left {
		_ = os.Remove(file)
	}
}

// skipped returns why the server can't run on this machine, if it said so.
func (s *tritonServer) skipped() string {
	for line := range strings.Lines(s.output.String()) {
		if why, ok := strings.CutPrefix(line, "SKIP: "); ok {
			return strings.TrimSpace(why)
		}
	}
	return ""
}

var names struct {
	sync.Mutex
	n int
}

// uniqueName is a name for a segment or stream of this test.
func uniqueName() string {
	names.Lock()
	defer names.Unlock()
	names.n++
	// By the prefix, ./test takes away what tests that were killed left.
	return fmt.Sprintf("%sjudemap-triton-%d-%d", os.Getenv("TRITON_PREFIX"), os.Getpid(), names.n)
}
