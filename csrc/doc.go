// Package csrc holds the C++ sources of judemap's core. It has no Go API: importing it makes `go mod vendor` copy the
// folder, and embedding the sources makes the go command compile the core anew when one of them changes. Nothing
// refers to the embedded text, so the linker leaves it out of programs.
package csrc

import "embed"

//go:embed *.cc *.h
var _ embed.FS
