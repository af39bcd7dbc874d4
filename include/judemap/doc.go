// Package judemap holds the C and C++ headers of judemap's core. It has no Go API: importing it makes `go mod vendor`
// copy the folder, and embedding the headers makes the go command compile the core anew when one of them changes.
// Nothing refers to the embedded text, so the linker leaves it out of programs.
package judemap

import "embed"

//go:embed *.h
var _ embed.FS
