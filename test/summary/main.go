// Summary shows what `go test -json` writes to it as go test would, and then what was skipped, and why. For test/go.sh.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
}

type test struct{ pkg, name string }

var reason = regexp.MustCompile(`(?:\S+\.go:\d+: )?(SKIP: .*)`)

func main() {
	outputs := map[test]*strings.Builder{}
	var skipped []string
	passed, failed := 0, 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil { // what the go command says itself
			fmt.Println(lines.Text())
			continue
		}
		at := test{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Print(e.Output)
		case "output":
			if e.Test == "" {
				if e.Output != "PASS\n" {
					fmt.Print(e.Output)
				}
				break
			}
			if outputs[at] == nil {
				outputs[at] = &strings.Builder{}
			}
			outputs[at].WriteString(e.Output)
		case "pass", "skip", "fail":
			if e.Test == "" {
				break
			}
			text := ""
			if out := outputs[at]; out != nil {
				text = out.String()
			}
			delete(outputs, at)
			switch e.Action {
			case "pass":
				passed++
			case "skip":
				why := "it does not say why"
				if match := reason.FindStringSubmatch(text); match != nil {
					why = strings.TrimPrefix(match[1], "SKIP: ")
				}
				skipped = append(skipped, fmt.Sprintf("skipped %s: %s", e.Test, why))
			case "fail":
				failed++
				fmt.Print(text)
			}
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for at, out := range outputs { // a process that died in the middle of them
		fmt.Printf("unfinished %s:\n%s", at.name, out)
		failed++
	}
	for _, line := range skipped {
		fmt.Println(line)
	}
	fmt.Printf("Go: %d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	if failed > 0 {
		os.Exit(1)
	}
}
