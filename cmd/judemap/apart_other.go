//go:build !unix

package main

import "syscall"

// apart is for where the demo has processes, which is not here yet.
func apart() *syscall.SysProcAttr { return nil }
