package judemap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// passFiles has a process inherit a file, and the environment say which.
func passFiles(cmd *exec.Cmd, files []*os.File) {
	if len(files) == 0 {
		return
	}
	handle := syscall.Handle(files[0].Fd())
	if err := syscall.SetHandleInformation(handle, syscall.HANDLE_FLAG_INHERIT, syscall.HANDLE_FLAG_INHERIT); err != nil {
		panic(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{AdditionalInheritedHandles: []syscall.Handle{handle}}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "JUDEMAP_FILE="+strconv.Itoa(int(handle)))
}

// passedFile is the file that this process was given.
func passedFile() *os.File { return os.NewFile(uintptr(number(os.Getenv("JUDEMAP_FILE"))), "segment") }

// useOwnFolder has the segments of this process and its children lie in a folder of their own: others that run meanwhile
// have files there too while they make a segment.
func useOwnFolder() error {
	folder, err := programFolder()
	if err != nil {
		return err
	}
	if os.Getenv("GOCACHE") == "" { // which would follow
		if cache, err := os.UserCacheDir(); err == nil {
			_ = os.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
		}
	}
	return os.Setenv("LOCALAPPDATA", folder)
}
