package judemap

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// glob returns the files of a pattern, of which there must be some.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// docs/layout.md has every byte of the headers, and each field where include/judemap/layout.h asserts it to be.
func TestLayoutPage(t *testing.T) {
	page := readText(t, "docs/layout.md")
	type field struct{ owner, name string }

	// What the page says: tables whose rows begin with offset, size and field.
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| (\\d+|…) \\| (?:`?(\\w*)[^|]*)? ?\\|")
	fields := map[field]int{}
	for _, table := range []struct {
		title, owner string
		bytes        int
	}{
		{"## A segment\n", "jm_header", DataOffset},
		{"## A stream\n", "jm_stream_header", 8192},
		{"| offset in a place |", "jm_place", 64},
		{"| offset in `creator` |", "jm_creator", 24},
	} {
		_, text, found := strings.Cut(page, table.title)
		_, text, began := strings.Cut(text, "|---|")
		text, _, ended := strings.Cut(text, "\n\n")
		if !found || !began || !ended {
			t.Fatalf("docs/layout.md has no table after %q", table.title)
		}
		next := 0
		for _, cells := range row.FindAllStringSubmatch(text, -1) {
			offset, _ := strconv.Atoi(cells[1])
			size, err := strconv.Atoi(cells[2])
			if err != nil {
				break // the data
			}
			if offset != next {
				t.Errorf("%s: a row begins at byte %d, and the one before ends at %d", table.owner, offset, next)
			}
			next = offset + size
			if cells[3] == "" {
				continue
			}
			owner := table.owner
			if owner == "jm_stream_header" && offset >= 216 && offset < DataOffset {
				owner, offset = "jm_stream_block", offset-216
			}
			fields[field{owner, cells[3]}] = offset
		}
		if next != table.bytes {
			t.Errorf("%s: the rows end at byte %d, not %d", table.owner, next, table.bytes)
		}
	}

	// What the header asserts. A creator lies in bytes that are for later use, and has an offset of its own.
	asserted := map[field]int{}
	for owner, constant := range map[string]string{"jm_header": "JM_CREATOR_OFFSET", "jm_stream_header": "JM_STREAM_CREATOR_OFFSET"} {
		offset := regexp.MustCompile(constant + ` (\d+)`).FindStringSubmatch(readText(t, "include/judemap/layout.h"))
		if offset == nil {
			t.Fatalf("layout.h has no %s", constant)
		}
		asserted[field{owner, "creator"}], _ = strconv.Atoi(offset[1])
	}
	assertion := regexp.MustCompile(`offsetof\((\w+), (\w+)\) == (?:(\d+)|offsetof\((\w+), (\w+)\))`)
	unnamed := regexp.MustCompile(`^(padding\d|later|block)$`)
	for _, a := range assertion.FindAllStringSubmatch(readText(t, "include/judemap/layout.h"), -1) {
		offset := asserted[field{a[4], a[5]}]
		if a[3] != "" {
			offset, _ = strconv.Atoi(a[3])
		}
		if asserted[field{a[1], a[2]}] = offset; unnamed.MatchString(a[2]) {
			continue
		}
		if got, found := fields[field{a[1], a[2]}]; !found || got != offset {
			t.Errorf("docs/layout.md has %s.%s at byte %d (is it there: %v), layout.h at %d", a[1], a[2], got, found, offset)
		}
	}
	for f := range fields {
		if _, found := asserted[f]; !found {
			t.Errorf("docs/layout.md has %s.%s, of which layout.h asserts nothing", f.owner, f.name)
		}
	}
	if len(fields) < 20 {
		t.Errorf("docs/layout.md has %d fields: %v", len(fields), fields)
	}

	var types []string
	for d := DType(0); d.Size() != 0; d++ {
		types = append(types, fmt.Sprintf("%d %v", d, d))
	}
	if want := "| " + strings.Join(types, ", ") + " |"; !strings.Contains(page, want) {
		t.Errorf("docs/layout.md does not have the element types %q", want)
	}
}

// The tests that docs/guarantees.md names are there.
func TestGuaranteesPage(t *testing.T) {
	var code strings.Builder
	for _, path := range append(glob(t, "*_test.go"), glob(t, "test/*_test.cc")...) {
		code.WriteString(readText(t, path))
	}
	named := 0
	for _, section := range regexp.MustCompile(`(?s)\nTests: .*?\n(\n|$)`).FindAllString(readText(t, "docs/guarantees.md"), -1) {
		for _, test := range regexp.MustCompile("`(\\w+)(?:\\.(\\w+))?`").FindAllStringSubmatch(section, -1) {
			named++
			definitions := []string{"\nfunc " + test[1] + "("}
			if test[2] != "" {
				arguments := "(" + test[1] + ", " + test[2] + ")"
				definitions = []string{"\nTEST" + arguments, "\nTEST_F" + arguments, "\nTEST_P" + arguments}
			}
			if !slices.ContainsFunc(definitions, func(d string) bool { return strings.Contains(code.String(), d) }) {
				t.Errorf("docs/guarantees.md names a test %s that is not there", test[0])
			}
		}
	}
	if named < 50 {
		t.Errorf("docs/guarantees.md names %d tests", named)
	}
}

// The links from page to page lead somewhere, and docs/README.md leads to every page.
func TestPages(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]*)\)`)
	program := regexp.MustCompile("(?s)\n```.*?\n```\n")
	pages := append(glob(t, "docs/*.md"), "README.md")
	var indexed []string
	for _, page := range pages {
		for _, l := range link.FindAllStringSubmatch(program.ReplaceAllString(readText(t, page), "\n"), -1) {
			path, anchor, anchored := strings.Cut(l[1], "#")
			if strings.Contains(path, ":") { // of another site
				continue
			}
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if filepath.ToSlash(page) == "docs/README.md" {
				indexed = append(indexed, target)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s: %v", page, l[1], err)
			} else if anchored && !slices.Contains(anchors(readText(t, target)), anchor) {
				t.Errorf("%s: link %s: there is no such heading", page, l[1])
			}
		}
	}
	for _, page := range pages {
		if page = filepath.Clean(page); page != filepath.Join("docs", "README.md") && !slices.Contains(indexed, page) {
			t.Errorf("docs/README.md does not lead to %s", page)
		}
	}
}

// anchors returns the names by which GitHub links to the headings of a page.
func anchors(page string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return names
}
