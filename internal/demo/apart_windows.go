package demo

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

// apart starts a process that Ctrl-C in the console does not reach.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// filmVariable says in a worker's environment which handle is the film's.
const filmVariable = "JUDEMAP_FILM"

// pass has a process inherit the handle of a file, the demo's film.
func pass(cmd *exec.Cmd, film *os.File) error {
	handle := film.Fd()
	if err := windows.SetHandleInformation(windows.Handle(handle), windows.HANDLE_FLAG_INHERIT,
		windows.HANDLE_FLAG_INHERIT); err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{AdditionalInheritedHandles: []syscall.Handle{syscall.Handle(handle)}}
	cmd.Env = append(os.Environ(), filmVariable+"="+strconv.FormatUint(uint64(handle), 10))
	return nil
}

// passed returns that file; nil if there is none.
func passed() *os.File {
	handle, err := strconv.ParseUint(os.Getenv(filmVariable), 10, 32)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(handle), "film")
}
