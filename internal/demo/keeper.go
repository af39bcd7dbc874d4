package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/judemap/judemap"
)

// How the demo's stream, or segment, does not outlive it, however it ends: nothing in a process can answer SIGKILL, so
// another one takes its name away.

const demoPrefix = "judemap-demo-"

// demoName returns the name under which the demo with that process number has its frames.
func demoName(pid int) string { return demoPrefix + strconv.Itoa(pid) }

// A keeper is a process that takes the demo's name away when the demo is gone. It is started before there is anything of
// that name. It notices that its standard input closes, which is what the kernel does for the demo at the latest.
type keeper struct {
	cmd   *exec.Cmd
	input io.Closer
}

func startKeeper(name string) (*keeper, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, KeeperCommand, name)
	cmd.SysProcAttr = apart() // what a terminal or a shell sends to the demo and its workers does not reach it
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that takes the demo's name away: %w", err)
	}
	return &keeper{cmd, input}, nil
}

// dismiss lets the keeper do its work, and waits until it is done.
func (k *keeper) dismiss() {
	_ = k.input.Close()
	_ = k.cmd.Wait() // if it was killed, its work is not done: the demo takes the name away itself, too
}

// Keep is the keeper's part, in the process that the demo started: it takes the name away when the demo is gone.
func Keep(name string) {
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the demo does
	_ = judemap.Remove(name)             // mostly the demo has done it
}

// sweepDemos takes away the names that demos left, as they do when their keepers are killed with them. What somebody writes
// to stays: its demo may run where process numbers are others, in a container.
func sweepDemos() error {
	names, err := judemap.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		carrier := strings.TrimSuffix(name, filmSuffix)
		pid, err := strconv.Atoi(strings.TrimPrefix(carrier, demoPrefix))
		if err != nil || carrier != demoName(pid) || pid != os.Getpid() && isRunning(pid) {
			continue
		}
		s, err := openCarrier(name, judemap.WithReadOnly())
		if err != nil {
			continue // gone meanwhile
		}
		if s.Writer() != judemap.WriterOther {
			_ = judemap.Remove(name) // not permitted for what is another user's, who sweeps as well
		}
		_ = s.CloseWait()
	}
	return nil
}

// isRunning says whether there is a process of that number, whoever owns it.
func isRunning(pid int) bool {
	process, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer process.Release()
	return !errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
