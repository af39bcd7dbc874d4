package judemap

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed include/judemap/version.h
var versionHeader string

var version = sync.OnceValue(func() string {
	_, after, _ := strings.Cut(versionHeader, `#define JUDEMAP_VERSION "`)
	number, _, _ := strings.Cut(after, `"`)
	return number
})

// Version returns the version of this package and of the core in it, such as "0.1.0". include/judemap/version.h has it
// for all languages. Before 1.0, another minor version may have another interface.
func Version() string { return version() }
