// Command nocgo makes a segment in a program built without cgo, and prints the error.
package main

import (
	"errors"
	"fmt"

	"github.com/judemap/judemap"
)

func main() {
	_, err := judemap.New(1000)
	fmt.Println(errors.Is(err, judemap.ErrUnsupported), err)
}
