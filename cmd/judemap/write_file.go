package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeFile makes a file of what write writes, or replaces the one that has the name, whose permissions it keeps. If
// that fails, or ctx ends meanwhile, what was there is untouched and nothing else is left. Symbolic links are followed;
// what is no regular file, such as a pipe, is written to as it is.
func writeFile(ctx context.Context, path string, write func(w io.Writer) error) error {
	err := replaceFile(ctx, path, write)
	if err != nil {
		err = fmt.Errorf("writing %s: %w", path, err)
	}
	return err
}

func replaceFile(ctx context.Context, path string, write func(w io.Writer) error) error {
	old, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return err
	default:
		// /dev/stdout, which may be a file that the shell goes on writing to, and whose offset counts.
		if out, err := os.Stdout.Stat(); err == nil && os.SameFile(old, out) {
			return writeTo(ctx, os.Stdout, write)
		}
		// Whoever may not write to the file may not replace it either.
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if !old.Mode().IsRegular() {
			return errors.Join(writeTo(ctx, file, write), file.Close())
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	if path, err = followLinks(path); err != nil {
		return err
	}
	// In the same folder, so that it is on the same file system.
	folder, _ := filepath.Split(path)
	file, err := os.OpenFile(fmt.Sprintf("%s.judemap-%016x", folder, rand.Uint64()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	// At once, for whoever presses Ctrl-C again while write still computes.
	stop := context.AfterFunc(ctx, func() { _ = os.Remove(file.Name()) })
	err = writeTo(ctx, file, write)
	if err == nil && old != nil {
		err = file.Chmod(old.Mode().Perm())
	}
	if err == nil {
		err = file.Sync() // else a crash of the machine could leave an empty file under the name
	}
	err = errors.Join(err, file.Close())
	if !stop() {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// followLinks returns what the path leads to if it is a symbolic link, also if there is nothing there yet.
func followLinks(path string) (string, error) {
	for range 40 { // as many as Linux follows
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link
		}
		if !filepath.IsAbs(link) {
			folder, _ := filepath.Split(path)
			link = folder + link // not Join, which takes "folder/.." away, and the folder may be a link
		}
		path = link
	}
	return "", errors.New("too many symbolic links")
}

func writeTo(ctx context.Context, file *os.File, write func(w io.Writer) error) error {
	w := bufio.NewWriterSize(&interruptible{ctx, file}, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}

// An interruptible writer stops when ctx ends, also between the parts of a long write.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i *interruptible) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		if err = i.ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = i.w.Write(p[:min(len(p), 1<<20)])
		written, p = written+n, p[n:]
	}
	return written, err
}
