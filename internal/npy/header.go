package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxText is the most bytes that a header's text may have. That of an array that a tensor can hold has fewer than 500;
// versions 2.0 and 3.0 of the format could announce 4 GiB.
const maxText = 1<<16 - 1

// readText returns the text of a file's header, and where in the file it ends.
func readText(r io.Reader) (text string, end int64, err error) {
	start := make([]byte, textStart, textStart+2)
	if n, err := io.ReadFull(r, start); err != nil {
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			return "", 0, err
		}
		return "", 0, fmt.Errorf("it is no NumPy file: it has %d bytes", n)
	}
	if !strings.HasPrefix(string(start), magic) {
		return "", 0, fmt.Errorf("it is no NumPy file: it begins with %q", start[:len(magic)])
	}
	var length uint32
	switch version := [2]byte(start[len(magic):]); version {
	case [2]byte{1, 0}:
		length = uint32(binary.LittleEndian.Uint16(start[textStart-2:]))
	case [2]byte{2, 0}, [2]byte{3, 0}: // they differ in the encoding of names, and elements of a tensor have none
		start = start[:textStart+2]
		if _, err := io.ReadFull(r, start[textStart:]); err != nil {
			return "", 0, cutShort(err, "the length of its NumPy header")
		}
		length = binary.LittleEndian.Uint32(start[textStart-2:])
	default:
		return "", 0, fmt.Errorf("it has version %d.%d of NumPy's format, and 1.0, 2.0 and 3.0 are known", version[0], version[1])
	}
	if length > maxText {
		return "", 0, fmt.Errorf("its NumPy header claims %d bytes, and %d are the most that it may have", length, maxText)
	}
	all := make([]byte, length)
	if n, err := io.ReadFull(r, all); err != nil {
		return "", 0, cutShort(err, fmt.Sprintf("its NumPy header, after %d of %d bytes", n, length))
	}
	return string(all), int64(len(start) + len(all)), nil
}

// cutShort returns the error of a read that should have found more.
func cutShort(err error, where string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it ends in %s", where)
	}
	return err
}

// fields are what the dictionary has that is a header's text.
type fields struct {
	descr        string
	fortranOrder bool
	shape        []int
}

// parseFields parses a header's text, which is a dictionary as Python writes it:
//
//	{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//
// It has these three keys, in any order. The description of elements that have fields of their own is a list, which is
// refused as such. Of Python's many ways to write a value one is taken, the one that repr has.
func parseFields(text string) (f fields, err error) {
	p := parser{text: text}
	p.expect("{")
	seen := map[string]bool{}
	for p.err == nil && !p.take("}") {
		key := p.string()
		p.expect(":")
		if seen[key] {
			p.fail("a second " + strconv.Quote(key))
		}
		switch seen[key] = true; key {
		case "descr":
			f.descr = p.descr()
		case "fortran_order":
			f.fortranOrder = p.bool()
		case "shape":
			f.shape = p.tuple()
		default:
			p.fail(fmt.Sprintf("an unknown key, %.40q", key))
		}
		if !p.take(",") {
			p.expect("}")
			break
		}
	}
	if p.skipSpace(); p.text != "" {
		p.fail("the header's end is expected")
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			p.fail("there is no '" + key + "'")
		}
	}
	return f, p.err
}

// A parser takes the text apart from its beginning. After the first error the others are of no interest.
type parser struct {
	text string // what is left
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("its NumPy header can't be read: %s, at %.40q", what, p.text)
	}
	p.text = ""
}

func (p *parser) skipSpace() { p.text = strings.TrimLeft(p.text, " \t\r\n") }

// take takes a word, or a sign, if it comes next.
func (p *parser) take(word string) bool {
	p.skipSpace()
	rest, found := strings.CutPrefix(p.text, word)
	p.text = rest
	return found
}

func (p *parser) expect(word string) {
	if !p.take(word) {
		p.fail(strconv.Quote(word) + " is expected")
	}
}

// string takes a text in either of Python's quotes. No key and no element type has a character that is not plain ASCII.
func (p *parser) string() string {
	for _, quote := range []string{"'", `"`} {
		if p.take(quote) {
			text, rest, found := strings.Cut(p.text, quote)
			if !found || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
				p.fail("a text of plain characters, and its end, are expected")
				return ""
			}
			p.text = rest
			return text
		}
	}
	p.fail("a text in quotes is expected")
	return ""
}

// descr takes the description of the elements.
func (p *parser) descr() string {
	if p.skipSpace(); strings.HasPrefix(p.text, "[") || strings.HasPrefix(p.text, "(") {
		if p.err == nil {
			p.err = notHeld(p.text)
		}
		p.text = ""
		return ""
	}
	return p.string()
}

func (p *parser) bool() bool {
	switch {
	case p.take("True"):
		return true
	case p.take("False"):
	default:
		p.fail("True or False is expected")
	}
	return false
}

// tuple takes the dimensions of a shape: (), (2,), (2, 3) or (2, 3,).
func (p *parser) tuple() []int {
	shape := []int{}
	p.expect("(")
	for !p.take(")") && p.err == nil {
		shape = append(shape, p.int())
		if !p.take(",") {
			if p.expect(")"); len(shape) == 1 {
				p.fail("a tuple is expected, and in Python (1) is none")
			}
			break
		}
	}
	return shape
}

func (p *parser) int() int {
	p.skipSpace()
	digits := p.text[:len(p.text)-len(strings.TrimLeft(p.text, "-0123456789"))]
	n, err := strconv.Atoi(digits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		p.fail("a dimension that overflows")
	case err != nil || strconv.Itoa(n) != digits:
		p.fail("a dimension is expected")
	case n < 0:
		p.fail("a negative dimension")
	}
	p.text = strings.TrimPrefix(p.text, digits)
	return n
}
