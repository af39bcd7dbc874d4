package tensorflow

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

// What Python knows of the digits that were held back.
type digits struct {
	n        int
	labels   []int64
	logits   []float32 // [n 10]
	accuracy string
}

func readDigits(t *testing.T) *digits {
	t.Helper()
	accuracy, err := os.ReadFile(model(t, "accuracy"))
	if err != nil {
		t.Fatal(err)
	}
	labels := readNPY(t, model(t, "labels.npy"))
	return &digits{
		n:        labels.Shape()[0],
		labels:   elements[int64](t, labels),
		logits:   elements[float32](t, readNPY(t, model(t, "logits.npy"))),
		accuracy: strings.TrimSpace(string(accuracy)),
	}
}

// check compares logits with those of Python.
func (d *digits) check(t *testing.T, logits []float32) {
	t.Helper()
	if len(logits) != len(d.logits) {
		t.Fatalf("%d logits, want %d", len(logits), len(d.logits))
	}
	right, off := 0, 0.0
	for i, label := range d.labels {
		best := 0
		for j := range 10 {
			off = max(off, math.Abs(float64(logits[10*i+j]-d.logits[10*i+j])))
			if logits[10*i+j] > logits[10*i+best] {
				best = j
			}
		}
		if int64(best) == label {
			right++
		}
	}
	accuracy := float64(right) / float64(d.n)
	t.Logf("%d of %d digits are right, accuracy %.4f; logits are off by %.2g at most", right, d.n, accuracy, off)
	if accuracy < 0.95 || fmt.Sprintf("%.4f", accuracy) != d.accuracy {
		t.Errorf("accuracy is %.4f, want at least 0.95, and %s as in Python", accuracy, d.accuracy)
	}
	if off > 1e-5 {
		t.Errorf("logits are off by %g, want at most 1e-5", off)
	}
}

const batch = 50 // digits in a batch; the last has fewer

// feed has Python commit the digits that were held back.
func feed(t *testing.T, name string, batch int) (wait func()) {
	t.Helper()
	cmd := exec.CommandContext(limited(t), fromEnvironment(t, "PYTHON"), "python/feed.py", fromEnvironment(t, "JUDEMAP"),
		model(t, "images.npy"), name, fmt.Sprint(batch))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("feed.py: %v", err)
		}
	}
}

// loadDigits loads the trained model, and returns its input's and output's name.
func loadDigits(t testing.TB, kind string) (s *Session, in, out string) {
	t.Helper()
	if kind == "frozen graph" {
		return load(t, "digits.pb", ""), "image", "logits"
	}
	s = load(t, "digits", "")
	inputs, outputs := s.Names()
	return s, inputs[0], outputs[0]
}

// Python commits batches, and the model, in Go, says of them what it says in Python.
func TestDigits(t *testing.T) {
	d := readDigits(t)
	for _, kind := range []string{"SavedModel", "frozen graph"} {
		t.Run(kind+", batches through a stream", func(t *testing.T) {
			s, inName, outName := loadDigits(t, kind)
			name := uniqueName(t, "images")
			in, err := judemap.CreateStream(name, 4, batch*64*4, judemap.WithEveryFrame())
			if err != nil {
				t.Fatal(err)
			}
			defer in.CloseWait()
			r, err := in.Reader()
			if err != nil {
				t.Fatal(err)
			}
			out, outReader := newStream(t, batch*10*4)
			defer feed(t, name, batch)()
			var logits []float32
			for len(logits) < len(d.logits) {
				x := next(t, r)
				err := s.Run(limited(t), map[string]*judemap.Tensor{inName: &x}, map[string]Output{outName: out.Update})
				if err != nil {
					t.Fatal(err)
				}
				logits = append(logits, elements[float32](t, next(t, outReader))...)
			}
			d.check(t, logits)
		})
		t.Run(kind+", all through a segment", func(t *testing.T) {
			s, inName, outName := loadDigits(t, kind)
			name := uniqueName(t, "images")
			feed(t, name, d.n)()
			in, err := judemap.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer in.CloseWait()
			out, err := judemap.New(d.n * 10 * 4)
			if err != nil {
				t.Fatal(err)
			}
			defer out.CloseWait()
			x, err := in.Read()
			if err != nil {
				t.Fatal(err)
			}
			err = s.Run(limited(t), map[string]*judemap.Tensor{inName: &x}, map[string]Output{outName: ToSegment(out)})
			if err != nil {
				t.Fatal(err)
			}
			y, err := out.Read()
			if err != nil {
				t.Fatal(err)
			}
			d.check(t, elements[float32](t, y))
		})
	}
}

// ---- The program infer

// An inferProcess is the program as it runs.
type inferProcess struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	errors strings.Builder
}

func startInfer(t *testing.T, args ...string) *inferProcess {
	t.Helper()
	p := &inferProcess{cmd: exec.CommandContext(limited(t), "./infer", args...)}
	p.cmd.Stderr = &p.errors
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also if the tests time out
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // does nothing to one that has ended
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.lines = bufio.NewScanner(out)
	return p
}

// until returns the first line that begins so.
func (p *inferProcess) until(t *testing.T, start string) string {
	t.Helper()
	for p.lines.Scan() {
		if strings.HasPrefix(p.lines.Text(), start) {
			return p.lines.Text()
		}
	}
	t.Fatalf("infer has ended, and printed no line that begins with %q; errors: %s", start, p.errors.String())
	return ""
}

