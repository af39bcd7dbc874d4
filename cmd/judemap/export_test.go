//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// An export that fails leaves the file that was there.
func TestExportFails(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	for _, file := range []string{"out.npy", "out.png"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := folderOf(t, dir)
	for _, test := range []struct {
		name, file, flags string
		shape             []int
		want              string
	}{
		{"too large", "out.npy", "--max-bytes 2", []int{3}, "the tensor has 3 bytes, and a copy 2 at most; see --max-bytes\n"},
		{"no picture", "out.png", "", []int{0, 3}, "no picture"},
		{"no folder", "missing/out.npy", "", []int{3}, "missing"},
	} {
		if err := s.Fill(test.shape, judemap.Uint8, 1); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"export", name, filepath.Join(dir, test.file)}, strings.Fields(test.flags)...)
		r := judemapCommand(t, args...)
		if r.status != 1 || !strings.Contains(r.err, test.want) {
			t.Errorf("%s: status %d, %q, want %q", test.name, r.status, r.err, test.want)
		}
	}
	if diff := cmp.Diff(before, folderOf(t, dir)); diff != "" {
		t.Error(diff)
	}
	mustRun(t, "export", name, filepath.Join(dir, "fits.npy"), "--max-bytes", "3")
}

// So does one that is interrupted.
func TestExportInterrupted(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Fill([]int{1024, 2048, 4}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	caught := 0
	for try := range 6 {
		dir := t.TempDir()
		path := filepath.Join(dir, "out.png")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		export := exec.Command(command, "export", name, path)
		if err := export.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				break
			}
		}
		_ = export.Process.Signal(os.Interrupt)
		if try%2 != 0 { // impatient: the second interrupt kills it
			time.Sleep(20 * time.Millisecond)
			_ = export.Process.Signal(os.Interrupt)
		}
		_ = export.Wait()
		if export.ProcessState.ExitCode() == 0 {
			continue
		}
		caught++
		if status := export.ProcessState.ExitCode(); status != 130 && try%2 == 0 {
			t.Errorf("status %d, want 130", status)
		}
		if diff := cmp.Diff(map[string]string{"out.png": "-rw------- old"}, folderOf(t, dir)); diff != "" {
			t.Error(diff)
		}
	}
	if caught == 0 {
		t.Error("all exports were done before the interrupt reached them")
	}
}

// Pipes and the standard output are written to as they are, and remain what they are.
func TestExportToPipe(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := sample(judemap.Int16, 2, 3)
	if err := s.Write(want.shape, want.dtype, want.data); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := writeNPY(&file, want); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pipe, link, shell := filepath.Join(dir, "pipe.npy"), filepath.Join(dir, "link.npy"), filepath.Join(dir, "shell")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/stdout", link); err != nil {
		t.Fatal(err)
	}
	through := make(chan []byte)
	go func() {
		got, err := os.ReadFile(pipe)
		if err != nil {
			t.Error(err)
		}
		through <- got
	}()
	mustRun(t, "export", name, pipe)
	if diff := cmp.Diff(file.Bytes(), <-through); diff != "" {
		t.Errorf("through a pipe: %s", diff)
	}
	if diff := cmp.Diff(file.String(), mustRun(t, "export", name, link)); diff != "" {
		t.Errorf("to the standard output: %s", diff)
	}
	// The standard output may be a file, of which the export is a part.
	script := `(echo before; "$0" export "$1" "$2"; echo after) >"$3"`
	if out, err := exec.Command("sh", "-c", script, command, name, link, shell).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(shell)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("before\n"+file.String()+"after\n", string(got)); diff != "" {
		t.Errorf("to a file of the shell's: %s", diff)
	}
	if got := folderOf(t, dir); got["link.npy"] != "-> /dev/stdout" || got["pipe.npy"] != "prw-------" {
		t.Errorf("left %v", got)
	}
}
