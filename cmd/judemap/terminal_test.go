//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// onTerminal returns what the command printed on a terminal of that size.
func onTerminal(t *testing.T, columns, rows uint16, args ...string) string {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Env = append(cmd.Environ(), "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: columns, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // the end of a terminal is an error, EIO
	if err := cmd.Wait(); err != nil {
		t.Fatalf("judemap %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]|\r`)

// widest returns the characters of the longest line.
func widest(out string) (longest int) {
	for _, line := range strings.Split(escapes.ReplaceAllString(out, ""), "\n") {
		longest = max(longest, len([]rune(line)))
	}
	return longest
}

func TestDemoOnTerminal(t *testing.T) {
	segmentName(t)
	out := onTerminal(t, 100, 30, "demo", "--time", "800ms")
	plain := escapes.ReplaceAllString(out, "")
	if n := numbers(t, plain[strings.LastIndex(plain, "producer  "):], "wrong"); len(n) != 2 || sum(n) != 0 {
		t.Errorf("wrong: %v", n)
	}
	if n := strings.Count(plain, "\nwrong  "); n < 4 {
		t.Errorf("the table was drawn %d times", n)
	}
	for _, want := range []string{"\x1b[10A", "\x1b[38;2;", "▀", "The last frame that a consumer saw:"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if n := widest(out); n > 100 {
		t.Errorf("a line has %d characters", n)
	}
	if t.Failed() {
		t.Log(strings.ReplaceAll(escapes.ReplaceAllString(out, ""), "▀", ""))
	}
}

func TestWatchOnTerminal(t *testing.T) {
	name := segmentName(t)
	mustRun(t, "put", "../../internal/demo/photo/astronaut.png", name)
	out := onTerminal(t, 90, 20, "watch", name, "--time", "400ms")
	for _, want := range []string{"uint8 [512 512 3]", "none yet", "\x1b[38;2;", "▀", "A\r"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if n := widest(out); n >= 90 {
		t.Errorf("a line has %d characters", n)
	}
	if t.Failed() {
		t.Log(strings.ReplaceAll(escapes.ReplaceAllString(out, ""), "▀", ""))
	}
}

// On a terminal top is a table that is drawn over, within its lines and columns; q ends it, and the terminal is what it was.
func TestTopOnTerminal(t *testing.T) {
	base := segmentName(t)
	for i := range 30 {
		name := fmt.Sprintf("%s-%d", base, i)
		s, err := judemap.Create(name, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		defer judemap.Remove(name)
	}
	for _, key := range []string{"q", "\x03"} {
		cmd := exec.Command("sh", "-c", `stty -a >"$1.before"; "$0" top --interval 100ms; echo "status $?"; stty -a >"$1.after"`, command,
			filepath.Join(t.TempDir(), "stty"))
		cmd.Env = append(cmd.Environ(), "TERM=xterm-256color")
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 80, Rows: 20})
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.Close()
		time.AfterFunc(700*time.Millisecond, func() { _, _ = io.WriteString(terminal, key) })
		raw, _ := io.ReadAll(terminal) // the end of a terminal is an error, EIO
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		out := string(raw)
		if !strings.Contains(out, "status 0") {
			t.Errorf("%q ended it with\n%s", key, out)
		}
		if strings.Contains(strings.ReplaceAll(out, "\r\n", ""), "\n") {
			t.Error("a line's end without a return")
		}
		if n := widest(out); n >= 80 {
			t.Errorf("a line has %d characters", n)
		}
		last := out[strings.LastIndex(out, "A\r"):]
		if n := strings.Count(last, "\n"); n > 20 {
			t.Errorf("%d lines are drawn, on 20", n)
		}
		for _, want := range []string{"COMMITS/S", "more\x1b[K"} {
			if !strings.Contains(last, want) {
				t.Errorf("no %q in\n%s", want, last)
			}
		}
		before, err := os.ReadFile(cmd.Args[4] + ".before")
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(cmd.Args[4] + ".after")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(before), string(after)); diff != "" {
			t.Errorf("stty: %s", diff)
		}
	}
}
