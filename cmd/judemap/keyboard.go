package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// readKeys has keys read as they are pressed, if the input is a terminal. Ctrl-C is one of them, 3, and no signal. The
// function that it returns makes the terminal what it was.
func (d *display) readKeys(in io.Reader, pressed func(key byte)) (restore func()) {
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func() {}
	}
	state, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return func() {}
	}
	out := d.out
	d.out = rawWriter{out}
	go func() { // reads until the program ends, or the terminal
		var key [16]byte
		for {
			n, err := file.Read(key[:])
			for _, k := range key[:n] {
				pressed(k)
			}
			if err != nil {
				return
			}
		}
	}()
	return func() {
		d.out = out
		_ = term.Restore(int(file.Fd()), state)
	}
}

// A rawWriter writes to a terminal that makes no new line of "\n" alone.
type rawWriter struct{ out io.Writer }

func (w rawWriter) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.out, strings.ReplaceAll(string(text), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Fd makes the size of the terminal known through the writer.
func (w rawWriter) Fd() uintptr {
	if file, ok := w.out.(*os.File); ok {
		return file.Fd()
	}
	return ^uintptr(0)
}
