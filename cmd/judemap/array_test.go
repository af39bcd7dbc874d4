package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

// An empty segment, and one whose writer died, are told apart by all that look at them.
func TestEmptyAndDead(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(t.TempDir(), "a.npy")

	if out := mustRun(t, "ls"); !regexp.MustCompile(name + ` +segment +empty +0 +0 +64 +none +-\n`).MatchString(out) {
		t.Errorf("ls:\n%s", out)
	}
	if out := mustRun(t, "inspect", name); !strings.Contains(out, "It holds no tensor.") {
		t.Errorf("inspect:\n%s", out)
	}
	if r := judemapCommand(t, "export", name, path); r.status != 1 || !strings.Contains(r.err, "no tensor") {
		t.Errorf("export: status %d, %s", r.status, r.err)
	}

	watch := exec.Command(command, "watch", name, "--time", "1m")
	var out bytes.Buffer
	watch.Stdout = &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), "JUDEMAP_TEST_DIE_WRITING="+name)
	if err := writer.Run(); err == nil || s.Version() != 1 {
		t.Fatalf("the writer: %v, version %d", err, s.Version())
	}
	if r := judemapCommand(t, "ls"); !regexp.MustCompile(name + ` +segment +half written +1 +0 +64 +died +-\n`).MatchString(r.out) {
		t.Errorf("ls:\n%s", r.out)
	}
	if r := judemapCommand(t, "inspect", name); r.status != 1 || !strings.Contains(r.err, "died") || !strings.Contains(r.out, "sequence") {
		t.Errorf("inspect: status %d, %s%s", r.status, r.out, r.err)
	}
	var seen inspection
	if r := judemapCommand(t, "inspect", name, "--json"); r.status != 1 || json.Unmarshal([]byte(r.out), &seen) != nil ||
		!strings.Contains(seen.Problem, "died") || len(seen.Header) != 13 || seen.Slots != nil {
		t.Errorf("inspect --json: status %d, %s", r.status, r.out)
	}
	if r := judemapCommand(t, "export", name, path); r.status != 1 || !strings.Contains(r.err, "died") {
		t.Errorf("export: status %d, %s", r.status, r.err)
	}
	time.Sleep(1500 * time.Millisecond)
	if err := s.Fill([]int{3}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := sendInterrupt(t, watch); err != nil { // it then shows what there is
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	for _, want := range []string{"died in the middle of a commit", "uint8 [3]", "writer other"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("watch does not say %q:\n%s", want, &out)
		}
	}
}

// A copy is not waited for longer than it may take, and a picture that was shown stays meanwhile.
func TestCopyTensor(t *testing.T) {
	name := segmentName(t)
	writer, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	s, err := openToRead(name, judemap.WithMaxBytes(4))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := copyTensor(t.Context(), s, time.Minute); !errors.Is(err, judemap.ErrEmpty) {
		t.Errorf("an empty segment: %v", err)
	}
	if err := writer.Fill([]int{2, 2}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if got, err := copyTensor(t.Context(), s, time.Minute); err != nil || !bytes.Equal(got.Data(), []byte{1, 1, 1, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	w := watcher{watched: []*watched{{source: s}}, display: newDisplay(io.Discard, func() {})}
	w.takePicture(t.Context())
	if len(w.picture) != 1 {
		t.Errorf("the picture is %q", w.picture)
	}
	if err := writer.Update([]int{2, 2}, judemap.Uint8, func([]byte) error { // a commit that does not end
		if _, err := copyTensor(t.Context(), s, 20*time.Millisecond); !errors.Is(err, errNoTime) || !strings.Contains(err.Error(), name) {
			t.Errorf("while it is written: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := copyTensor(ctx, s, time.Minute); err != context.Canceled {
			t.Errorf("interrupted: %v", err)
		}
		w.takePicture(t.Context())
		if len(w.picture) != 1 {
			t.Errorf("the picture is %q", w.picture)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := writer.Fill([]int{1, 5}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := copyTensor(t.Context(), s, time.Minute); err == nil || !strings.Contains(err.Error(), "5 bytes, and a copy 4 at most; see --max-bytes") {
		t.Errorf("a tensor that is too large: %v", err)
	}
	w.takePicture(t.Context())
	if w.picture != nil {
		t.Errorf("the picture is %q", w.picture)
	}
}
