//go:build cgo && !darwin

package judemap_test

import (
	"context"
	"fmt"
	"log"

	"github.com/judemap/judemap"
)

// A segment without a name, for those who are handed its descriptor: over a Unix socket, or as a child's extra file.
func ExampleOpenFile() {
	s, err := judemap.New(1024, judemap.WithSealed())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	file, err := s.File()
	if err != nil {
		log.Fatal(err)
	}

	other, err := judemap.OpenFile(file) // in the process that was handed the file
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	if err := s.Fill([]int{2}, judemap.Uint8, 7); err != nil {
		log.Fatal(err)
	}
	t, err := other.ReadCopy(context.Background())
	fmt.Println(t.Data(), err)
	// Output: [7 7] <nil>
}

// The first that writes is the writer, until it closes or dies.
func ExampleWriterState() {
	a, err := judemap.New(1024, judemap.WithSealed())
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	file, err := a.File()
	if err != nil {
		log.Fatal(err)
	}
	b, err := judemap.OpenFile(file)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	fmt.Println(a.Writer(), b.Writer())
	if err := a.Fill(nil, judemap.Uint8, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Writer(), b.Writer())
	fmt.Println(b.Fill(nil, judemap.Uint8, 1))
	// Output:
	// none none
	// here other
	// judemap: another process is the writer
}
