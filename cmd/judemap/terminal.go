package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A display prints to the standard output. On a terminal it has lines at the end that are drawn over again and again;
// elsewhere, plain lines.
type display struct {
	out      io.Writer
	terminal bool
	drawn    int    // lines that the next ones are drawn over
	err      error  // of the write that failed; there is none after it
	failed   func() // called once when it does
}

func newDisplay(out io.Writer, failed func()) *display {
	file, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
	return &display{out: out, terminal: terminal, failed: failed}
}

func (d *display) write(text string) {
	if d.err != nil {
		return
	}
	if _, d.err = io.WriteString(d.out, text); d.err != nil {
		d.failed()
	}
}

// size returns the terminal's columns and rows.
func (d *display) size() (columns, rows int) {
	if file, ok := d.out.(interface{ Fd() uintptr }); ok {
		if columns, rows, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// draw shows lines of text, and a picture below them, in place of those shown before. Only for terminals.
func (d *display) draw(lines, picture []string) {
	columns, rows := d.size()
	var b strings.Builder
	if d.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", d.drawn)
	}
	for _, line := range lines {
		if text := []rune(line); len(text) >= columns { // a line that wraps could not be drawn over
			line = string(text[:columns-1])
		}
		b.WriteString(line + "\x1b[K\n")
	}
	// Nor could lines that have scrolled away.
	picture = picture[:max(0, min(len(picture), rows-1-len(lines)))]
	for _, line := range picture {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	d.drawn = len(lines) + len(picture)
	d.write(b.String())
}

// print prints lines that stay, above those that are drawn.
func (d *display) print(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if d.drawn > 0 {
		text = fmt.Sprintf("\x1b[%dA\r\x1b[J", d.drawn) + text
	}
	d.write(text)
	d.drawn = 0
}
