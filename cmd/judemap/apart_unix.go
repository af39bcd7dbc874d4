//go:build unix

package main

import "syscall"

// apart starts a process in a process group of its own.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
