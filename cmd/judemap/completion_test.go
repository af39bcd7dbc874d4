package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/judemap/judemap"
)

// Shells are told what is meant: names of segments, one or several; files, of which kind; or nothing.
func TestCompletion(t *testing.T) {
	base := segmentName(t)
	for _, name := range []string{base, base + "-b", base + "-\x1b[2J\n"} {
		s, err := judemap.Create(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		defer judemap.Remove(name)
	}
	const (
		none   = ":4" // cobra's: no files either
		files  = ":0"
		ending = ":8" // files with the endings that are listed
	)
	for _, test := range []struct {
		args      string // what stands before the word that is begun
		names     []string
		directive string
		others    []string // what else is listed, at least
	}{
		{"ls", nil, none, nil},
		{"demo", nil, none, nil},
		{"inspect", []string{base, base + "-b"}, none, nil},
		{"inspect " + base, nil, none, nil},
		{"rm " + base, []string{base + "-b"}, none, nil},
		{"prune", []string{base, base + "-b"}, none, nil},
		{"watch " + base, []string{base + "-b"}, none, nil},
		{"export", []string{base, base + "-b"}, none, nil},
		{"export " + base, nil, ending, []string{"npy", "png"}},
		{"export " + base + " a.npy", nil, none, nil},
		{"put", nil, ending, []string{"npy", "png"}},
		{"put --raw uint8", nil, files, nil},
		{"put a.npy", []string{base, base + "-b"}, none, nil},
		{"put a.npy " + base, nil, none, nil},
		{"put --raw", nil, none, []string{"uint8", "float8_e4m3fn"}},
		{"get", []string{base, base + "-b"}, none, nil},
		{"get " + base, nil, none, nil},
		{"get " + base + " --raw", nil, files, nil},
		{"demo --save", nil, ending, []string{"png"}},
		{"watch --time", nil, none, nil},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := judemapCommand(t, append(append([]string{"__complete"}, strings.Fields(test.args)...), "")...)
			lines := strings.Split(strings.TrimSpace(r.out), "\n")
			var names []string
			for _, line := range lines {
				if strings.HasPrefix(line, base) {
					names = append(names, line)
				}
			}
			if !slices.Equal(names, test.names) || lines[len(lines)-1] != test.directive {
				t.Errorf("%q, want %q and %s", lines, test.names, test.directive)
			}
			for _, other := range test.others {
				if !slices.Contains(lines, other) {
					t.Errorf("no %q in %q", other, lines)
				}
			}
			if strings.Contains(r.out, "\x1b") {
				t.Errorf("%q", r.out)
			}
		})
	}
}
