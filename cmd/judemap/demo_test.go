package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/demo"
)

// numbers returns the first number of each column in a row of the demo's table.
func numbers(t *testing.T, out, label string) []int {
	t.Helper()
	row := regexp.MustCompile(`(?m)^` + label + `  +(.*)$`).FindStringSubmatch(out)
	if row == nil {
		t.Fatalf("no row %q in\n%s", label, out)
	}
	var all []int
	for _, column := range regexp.MustCompile(`  +`).Split(strings.TrimSpace(row[1]), -1) {
		n, err := strconv.Atoi(regexp.MustCompile(`^\d+`).FindString(column))
		if err != nil {
			t.Fatalf("row %q: %v", row[0], err)
		}
		all = append(all, n)
	}
	return all
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

func TestDemo(t *testing.T) {
	for _, test := range []struct {
		args   string
		phases int
		says   string
	}{
		{"demo --time 1s", 2, "Each is a process"},
		{"demo --time 600ms --consumers 3 --fps 100 --work 1ms", 1, "to 3 consumers.\nThey go through a stream of 5 slots, in which the newest wins. Consumers work on each for 1ms."},
		{"demo --time 1s --every-frame", 2, "in which every frame counts"},
		{"demo --time 600ms --segment", 2, "through a segment. Consumers go over each once."},
		{"demo --time 600ms --goroutines", 2, "Each is a goroutine"},
		{"demo --time 600ms --goroutines --every-frame", 2, "Each is a goroutine"},
		{"demo --time 600ms --goroutines --segment", 2, "Each is a goroutine"},
	} {
		t.Run(test.args, func(t *testing.T) {
			if s, err := judemap.New(1); errors.Is(err, judemap.ErrUnsupported) {
				t.Skipf("SKIP: %v", err)
			} else {
				s.Close()
			}
			if !strings.Contains(test.args, "--goroutines") {
				segmentName(t) // skips where segments can't be shared
			}
			out := mustRun(t, strings.Fields(test.args)...)
			if !strings.Contains(out, test.says) {
				t.Errorf("it does not say %q", test.says)
			}
			for _, label := range []string{"wrong", "went back"} {
				if n := numbers(t, out, label); len(n) != test.phases || sum(n) != 0 {
					t.Errorf("%s: %v, want %d zeros", label, n, test.phases)
				}
			}
			commits, delivered := numbers(t, out, "commits"), numbers(t, out, "delivered")
			checked, missed := numbers(t, out, "checked"), numbers(t, out, "missed")
			if checked[0] == 0 {
				t.Error("no frame was checked at a pace that leaves time for it")
			}
			if want := fmt.Sprintf("%d frames checked, 0 wrong, %d missed", sum(checked), sum(missed)); !strings.Contains(out, want) {
				t.Errorf("it does not say %q", want)
			}
			overwritten := make([]int, test.phases)
			consumers := 2
			switch {
			case strings.Contains(test.args, "--segment"):
				overwritten = numbers(t, out, "overwritten")
			case strings.Contains(test.args, "--consumers 3"):
				consumers = 3
				fallthrough
			default:
				for i, n := range commits {
					if consumers*n != delivered[i]+missed[i] {
						t.Errorf("phase %d: %d delivered and %d missed are not %d times %d commits", i, delivered[i], missed[i],
							consumers, n)
					}
				}
				if held := numbers(t, out, "held"); held[0] == 0 || held[0] > consumers {
					t.Errorf("%d slots were held by %d consumers", held[0], consumers)
				}
			}
			for i, over := range overwritten {
				if checked[i]+over != delivered[i] {
					t.Errorf("phase %d: checked %d and overwritten %d are not the %d delivered", i, checked[i], over, delivered[i])
				}
			}
			if strings.Contains(test.args, "--every-frame") {
				// In half of the time, with 10 ms of work for each frame, and four slots that it is ahead by at the end.
				if sum(missed) != 0 || commits[1] > 100 {
					t.Errorf("missed %v, %d commits by a producer that waits for consumers", missed, commits[1])
				}
			}
			if strings.ContainsAny(out, "\x1b\r▀") {
				t.Error("escape codes, and this is no terminal")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestDemoChaos(t *testing.T) {
	t.Parallel() // it waits for most of the time
	segmentName(t)
	for _, flags := range []string{"", "--every-frame", "--segment"} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			out := mustRun(t, append([]string{"demo", "--chaos", "--time", "4s", "--work", "2ms"}, strings.Fields(flags)...)...)
			killed, noticed := numbers(t, out, "producers killed"), numbers(t, out, "noticed by all")
			resumed := numbers(t, out, "next frame to all")
			for i, n := range killed {
				if noticed[i] != n || resumed[i] != n {
					t.Errorf("phase %d: %d producers killed, %d deaths noticed by all, %d taken over", i, n, noticed[i], resumed[i])
				}
			}
			if sum(killed) == 0 {
				t.Error("no producer was killed")
			}
			if wrong, back := numbers(t, out, "wrong"), numbers(t, out, "went back"); sum(wrong) != 0 || sum(back) != 0 {
				t.Errorf("wrong %v, went back %v", wrong, back)
			}
			if got := strings.Count(out, "2 of 2 consumers noticed within"); got != sum(killed) {
				t.Errorf("%d lines tell of %d deaths", got, sum(killed))
			}
			if flags != "--segment" {
				lost, back := sum(numbers(t, out, "consumers killed")), sum(numbers(t, out, "slots back"))
				if lost == 0 || back != lost {
					t.Errorf("%d consumers killed, and %d times their slots came back", lost, back)
				}
				if got := strings.Count(out, "its place was free again within"); got != lost {
					t.Errorf("%d lines tell of %d deaths", got, lost)
				}
			}
			if missed := numbers(t, out, "missed"); flags == "--every-frame" && sum(missed) != 0 {
				t.Errorf("missed %v", missed)
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestDemoSave(t *testing.T) {
	segmentName(t)
	path := filepath.Join(t.TempDir(), "frame.png")
	out := mustRun(t, "demo", "--time", "300ms", "--fps", "200", "--consumers", "1", "--save", path)
	if !strings.Contains(out, path) {
		t.Errorf("it does not say where it saved the frame:\n%s", out)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.Y != demo.FrameShape[1] || size.X != demo.FrameShape[2] {
		t.Errorf("the picture has %v pixels", size)
	}
	// It is a frame of the film, but for the timecode, which is in the first row.
	film, err := demo.Film()
	if err != nil {
		t.Fatal(err)
	}
	saved := arrayOfPicture(picture).data
	for frame := range slices.Chunk(film, len(saved)) {
		same := true
		for i := 3 * demo.FrameShape[2]; i < len(frame) && same; i++ {
			same = saved[i] == toByte(float64(frame[i]))
		}
		if same {
			return
		}
	}
	t.Error("the picture is no frame of the film")
}

// demoName returns the name under which the demo with that process number has its frames.
func demoName(pid int) string { return fmt.Sprintf("judemap-demo-%d", pid) }

// startDemo starts a demo that would run for long, and returns it with the name of its stream once consumers take frames.
// wait waits for its end and returns what else it printed.
func startDemo(t *testing.T) (demo *exec.Cmd, stream string, wait func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	demo = exec.CommandContext(ctx, command, "demo", "--time", "1m", "--fps", "500")
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if _, name, found := strings.Cut(line, "judemap watch "); found {
			stream = strings.TrimSpace(name)
		}
		if strings.Contains(line, "delivered, checked") {
			break
		}
	}
	return demo, stream, func() string {
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Error(err)
		}
		_ = demo.Wait() // its status is looked at by the caller
		return string(rest)
	}
}

// workersOf returns the processes whose arguments have that name.
func workersOf(t *testing.T, name string) (pids []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte("\x00"+name+"\x00")) {
			pids = append(pids, path)
		}
	}
	return pids
}

// However the demo ends, nothing of it is left.
func TestDemoInterrupted(t *testing.T) {
	segmentName(t)
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: processes are looked up in /proc")
	}
	for _, test := range []struct {
		signal syscall.Signal
		status int
	}{
		{syscall.SIGINT, 0},
		{syscall.SIGTERM, 0},
		{syscall.SIGQUIT, 2},  // with the goroutines' stacks; its keeper then cleans up
		{syscall.SIGKILL, -1}, // and here
	} {
		t.Run(test.signal.String(), func(t *testing.T) {
			demo, stream, wait := startDemo(t)
			if n := len(workersOf(t, stream)); n != 4 {
				t.Errorf("%d processes, want a producer, two consumers and a keeper", n)
			}
			if s, err := judemap.OpenStream(stream); err != nil {
				t.Error(err)
			} else {
				s.Close()
			}
			if err := demo.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			out := wait()
			if got := demo.ProcessState.ExitCode(); got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
			for deadline := time.Now().Add(5 * time.Second); len(workersOf(t, stream)) > 0; time.Sleep(10 * time.Millisecond) {
				if test.status == 0 || time.Now().After(deadline) {
					t.Fatalf("workers are left: %v", workersOf(t, stream))
				}
			}
			if exists(stream) {
				t.Error("the stream is left")
			}
			if test.status == 0 && !strings.Contains(out, "Interrupted.") {
				t.Errorf("it printed %q", out)
			}
		})
	}
}

// A demo whose output nobody reads any more ends in order, and in silence. One that can't write it says why.
func TestDemoOutputFails(t *testing.T) {
	segmentName(t)
	for _, lines := range []int{1, 5} { // before and after there are workers
		t.Run(fmt.Sprintf("closed after %d", lines), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			demo := exec.CommandContext(ctx, command, "demo", "--time", "1m")
			var complaints bytes.Buffer
			demo.Stderr = &complaints
			out, err := demo.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := demo.Start(); err != nil {
				t.Fatal(err)
			}
			for reader := bufio.NewReader(out); lines > 0; lines-- {
				if _, err := reader.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			out.Close()
			_ = demo.Wait()
			if status := demo.ProcessState.ExitCode(); status != 141 || complaints.Len() > 0 {
				t.Errorf("%v, %q, want status 141 and silence", demo.ProcessState, &complaints)
			}
			if name := demoName(demo.Process.Pid); exists(name) {
				t.Errorf("%s is left", name)
				_ = judemap.Remove(name)
			}
		})
	}
	t.Run("full", func(t *testing.T) {
		noSpace := syscall.ENOSPC
		if runtime.GOOS == "windows" {
			noSpace = 112 // ERROR_DISK_FULL
		}
		for _, args := range [][]string{{"demo", "--time", "1m"}, {"ls"}} {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skipf("SKIP: %v", err)
			}
			defer full.Close()
			cmd := exec.Command(command, args...)
			var complaints bytes.Buffer
			cmd.Stdout, cmd.Stderr = full, &complaints
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(complaints.String(), noSpace.Error()) {
				t.Errorf("%v: %v, %q", args, cmd.ProcessState, &complaints)
			}
		}
	})
}

// demo --json prints the numbers of the table, and nothing else.
func TestDemoJSON(t *testing.T) {
	out := mustRun(t, "demo", "--json", "--time", "600ms", "--goroutines", "--work", "1ms", "--consumers", "1")
	var got demo.Numbers
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if got.Kind != "stream" || got.Consumers != 1 || got.Slots != 3 || got.FrameBytes != 4*3*224*224 || len(got.Problems) != 0 || len(got.Phases) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, p := range got.Phases {
		if p.Commits == 0 || p.Delivered+p.Missed != int(p.Commits) || p.Checked != p.Delivered || p.Seconds <= 0 || p.Wrong != 0 ||
			p.CommitToView.P99 < p.CommitToView.P50 || p.Chaos != nil {
			t.Errorf("%+v", p)
		}
	}
}
