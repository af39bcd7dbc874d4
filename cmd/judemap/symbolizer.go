//go:build cgo && linux

package main

// So that a crash in the C++ core names its functions and lines. It reads ELF files, hence Linux.
import _ "github.com/ianlancetaylor/cgosymbolizer"
