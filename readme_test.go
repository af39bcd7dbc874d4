package judemap

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// The README's programs build, find each other in any order, end well at Ctrl-C, and go on where they were when they are
// started again.
func TestReadmePrograms(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIP: on Windows Ctrl-C can't be sent to one other process")
	}
	name := named(t, 1).Name() + "-readme" // skips where there is no sharing
	t.Cleanup(func() { _ = Remove(name) })
	folder := t.TempDir()
	programs := regexp.MustCompile("(?s)```go\n(package main // the (\\w+)\n.*?)```").FindAllStringSubmatch(readText(t, "README.md"), -1)
	path := map[string]string{}
	for _, program := range programs {
		source := filepath.Join(folder, program[2]+".go")
		if err := os.WriteFile(source, []byte(strings.ReplaceAll(program[1], `"camera"`, `"`+name+`"`)), 0o600); err != nil {
			t.Fatal(err)
		}
		path[program[2]] = filepath.Join(folder, program[2])
		if out, ok := run(t, "", nil, "go", "build", "-o", path[program[2]], source); !ok {
			t.Fatal(out)
		}
	}
	if len(path) != 2 || path["producer"] == "" || path["consumer"] == "" {
		t.Fatalf("the README has programs %v, want a producer and a consumer", path)
	}
	interrupt := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("at Ctrl-C %s ended with %v", filepath.Base(cmd.Path), err)
		}
	}
	launch := func(what string) (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		cmd := exec.Command(path[what])
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, bufio.NewScanner(out)
	}
	frame := regexp.MustCompile(`^\[1 3 224 224\] frame \d+ first pixel \d+ missed \d+$`)
	sees := func(lines *bufio.Scanner) {
		t.Helper()
		for range 3 {
			if !lines.Scan() || !frame.MatchString(lines.Text()) {
				t.Fatalf("the consumer printed %q, %v", lines.Text(), lines.Err())
			}
		}
	}
	consumer, lines := launch("consumer")
	producer, _ := launch("producer")
	sees(lines)
	interrupt(consumer)
	consumer, lines = launch("consumer")
	sees(lines)
	interrupt(producer)
	producer, _ = launch("producer")
	sees(lines)
	interrupt(producer)
	interrupt(consumer)
}
