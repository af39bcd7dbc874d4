package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// Every type and kind of shape survives put and export, and inspect and ls show it.
func TestRoundTrips(t *testing.T) {
	dir := t.TempDir()
	for _, dtype := range dtypes {
		for _, shape := range [][]int{{}, {5}, {2, 3, 4}, {1, 1, 1, 1, 1, 1, 1, 2}} {
			t.Run(fmt.Sprint(dtype, shape), func(t *testing.T) {
				name := fmt.Sprintf("judemap-command-%d-round-trip", os.Getpid())
				segmentName(t)
				defer judemap.Remove(name)
				in, out := filepath.Join(dir, "in.npy"), filepath.Join(dir, "out.npy")
				want := sample(dtype, shape...)
				var file bytes.Buffer
				if err := writeNPY(&file, want); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(in, file.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				mustRun(t, "put", in, name)
				mustRun(t, "export", name, out)
				exported, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(file.Bytes(), exported); diff != "" {
					t.Errorf("the exported file differs: %s", diff)
				}
				got, err := readNPY(exported)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
					t.Error(diff)
				}
				if len(shape) != 3 {
					return
				}
				if row := fmt.Sprintf(`(?m)^%s +%v +\[2 3 4\] +2 +%d +%[3]d +none$`, name, dtype, len(want.data)); !regexp.MustCompile(row).MatchString(mustRun(t, "ls")) {
					t.Errorf("ls has no row %q:\n%s", row, mustRun(t, "ls"))
				}
				report := mustRun(t, "inspect", name)
				for _, want := range []string{`sequence +2 `, `"JUM1"`, `byte_length +` + fmt.Sprint(len(want.data)) + " ",
					"Tensor of version 2: " + dtype.String() + ` \[2 3 4\]`, "elements 24\n", "min +0\n", "█"} {
					if !regexp.MustCompile(want).MatchString(report) {
						t.Errorf("inspect does not say %q:\n%s", want, report)
					}
				}
			})
		}
	}
}

// put writes to a segment that is there, if it is large enough and nobody else writes to it.
func TestPut(t *testing.T) {
	name := segmentName(t)
	dir := t.TempDir()
	save := func(file string, a array) string {
		path := filepath.Join(dir, file)
		if err := writeFile(t.Context(), path, func(w io.Writer) error { return writeNPY(w, a) }); err != nil {
			t.Fatal(err)
		}
		return path
	}
	small, large := save("small.npy", sample(judemap.Int16, 4)), save("large.npy", sample(judemap.Float64, 1000))
	mustRun(t, "put", small, name, "--capacity", "1000")
	s, err := judemap.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.ByteCapacity() != 1000 || s.Version() != 2 {
		t.Errorf("capacity %d, version %d", s.ByteCapacity(), s.Version())
	}
	mustRun(t, "put", small, name)
	if s.Version() != 4 || s.Writer() != judemap.WriterNone {
		t.Errorf("version %d, writer %v", s.Version(), s.Writer())
	}
	if r := judemapCommand(t, "put", large, name); r.status != 1 || !strings.Contains(r.err, "8000 bytes") {
		t.Errorf("a tensor that is too large: status %d, %s", r.status, r.err)
	}
	if err := s.Fill([]int{1}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if r := judemapCommand(t, "put", small, name); r.status != 1 || !strings.Contains(r.err, "writer") {
		t.Errorf("while another writes: status %d, %s", r.status, r.err)
	}
	mustRun(t, "rm", name)
	if r := judemapCommand(t, "rm", name, name+"-2"); r.status != 1 || strings.Count(r.err, name) != 2 {
		t.Errorf("removing twice: status %d, %s", r.status, r.err)
	}
}
