package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
				got, err := readNPY(bytes.NewReader(exported), int64(len(exported)), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
					t.Error(diff)
				}
				if len(shape) != 3 {
					return
				}
				if row := fmt.Sprintf(`(?m)^%s +segment +%v \[2 3 4\] +2 +%d +%[3]d +none +-$`, name, dtype, len(want.data)); !regexp.MustCompile(row).MatchString(mustRun(t, "ls")) {
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

// A file that is large, or claims to be, is refused before there is any memory for it.
func TestPutLimits(t *testing.T) {
	name := segmentName(t)
	dir := t.TempDir()
	save := func(file string, content []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	chunk := func(kind string, data ...byte) []byte {
		typed := append([]byte(kind), data...)
		all := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), typed...)
		return binary.BigEndian.AppendUint32(all, crc32.ChecksumIEEE(typed))
	}
	claim := func(side uint32, depth, kind byte) []byte { // a PNG file of 59 bytes
		size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, side), side)
		return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(size, depth, kind, 0, 0, 0)...),
			chunk("IDAT", 0x78, 0x9c), chunk("IEND"))
	}
	var small bytes.Buffer
	if err := png.Encode(&small, image.NewNRGBA(image.Rect(0, 0, 100, 100))); err != nil {
		t.Fatal(err)
	}
	npy := []byte("\x93NUMPY\x01\x00\x50\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }        \n1234")
	npyOf1000 := []byte("\x93NUMPY\x01\x00\x50\x00{'descr': '<f4', 'fortran_order': False, 'shape': (250,), }                    \n")
	fifo := func(file string) string {
		path := filepath.Join(dir, file)
		if err := exec.Command("mkfifo", path).Run(); err != nil {
			t.Skipf("SKIP: mkfifo: %v", err)
		}
		return path
	}
	// Where an int has 32 bits, some are refused by who reads the file.
	or32 := func(text32 string, text64 ...string) []string {
		if strconv.IntSize == 32 {
			return []string{text32}
		}
		return text64
	}
	for _, test := range []struct {
		name, args string
		want       []string
	}{
		{"huge RGBA 16", save("a.png", claim(60000, 16, 6)), or32("overflow", "60000 x 60000", "28800000000 bytes", "--max-bytes allows 1073741824")},
		{"huge RGB", save("b.png", claim(60000, 8, 2)), or32("overflow", "14400000000 bytes")},
		{"huge grey", save("c.png", claim(60000, 8, 0)), or32("overflow", "14400000000 bytes")},
		{"absurd", save("d.png", claim(1<<31-1, 16, 6)), []string{"png"}},
		{"small", save("e.png", small.Bytes()) + " --max-bytes 39999", []string{"100 x 100", "40000 bytes", "allows 39999"}},
		{"NumPy's header", save("f.npy", npy), or32("overflows", "4 bytes", "4000000000000")},
		{"NumPy's file", save("g.npy", make([]byte, 1000)) + " --max-bytes 999", []string{"1000 bytes", "allows 999"}},
		{"NumPy's elements", fifo("i.npy") + " --max-bytes 1089", []string{"[250] of float32 takes 1000 bytes, with a header of 90", "allows 1089"}},
		{"pipe", fifo("h.png") + " --max-bytes 999", []string{"more bytes than the 999"}},
		{"no limit", "a.npy --max-bytes 0", []string{"--max-bytes is 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, flags, _ := strings.Cut(test.args, " ")
			if info, err := os.Stat(file); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
				writer := exec.Command("sh", "-c", `exec cat - /dev/zero >"$0"`, file)
				writer.Stdin = bytes.NewReader(npyOf1000)
				if err := writer.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					_ = writer.Process.Kill() // nobody may have opened the pipe
					_ = writer.Wait()
				}()
			}
			r := judemapCommand(t, append([]string{"put", file, name}, strings.Fields(flags)...)...)
			for _, want := range test.want {
				if r.status == 0 || !strings.Contains(r.err, want) {
					t.Errorf("status %d, %q, want %q", r.status, r.err, want)
				}
			}
			if exists(name) {
				t.Error("a segment was made")
			}
		})
	}
	mustRun(t, "put", filepath.Join(dir, "e.png"), name, "--max-bytes", "40000")
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
	for _, args := range [][]string{{"put", large, name}, {"put", small, name, "--capacity", "8000"}} {
		if r := judemapCommand(t, args...); r.status != 1 || !strings.Contains(r.err, "1000 bytes, and 8000") || s.Version() != 4 {
			t.Errorf("%v, of which there is no room: status %d, %s; version %d", args, r.status, r.err, s.Version())
		}
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

// put makes a stream with --slots, and commits a frame to one that is there; export writes the newest, and rm takes it away.
func TestPutStream(t *testing.T) {
	name := segmentName(t)
	dir := t.TempDir()
	save := func(file string, a array) string {
		path := filepath.Join(dir, file)
		if err := writeFile(t.Context(), path, func(w io.Writer) error { return writeNPY(w, a) }); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first, second := save("first.npy", sample(judemap.Int16, 4)), save("second.npy", sample(judemap.Uint8, 2, 3))
	large := save("large.npy", sample(judemap.Float64, 10))
	out := filepath.Join(dir, "out.npy")
	mustRun(t, "put", first, name, "--slots", "3", "--every-frame")
	s, err := judemap.OpenStream(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Slots() != 3 || !s.EveryFrame() || s.ByteCapacity() != 8 || s.Version() != 2 || s.Writer() != judemap.WriterNone {
		t.Errorf("%v, capacity %d, writer %v", s, s.ByteCapacity(), s.Writer())
	}
	mustRun(t, "put", second, name)
	mustRun(t, "put", first, name, "--slots", "2", "--every-frame")
	mustRun(t, "put", second, name, "--capacity", "8")
	if s.Version() != 8 {
		t.Errorf("version %d after 4 frames", s.Version())
	}
	mustRun(t, "export", name, out)
	want, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("exported %q, %v, want %q", got, err, want)
	}
	for _, test := range []struct{ args, want string }{
		{large + " " + name, "slots of 8 bytes, and 80 are asked for"},
		{large + " " + name + " --slots 3 --every-frame", "3 slots of 8 bytes, and 3 of 80 are asked for"},
		{first + " " + name + " --slots 4 --every-frame", "3 slots of 8 bytes, and 4 of 8 are asked for"},
		{first + " " + name + " --slots 3", "--every-frame is true for it"},
	} {
		r := judemapCommand(t, append([]string{"put"}, strings.Fields(test.args)...)...)
		if r.status != 1 || !strings.Contains(r.err, test.want) || s.Version() != 8 {
			t.Errorf("%s: status %d, %s, version %d; want %q", test.args, r.status, r.err, s.Version(), test.want)
		}
	}

	// It waits for a reader that takes nothing, and Ctrl-C ends it.
	reader, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	waited := false
	for !waited && s.Version() < 20 {
		put := exec.Command(command, "put", first, name)
		if err := put.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- put.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			continue
		case <-time.After(300 * time.Millisecond):
			waited = true
		}
		if err := sendInterrupt(t, put); err != nil {
			t.Fatal(err)
		}
		if <-ended; put.ProcessState.ExitCode() != 130 {
			t.Errorf("interrupted while it waits: %v", put.ProcessState)
		}
	}
	if frames := (s.Version() - 8) / 2; !waited || frames > 3 {
		t.Errorf("%d frames were put before a reader that takes none, into 3 slots", frames)
	}

	mustRun(t, "rm", name)
	if exists(name) {
		t.Error("rm left it")
	}
	mustRun(t, "put", first, name) // a segment
	if r := judemapCommand(t, "put", first, name, "--slots", "3"); r.status != 1 || !strings.Contains(r.err, "it is a segment") {
		t.Errorf("--slots for a segment: status %d, %s", r.status, r.err)
	}
}
