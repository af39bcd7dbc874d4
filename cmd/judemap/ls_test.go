//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// ls lists hundreds of segments with few descriptors, nothing that is no segment, and names that can do nothing to a
// terminal, while others come and go.
func TestLs(t *testing.T) {
	base := segmentName(t)
	create := func(name string) {
		s, err := judemap.Create(name, 64)
		if err != nil {
			t.Error(err)
			return
		}
		s.Close()
	}
	var want []string
	for i := range 300 {
		name := fmt.Sprintf("%s-%03d", base, i)
		create(name)
		defer judemap.Remove(name)
		want = append(want, name)
	}
	odd := base + "-x\x1b[2J\n \xff"
	create(odd)
	defer judemap.Remove(odd)
	want = append(want, fmt.Sprintf("%+q", odd))

	stream, err := judemap.CreateStream(base+"-x-stream", 5, 64, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	stream.Close()
	defer judemap.Remove(base + "-x-stream")
	want = append(want, base+"-x-stream stream 5 every empty 0 0 64 none 0")

	// With holes it could fault whoever maps it without the right to write.
	holes := base + "-y"
	create(holes)
	if err := os.Truncate(filepath.Join(sharedMemory, holes), 1<<40); err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(holes)
	want = append(want, holes)

	path := func(kind string) string { return filepath.Join(sharedMemory, base+"-no-"+kind) }
	for _, kind := range []string{"text", "zeros", "empty", "link", "fifo", "folder"} {
		defer os.Remove(path(kind))
	}
	if err := errors.Join(
		os.WriteFile(path("text"), []byte(strings.Repeat("text ", 1000)), 0o600),
		os.WriteFile(path("zeros"), make([]byte, 4096), 0o600),
		os.WriteFile(path("empty"), nil, 0o600),
		os.Symlink(filepath.Join(sharedMemory, want[0]), path("link")),
		syscall.Mkfifo(path("fifo"), 0o600),
		os.Mkdir(path("folder"), 0o700),
	); err != nil {
		t.Fatal(err)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("%s-passing-%d", base, i%20)
			create(name)
			if err := judemap.Remove(name); err != nil {
				t.Error(err)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()

	for range 5 {
		out, err := exec.Command("sh", "-c", `ulimit -n 40; exec "$0" ls`, command).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var got []string
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, base) && !strings.Contains(line, "-passing-") {
				name := strings.TrimSuffix(strings.Join(strings.Fields(line), " "), " segment empty 0 0 64 none -")
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

// ls --json has the same, for programs.
func TestLsJSON(t *testing.T) {
	name := segmentName(t)
	segment, err := judemap.Create(name+"-a", 64)
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(name + "-a")
	defer segment.Close()
	if err := segment.Fill([]int{}, judemap.Float64, 1); err != nil {
		t.Fatal(err)
	}
	stream, err := judemap.CreateStream(name+"-b", 4, 32, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(name + "-b")
	defer stream.Close()
	reader, err := stream.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var all, got []map[string]any
	if err := json.Unmarshal([]byte(mustRun(t, "ls", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if strings.HasPrefix(e["name"].(string), name) {
			got = append(got, e)
		}
	}
	for _, e := range got {
		creator := e["creator"].(map[string]any)
		if at, err := time.Parse(time.RFC3339Nano, creator["created"].(string)); err != nil || time.Since(at) > time.Minute {
			t.Errorf("created %v, %v", at, err)
		}
		delete(creator, "created")
		if e["size"].(float64) < judemap.DataOffset {
			t.Errorf("size %v", e["size"])
		}
		delete(e, "size")
	}
	creator := map[string]any{"process": float64(os.Getpid()), "presence": "present"}
	want := []map[string]any{
		{"name": name + "-a", "kind": "segment", "dtype": "float64", "shape": []any{}, "version": 2., "bytes": 8., "capacity": 64.,
			"writer": "other", "holders": "present", "creator": creator},
		{"name": name + "-b", "kind": "stream", "problem": "empty", "version": 0., "bytes": 0., "capacity": 32., "writer": "none",
			"holders": "present", "creator": creator, "slots": 4., "every_frame": true, "readers": 1., "dead_readers": 0.},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A process that cuts a file short and lets it grow all the time does no harm to ls.
func TestLsTruncated(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Fill([]int{1000}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(sharedMemory, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, size := range []int{0, 100, judemap.DataOffset, judemap.DataOffset + 1, 4096} {
				_ = os.Truncate(path, int64(size))
			}
			if file, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				_, _ = file.Write(whole)
				_ = file.Close()
			}
		}
	})
	defer group.Wait()
	defer close(stop)
	listed := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if strings.Contains(mustRun(t, "ls"), name) {
			listed++
		}
	}
	if listed == 0 {
		t.Error("ls never listed it")
	}
}
