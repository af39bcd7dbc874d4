package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// A table has rows of cells, of which the first are the columns' names. All text in it is ASCII that can do nothing to a
// terminal; see nameText.
type table struct {
	rows [][]string
	wrap bool // the last column goes on in further lines where it is too long; else it is shortened as others are
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

const columnGap = "  "

// print prints the table in lines of at most so many characters; 0: of any number. What does not fit is shortened: the
// widest columns first.
func (t *table) print(out io.Writer, width int) error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	last := len(widths) - 1
	if width > 0 {
		over := len(columnGap)*last - width
		for _, w := range widths {
			over += w
		}
		if t.wrap {
			least := min(widths[last], 30)
			give := min(max(over, 0), widths[last]-least)
			widths[last] -= give
			over -= give
		}
		for ; over > 0; over-- {
			widest := 0
			for i, w := range widths {
				if w > widths[widest] {
					widest = i
				}
			}
			if widths[widest] <= 1 {
				break
			}
			widths[widest]--
		}
	}
	var text strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if i < last {
				shorten := shortened
				if i == 0 { // names, which often begin alike
					shorten = shortenedInside
				}
				fmt.Fprintf(&line, "%-*s%s", widths[i], shorten(cell, widths[i]), columnGap)
				continue
			}
			indent := utf8.RuneCountInString(line.String())
			rest := cell
			for t.wrap && len(rest) > widths[i] {
				at := strings.LastIndex(rest[:widths[i]+1], " ")
				if at <= 0 {
					break
				}
				line.WriteString(rest[:at] + "\n" + strings.Repeat(" ", indent))
				rest = rest[at+1:]
			}
			line.WriteString(shortened(rest, widths[i]))
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// shortened returns ASCII text in so many characters; in place of what is left out stands a dot-dot-dot.
func shortened(text string, width int) string {
	if len(text) <= width {
		return text
	}
	return text[:max(width-1, 0)] + "…"
}

// shortenedInside leaves out what is in the middle.
func shortenedInside(text string, width int) string {
	if len(text) <= width {
		return text
	}
	kept := max(width-1, 0)
	return text[:(kept+1)/2] + "…" + text[len(text)-kept/2:]
}

// tableWidth returns how wide a table may be: a terminal's columns, or those that COLUMNS says; else, in a file or for
// another program, 0: nothing is to be shortened.
func tableWidth(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	return max(columns, 0)
}

// nameText returns a name as it is, or quoted if that could do something to a terminal or a table: then it is ASCII.
func nameText(name string) string {
	quoted := strconv.QuoteToASCII(name)
	if quoted != `"`+name+`"` || strings.Contains(name, " ") {
		return quoted
	}
	return name
}

// printable returns text without what could do something to a terminal but begin a new line.
func printable(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text { // bytes that are no UTF-8 are U+FFFD here
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }

// A sizeFormat is how sizes are shown.
type sizeFormat bool

const (
	roundSizes sizeFormat = false // in the largest unit of which there is one
	exactSizes sizeFormat = true  // in bytes
)

// text returns a size in bytes, as in 12K: units are 1024 times the one before.
func (exact sizeFormat) text(bytes int64) string {
	if exact == exactSizes || bytes < 1024 {
		return strconv.FormatInt(bytes, 10)
	}
	size, unit := float64(bytes), -1
	for ; size >= 1023.5; unit++ { // what would be rounded to 1024 is one of the next
		size /= 1024
	}
	if size < 9.95 {
		return fmt.Sprintf("%.1f%c", size, "KMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f%c", size, "KMGTPE"[unit])
}
