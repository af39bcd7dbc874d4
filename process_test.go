//go:build cgo

// These tests have several processes share a segment.

package judemap

import (
	"context"
	"os"
	"strconv"
	"testing"
)

// Go and C++ processes share a segment, in both directions, by name and by descriptor.
func TestProcesses(t *testing.T) {
	const elements, versions = 4 << 10, 4000
	for _, kind := range []string{"named", "sealed"} {
		for _, pair := range [][2]string{{"Go", "Go"}, {"Go", "C++"}, {"C++", "Go"}, {"C++", "C++"}} {
			t.Run(kind+", "+pair[0]+" to "+pair[1], func(t *testing.T) {
				var s *Segment
				name, files := "-", []*os.File(nil)
				if kind == "named" {
					s = named(t, 8*elements)
					name = s.Name()
				} else {
					s = newSegment(t, 8*elements, WithSealed())
					file, err := s.File()
					if err != nil {
						t.Fatal(err)
					}
					defer file.Close()
					files = []*os.File{file}
				}
				command := func(language, role string, last int) *process {
					args := []string{name, strconv.Itoa(elements), strconv.Itoa(last)}
					if language == "C++" {
						return start(t, peer(t, append([]string{role}, args...)...), files...)
					}
					return start(t, roleCommand(role, args...), files...)
				}
				writer := command(pair[0], "write", 0)
				eventually(t, "the first commit", func() bool { return s.Version() != 0 })
				reader := command(pair[1], "read", versions)
				if err := checkedReads(context.Background(), s, elements, versions); err != nil {
					t.Errorf("reading in the test's process: %v", err)
				}
				if err := reader.Wait(); err != nil {
					t.Errorf("reading: %v\n%s", err, reader.output.String())
				}
				writer.kill(t)
			})
		}
	}
}
