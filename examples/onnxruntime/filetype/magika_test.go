package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a model that sees 4 bytes at the beginning and 3 at the end, out of blocks of 8.
var small = magika{
	Begin: 4, End: 3, Block: 8, Padding: 256, Least: 2,
	Labels:     []string{"c", "go", "randomtxt", "png"},
	Threshold:  0.5,
	Thresholds: map[string]float64{"go": 0.75},
	Overwrite:  map[string]string{"randomtxt": "txt"},
	kinds:      map[string]kind{"c": {true}, "go": {true}, "txt": {true}},
}

func TestFiles(t *testing.T) {
	tests := []struct {
		name, content, label string // without a label the model is asked
		tokens               []int32
	}{
		{"longer than a block", "abcdefghijkl", "", []int32{'a', 'b', 'c', 'd', 'j', 'k', 'l'}},
		{"spaces at the ends", " \t\nabcdefgh\r\v\f", "", []int32{'a', 'b', 'c', 'd', 'f', 'g', 'h'}},
		{"spaces within", "a b c", "", []int32{'a', ' ', 'b', ' ', 'b', ' ', 'c'}},
		{"short", "ab", "", []int32{'a', 'b', 256, 256, 256, 'a', 'b'}},
		{"short, spaces before", "  ab", "", []int32{'a', 'b', 256, 256, ' ', 'a', 'b'}},
		{"bytes above 127", "\xff\x00\x80\xfe", "", []int32{255, 0, 128, 254, 0, 128, 254}},
		{"spaces fill the last block", "abc" + strings.Repeat(" ", 8), "", []int32{'a', 'b', 'c', ' ', 256, 256, 256}},
		{"spaces fill the first block", strings.Repeat(" ", 8) + "abc", "txt", nil},
		{"nothing", "", "empty", nil},
		{"a letter", "a", "txt", nil},
		{"a byte that is no letter", "\xff", "unknown", nil},
		{"spaces alone", "    ", "txt", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := small.read(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.label != test.label || f.label != "" && f.score != 1 {
				t.Fatalf("%q with score %v, want %q", f.label, f.score, test.label)
			}
			if test.label != "" {
				return
			}
			tokens := make([]int32, small.Begin+small.End)
			small.tokens(tokens, &f)
			if diff := cmp.Diff(test.tokens, tokens); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		scores []float32
		label  string
		score  float32
	}{
		{"sure", []float32{0.9, 0.1, 0, 0}, "c", 0.9},
		{"at the threshold", []float32{0.5, 0.25, 0.25, 0}, "c", 0.5},
		{"the first of equals", []float32{0.5, 0.5, 0, 0}, "c", 0.5},
		{"below the threshold, text", []float32{0.4, 0.3, 0.3, 0}, "txt", 0.4},
		{"below its own threshold", []float32{0.3, 0.7, 0, 0}, "txt", 0.7},
		{"above its own threshold", []float32{0.2, 0.8, 0, 0}, "go", 0.8},
		{"below the threshold, no text", []float32{0.3, 0.3, 0, 0.4}, "unknown", 0.4},
		{"under another name", []float32{0, 0, 0.9, 0.1}, "txt", 0.9},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if label, score := small.judge(test.scores); label != test.label || score != test.score {
				t.Errorf("%s %v, want %s %v", label, score, test.label, test.score)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	if _, err := small.read(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := readMagika(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder without a model: %v", err)
	}
	const rest = `"block_size": 8, "min_file_size_for_dl": 2`
	for name, config := range map[string]string{
		"not JSON":      `{`,
		"the middle":    `{"beg_size": 4, "mid_size": 4, "end_size": 4, ` + rest + `, "target_labels_space": ["c"]}`,
		"no labels":     `{"beg_size": 4, "end_size": 4, ` + rest + `}`,
		"small blocks":  `{"beg_size": 4, "end_size": 9, ` + rest + `, "target_labels_space": ["c"]}`,
		"negative ends": `{"beg_size": 4, "end_size": -1, ` + rest + `, "target_labels_space": ["c"]}`,
	} {
		folder := t.TempDir()
		for path, content := range map[string]string{
			"models/standard_v3_3/config.min.json": config,
			"config/content_types_kb.min.json":     `{}`,
		} {
			path = filepath.Join(folder, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := readMagika(folder); err == nil || !strings.Contains(err.Error(), "standard_v3_3") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Files that the model isn't asked about need no model.
func TestWithoutModel(t *testing.T) {
	packages := os.Getenv("SITE_PACKAGES")
	if packages == "" {
		t.Skip("SITE_PACKAGES doesn't say where the model's configuration is")
	}
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := filetype(&out, "no library", filepath.Join(packages, "magika"), "", "", 1, []string{path}); err != nil {
		t.Fatal(err)
	}
	if want := "empty\t1\t" + path + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
