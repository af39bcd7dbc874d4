//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// Only segments are removed: those with the mark, and with --force what could be one of the Node addon.
func TestRm(t *testing.T) {
	base := segmentName(t)
	file := func(content []byte) func(path string) error {
		return func(path string) error { return os.WriteFile(path, content, 0o600) }
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	addons := make([]byte, 4096) // a tensor [3] of uint8
	addons[layout.Sequence], addons[layout.NDim], addons[layout.DType] = 2, 1, byte(judemap.Uint8)
	addons[layout.Shape], addons[layout.ByteLength] = 3, 3
	nonsense := bytes.Clone(addons)
	nonsense[layout.NDim] = judemap.MaxDims + 1
	odd := bytes.Clone(addons)
	odd[layout.Sequence] = 3     // its writer is in the middle of a commit, or died
	broken := make([]byte, 4096) // it bears the mark, and no more
	binary.LittleEndian.PutUint32(broken[layout.Magic:], layout.StreamMagicValue)
	const never = "\x00"
	for _, test := range []struct {
		name  string
		make  func(path string) error
		plain string // what rm says; "" if it removes it
		force string // and rm --force
	}{
		{"marked", func(path string) error {
			s, err := judemap.Create(filepath.Base(path), 64)
			if err != nil {
				return err
			}
			return s.CloseWait()
		}, "", ""},
		{"stream", func(path string) error {
			s, err := judemap.CreateStream(filepath.Base(path), 2, 64)
			if err != nil {
				return err
			}
			return s.CloseWait()
		}, "", ""},
		{"broken-stream", file(broken), "", ""},
		{"addon", file(addons), "bears no mark", ""},
		{"addon-writes", file(odd), "bears no mark", ""},
		{"zeros", file(make([]byte, 4096)), "bears no mark", ""},
		{"nonsense", file(nonsense), "no segment", "no segment"},
		{"text", file(bytes.Repeat([]byte("text "), 1000)), "corrupt", "corrupt"},
		{"short", file(make([]byte, 256)), "has 256 bytes", "has 256 bytes"},
		{"nothing", file(nil), "has 0 bytes", "has 0 bytes"},
		{"link", func(path string) error { return os.Symlink(outside, path) }, "symbolic link", "symbolic link"},
		{"fifo", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "corrupt", "corrupt"},
		{"folder", func(path string) error { return os.Mkdir(path, 0o700) }, never, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := base + "-" + test.name
			path := filepath.Join(sharedMemory, name)
			t.Cleanup(func() { os.Remove(path) })
			for _, run := range []struct {
				args []string
				want string
			}{{[]string{"rm", name}, test.plain}, {[]string{"rm", "--force", name}, test.force}} {
				os.Remove(path)
				if err := test.make(path); err != nil {
					t.Fatal(err)
				}
				r := judemapCommand(t, run.args...)
				_, err := os.Lstat(path)
				removed := errors.Is(err, fs.ErrNotExist)
				if run.want == "" {
					if r.status != 0 || !removed {
						t.Errorf("%v: status %d, %q, removed: %v", run.args, r.status, r.err, removed)
					}
					continue
				}
				if r.status != 1 || removed || run.want != never && !strings.Contains(r.err, run.want) {
					t.Errorf("%v: status %d, %q, removed: %v, want %q", run.args, r.status, r.err, removed, run.want)
				}
			}
		})
	}
	for _, path := range []string{outside, "../../" + outside, "."} {
		if r := judemapCommand(t, "rm", "--force", path); r.status != 1 {
			t.Errorf("%s: status %d", path, r.status)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}
