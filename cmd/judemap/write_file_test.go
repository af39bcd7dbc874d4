//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folderOf returns what is in a folder: each file's permissions and text, or where a link leads.
func folderOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if link, err := os.Readlink(path); err == nil {
			all[entry.Name()] = "-> " + link
			continue
		}
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		if info.Mode().IsRegular() {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = " " + string(file)
		}
		all[entry.Name()] = info.Mode().String() + text
	}
	return all
}

func TestWriteFile(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	file := func(mode os.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(to string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
		}
	}
	type files map[string]func(t *testing.T, path string)
	for _, test := range []struct {
		name  string
		there files
		wrong string // what the error says; "" if the file can be written
		want  map[string]string
	}{
		{"new", nil, "", map[string]string{"out": "-rw-r----- new"}},
		{"replaced", files{"out": file(0o604)}, "", map[string]string{"out": "-rw----r-- new"}},
		{"link", files{"out": link("real"), "real": file(0o640)}, "",
			map[string]string{"out": "-> real", "real": "-rw-r----- new"}},
		{"links", files{"out": link("two"), "two": link("./real"), "real": file(0o640)}, "",
			map[string]string{"out": "-> two", "two": "-> ./real", "real": "-rw-r----- new"}},
		{"link to nothing", files{"out": link("real")}, "", map[string]string{"out": "-> real", "real": "-rw-r----- new"}},
		{"link to itself", files{"out": link("out")}, "symbolic links", map[string]string{"out": "-> out"}},
		{"folder", files{"out": func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}}, "directory", map[string]string{"out": "drwx------"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			make := func() string {
				dir := t.TempDir()
				for name, make := range test.there {
					make(t, filepath.Join(dir, name))
				}
				return dir
			}
			dir := make()
			err := writeFile(t.Context(), filepath.Join(dir, "out"), func(w io.Writer) error {
				_, err := io.WriteString(w, "new")
				return err
			})
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("%v, want %q", err, test.wrong)
			}
			if diff := cmp.Diff(test.want, folderOf(t, dir)); diff != "" {
				t.Error(diff)
			}

			// Where writing fails, or is interrupted, all is as it was.
			dir = make()
			before := folderOf(t, dir)
			full := errors.New("full")
			long := strings.Repeat("long", 1<<20)
			err = writeFile(t.Context(), filepath.Join(dir, "out"), func(w io.Writer) error {
				_, err := io.WriteString(w, long)
				return errors.Join(err, full)
			})
			if err == nil || test.wrong == "" && !errors.Is(err, full) {
				t.Errorf("%v, want %v", err, full)
			}
			ctx, cancel := context.WithCancel(t.Context())
			err = writeFile(ctx, filepath.Join(dir, "out"), func(w io.Writer) error {
				_, err := io.WriteString(w, long)
				cancel()
				for err == nil {
					_, err = io.WriteString(w, long)
				}
				return err
			})
			if err == nil || test.wrong == "" && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
			if diff := cmp.Diff(before, folderOf(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whoever may not write to a file can't replace it, though the folder would allow it.
func TestWriteFileReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIP: root may write to every file")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte("old"), 0o400); err != nil {
		t.Fatal(err)
	}
	err := writeFile(t.Context(), path, func(io.Writer) error { return nil })
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want %v", err, os.ErrPermission)
	}
	if diff := cmp.Diff(map[string]string{"out": "-r-------- old"}, folderOf(t, dir)); diff != "" {
		t.Error(diff)
	}
}
