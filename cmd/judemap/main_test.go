package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--help"}, {"help", "demo"}, {"demo", "--help"}, {"ls", "--help"}, {"inspect", "--help"}, {"watch", "--help"}, {"top", "--help"}, {"serve", "--help"},
		{"export", "--help"}, {"put", "--help"}, {"get", "--help"}, {"rm", "--help"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			out := mustRun(t, args...)
			for _, want := range []string{"Usage:\n", "Examples:\n  judemap "} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if strings.Contains(out, "demo-") {
				t.Errorf("the demo's workers are shown:\n%s", out)
			}
		})
	}
}

// Calling the command in a wrong way gives status 2 and says what was wrong; other failures give 1.
func TestErrors(t *testing.T) {
	missing := segmentName(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text.npy")
	if err := os.WriteFile(text, []byte("no array"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"fly", 2, `unknown command "fly"`},
		{"--fast", 2, "unknown flag: --fast"},
		{"demo extra", 2, `"extra"`},
		{"demo --fast", 2, "unknown flag: --fast"},
		{"demo --time soon", 2, `"soon"`},
		{"demo --time 0s", 2, "--time is 0s"},
		{"demo --consumers 0", 2, "--consumers is 0"},
		{"demo --consumers many", 2, `"many"`},
		{"demo --fps -1", 2, "--fps is -1"},
		{"demo --fps NaN", 2, "--fps is NaN"},
		{"demo --chaos --goroutines", 2, "--chaos"},
		{"demo --segment --every-frame", 2, "--every-frame is for streams"},
		{"demo --work -1ms", 2, "--work is -1ms"},
		{"demo --work 2s", 2, "--work is 2s"},
		{"demo --consumers 65", 2, "--consumers is 65, and must be 1 to 64"},
		{"demo --consumers 101 --segment", 2, "--consumers is 101, and must be 1 to 100"},
		{"ls extra", 2, `"extra"`},
		{"inspect", 2, "accepts 1 arg"},
		{"inspect a b", 2, "accepts 1 arg"},
		{"watch", 2, "requires at least 1 arg"},
		{"watch a --time -1s", 2, "--time is -1s"},
		{"top extra", 2, `"extra"`},
		{"top --time -1s", 2, "--time is -1s"},
		{"top --interval 1ms", 2, "--interval is 1ms, and must be at least 100ms"},
		{"top --sort size", 2, `--sort is "size", and must be one of bytes, commits`},
		{"serve extra", 2, `"extra"`},
		{"serve --addr 0.0.0.0:80", 2, `--addr is "0.0.0.0:80", and must be an address of this machine's own`},
		{"serve --interval 0s", 2, "--interval is 0s"},
		{"export a", 2, "accepts 2 arg"},
		{"export a b.jpg", 2, `"b.jpg"`},
		{"put a.txt b", 2, `"a.txt"`},
		{"put a.npy b --capacity 0", 2, "--capacity is 0"},
		{"put a.npy b --capacity x", 2, `"x"`},
		{"put a.npy b --slots 1", 2, "--slots is 1"},
		{"put a.npy b --slots 257", 2, "--slots is 257"},
		{"put a.npy b --every-frame", 2, "--every-frame"},
		{"put - b", 2, "- is for the frames of --raw"},
		{"put --raw u8 --shape 2 - b", 2, `--raw is "u8"`},
		{"put --raw uint8 - b", 2, "--raw needs the --shape"},
		{"put --raw uint8 --shape 2,x - b", 2, `"2,x"`},
		{"put --raw uint8 --shape 2,0 - b", 2, "a dimension of 0"},
		{"put --raw uint8 --shape 1,1,1,1,1,1,1,1,1 - b", 2, "--shape has 9 dimensions, and a tensor 8 at most"},
		{"put --raw float64 --shape 134217729 - b", 2, "more bytes than the 1073741824 that --max-bytes allows"},
		{"put --raw float64 --shape 2147483647,2147483647,2147483647 - b", 2, "--max-bytes"},
		{"put --raw uint8 --shape 2 --slots 1 - b", 2, "--slots is 1"},
		{"put --raw uint8 --shape 2 --readers 65 - b", 2, "--readers is 65, and must be 0 to 64"},
		{"put a.npy b --shape 2", 2, "--shape is for --raw"},
		{"put a.npy b --readers 1", 2, "--readers is for --raw"},
		{"put a.npy b -v", 2, "--verbose is for --raw"},
		{"get a", 2, "--raw"},
		{"get --raw -", 2, "accepts 1 arg"},
		{"get a --raw - --frames 0", 2, "--frames is 0"},
		{"export a b.npy --max-bytes 0", 2, "--max-bytes is 0"},
		{"inspect a --max-bytes x", 2, `"x"`},
		{"rm", 2, "requires at least 1 arg"},

		{"inspect " + missing, 1, missing},
		{"watch " + missing, 1, missing},
		{"export " + missing + " " + dir + "/a.npy", 1, missing},
		{"rm " + missing, 1, missing},
		{"get " + missing + " --raw -", 1, missing},
		{"put --raw uint8 --shape 2 " + dir + "/missing.raw " + missing, 1, "missing.raw"},
		{"inspect a/b", 1, "slash"},
		{"put " + dir + "/missing.npy " + missing, 1, "missing.npy"},
		{"put " + text + " " + missing, 1, "no NumPy file"},
		{"demo --time 10ms --fps 100 --save " + dir + "/missing/a.png", 1, "missing/a.png"},
		{"demo-consumer " + missing, 1, "film"},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := judemapCommand(t, strings.Fields(test.args)...)
			if r.status != test.status || !strings.Contains(r.err, test.want) {
				t.Errorf("status %d and %q, want %d and %q", r.status, r.err, test.status, test.want)
			}
			if test.status == 2 && r.out != "" {
				t.Errorf("printed %q", r.out)
			}
			if strings.Contains(r.err, "judemap: judemap:") || strings.Contains(r.err, "goroutine 1") {
				t.Errorf("printed %q", r.err)
			}
			if _, err := os.Stat(filepath.Join(dir, "a.npy")); err == nil {
				t.Error("made a file")
			}
		})
	}
}

// A build without cgo has all commands, and each says why it can't do anything.
func TestWithoutCgo(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	program := filepath.Join(t.TempDir(), filepath.Base(command))
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // flags for a linker of C are not for this
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range []string{"demo", "inspect a", "rm a"} {
		out, err := exec.Command(program, strings.Fields(args)...).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("judemap %s: %v, want status 1", args, err)
		}
		if want := regexp.MustCompile(`judemap: unsupported: .*CGO_ENABLED=0|unsupported: .*CGO_ENABLED=0`); !want.Match(out) {
			t.Errorf("judemap %s printed %q", args, out)
		}
	}
}