// end waits for its end, and returns its errors.
func (p *inferProcess) end(t *testing.T) (code int, text string) {
	t.Helper()
	for p.lines.Scan() {
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.errors.String()
}

func TestInferStream(t *testing.T) {
	d := readDigits(t)
	for _, c := range []struct{ model, in, out string }{{"digits", "", ""}, {"digits.pb", "image", "logits"}} {
		inName, outName := uniqueName(t, "images"), uniqueName(t, "logits")
		args := []string{"--model", model(t, c.model), "--input", inName, "--output", outName,
			"--capacity", fmt.Sprint(batch * 10 * 4)}
		if c.in != "" {
			args = append(args, "--in-op", c.in, "--out-op", c.out)
		}
		p := startInfer(t, args...)
		p.until(t, "waiting for")
		in, err := judemap.CreateStream(inName, 4, batch*64*4, judemap.WithEveryFrame())
		if err != nil {
			t.Fatal(err)
		}
		defer in.CloseWait()
		p.until(t, "ready")
		out, err := judemap.OpenStream(outName)
		if err != nil {
			t.Fatal(err)
		}
		defer out.CloseWait()
		if !out.EveryFrame() || out.Slots() != 4 {
			t.Errorf("the output is %v, want 4 slots and every frame, as the input has", out)
		}
		r, err := out.Reader()
		if err != nil {
			t.Fatal(err)
		}
		wait := feed(t, inName, batch)
		var logits []float32
		for len(logits) < len(d.logits) {
			logits = append(logits, elements[float32](t, next(t, r))...)
		}
		wait()
		d.check(t, logits)

		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if got, want := p.until(t, ""), "12 inferences, 0 inputs missed"; got != want {
			t.Errorf("infer said %q, want %q", got, want)
		}
		if code, text := p.end(t); code != 0 || text != "" {
			t.Errorf("after Ctrl-C infer ended with %d, and said %s", code, text)
		}
	}
}

// A writer is killed in the middle of a commit, and another takes over.
func TestInferWriterDies(t *testing.T) {
	inName, outName := uniqueName(t, "images"), uniqueName(t, "logits")
	in, err := judemap.CreateStream(inName, 4, 64*4)
	if err != nil {
		t.Fatal(err)
	}
	defer in.CloseWait()
	p := startInfer(t, "--model", model(t, "digits"), "--input", inName, "--output", outName)
	p.until(t, "ready")
	dying := exec.CommandContext(limited(t), os.Args[0], "-test.run", "^TestDyingWriter$")
	dying.Env = append(os.Environ(), "DIE_IN="+inName)
	_ = dying.Run()
	if status, ok := dying.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the writer that should die ended with %v", dying.ProcessState)
	}
	p.until(t, "the writer of")
	if err := judemap.StreamSlice(limited(t), in, []int{1, 8, 8, 1}, make([]float32, 64)); err != nil {
		t.Fatal(err)
	}
	var out *judemap.Stream
	eventually(t, "the output is there", func() bool {
		out, err = judemap.OpenStream(outName)
		return err == nil
	})
	defer out.CloseWait()
	eventually(t, "there is a result", func() bool { return out.Version() == 2 })
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, text := p.end(t); code != 0 || text != "" {
		t.Errorf("after Ctrl-C infer ended with %d, and said %s", code, text)
	}
}

// TestDyingWriter is no test, but the writer of TestInferWriterDies.
func TestDyingWriter(t *testing.T) {
	name := os.Getenv("DIE_IN")
	if name == "" {
		t.Skip("it is a part of TestInferWriterDies")
	}
	s, err := judemap.OpenStream(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Update(context.Background(), []int{1, 8, 8, 1}, judemap.Float32, func([]byte) error {
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
}

func TestInferErrors(t *testing.T) {
	name := uniqueName(t, "input")
	in, err := judemap.Create(name, 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	defer in.CloseWait()
	if err := judemap.WriteSlice(in, []int{2, 64}, make([]uint8, 128)); err != nil {
		t.Fatal(err)
	}
	none := uniqueName(t, "none")
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"--model", model(t, "digits")}, 2, "usage: infer"},
		{[]string{"--model", "none", "--input", name, "--output", none}, 1, "no such file"},
		{[]string{"--model", model(t, "digits"), "--input", name, "--output", none}, 1, "the model takes float32 [? 8 8 1] as"},
		{[]string{"--model", model(t, "digits.pb"), "--input", name, "--output", none}, 1, "--out-op OPERATION"},
		{[]string{"--model", model(t, "pair"), "--signature", "sum", "--input", name, "--output", none}, 1,
			"the model has 2 inputs: choose with --in-op one of a, b"},
		{[]string{"--model", model(t, "words"), "--input", name, "--output", none}, 1, `"text" is of string in the model`},
	} {
		if code, text := startInfer(t, c.args...).end(t); code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("infer %q ended with %d, want %d, and said %q, want %q", c.args, code, c.code, text, c.text)
		}
	}
	if _, err := os.Stat("/dev/shm/" + none); err == nil {
		t.Errorf("%s was made for a result that there isn't", none)
	}
}
