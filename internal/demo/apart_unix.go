//go:build unix

package demo

import (
	"os"
	"os/exec"
	"syscall"
)

// apart starts a process in a process group of its own.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// pass has a process get a file, the demo's film, as the first behind the standard streams.
func pass(cmd *exec.Cmd, film *os.File) error {
	cmd.ExtraFiles = []*os.File{film}
	return nil
}

// passed returns that file.
func passed() *os.File { return os.NewFile(3, "film") }
