package judemap

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The version is that of the changelog's first entry with a number.
func TestVersion(t *testing.T) {
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+)`).FindSubmatch(changelog)
	if first == nil || Version() != string(first[1]) {
		t.Errorf("Version is %q, and the changelog's first release %q", Version(), first)
	}
}

func ExampleVersion() {
	major, _, _ := strings.Cut(Version(), ".")
	fmt.Println("judemap", major)
	// Output: judemap 0
}
