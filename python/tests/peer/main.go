// Command peer is a Go program that shares a segment or a stream with the Python package's tests; peer.cc is the same in
// C++. It does what it reads, a line each, and answers with a line:
//
//	peer segment|stream NAME
//
//	write DTYPE HEX DIMENSIONS...   commits a tensor, of the number of an element type and the bytes in hexadecimal: "ok"
//	read VERSION                    waits for a tensor above the version, or for the next frame: "VERSION DTYPE HEX DIMENSIONS..."
//
// A stream's reader is there from the beginning.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/judemap/judemap"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(kind, name string) error {
	var write func(ctx context.Context, shape []int, dtype judemap.DType, data []byte) error
	var read func(ctx context.Context, after uint64) (judemap.Tensor, error)
	if kind == "segment" {
		s, err := judemap.Open(name)
		if err != nil {
			return err
		}
		defer s.Close()
		write = func(_ context.Context, shape []int, dtype judemap.DType, data []byte) error {
			return s.Write(shape, dtype, data)
		}
		read = s.Next
	} else {
		s, err := judemap.OpenStream(name)
		if err != nil {
			return err
		}
		defer s.Close()
		r, err := s.Reader()
		if err != nil {
			return err
		}
		write = s.Write
		read = func(ctx context.Context, _ uint64) (judemap.Tensor, error) { return r.Next(ctx) }
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := answer(ctx, strings.Fields(lines.Text()), write, read)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

func answer(
	ctx context.Context, words []string,
	write func(context.Context, []int, judemap.DType, []byte) error,
	read func(context.Context, uint64) (judemap.Tensor, error),
) error {
	number, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		return err
	}
	if words[0] == "write" {
		data, err := hex.DecodeString(strings.TrimPrefix(words[2], "x"))
		if err != nil {
			return err
		}
		shape := []int{}
		for _, word := range words[3:] {
			n, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			shape = append(shape, n)
		}
		if err := write(ctx, shape, judemap.DType(number), data); err != nil {
			return err
		}
		fmt.Println("ok")
		return nil
	}
	t, err := read(ctx, number)
	if err != nil {
		return err
	}
	fmt.Printf("%d %d x%x", t.Version(), t.DType(), t.Data())
	for _, n := range t.Shape() {
		fmt.Printf(" %d", n)
	}
	fmt.Println()
	return nil
}
