//go:build cgo

package judemap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/judemap/judemap"
)

// Two processes share a segment by its name; here both are this one.
func ExampleCreate() {
	s, err := judemap.Create("judemap-example", 1<<20) // the producer's
	if err != nil {
		log.Fatal(err)
	}
	defer judemap.Remove("judemap-example")
	defer s.Close()
	go func() {
		if err := judemap.WriteSlice(s, []int{3}, []float32{1, 2, 3}); err != nil {
			log.Fatal(err)
		}
	}()

	reader, err := judemap.Open("judemap-example") // a consumer's
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	t, err := reader.ReadWait(context.Background()) // sleeps until there is something
	if err != nil {
		log.Fatal(err)
	}
	values, err := judemap.Slice[float32](&t)
	fmt.Println(values, err)
	// Output: [1 2 3] <nil>
}

// A producer that may be started again takes its segment as it is, or makes it.
func ExampleOpenOrCreate() {
	defer judemap.Remove("judemap-example-restarts")
	for range 2 { // the program is run twice
		s, err := judemap.OpenOrCreate("judemap-example-restarts", 1<<20)
		if err != nil {
			log.Fatal(err)
		}
		if err := judemap.WriteSlice(s, []int{3}, []float32{1, 2, 3}); err != nil {
			log.Fatal(err)
		}
		fmt.Println(s)
		s.Close() // from here on another process may write; to end without it counts as a death
	}
	// Output:
	// shared segment "judemap-example-restarts": float32 [3], version 2
	// shared segment "judemap-example-restarts": float32 [3], version 4
}

// Two processes share a stream by its name; here both are this one.
func ExampleCreateStream() {
	s, err := judemap.CreateStream("judemap-example-stream", 4, 1<<20) // the producer's
	if err != nil {
		log.Fatal(err)
	}
	defer judemap.Remove("judemap-example-stream")
	defer s.Close()

	other, err := judemap.OpenStream("judemap-example-stream") // a consumer's
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	r, err := other.Reader()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	go func() {
		if err := judemap.StreamSlice(context.Background(), s, []int{3}, []float32{1, 2, 3}); err != nil {
			log.Fatal(err)
		}
	}()
	frame, err := r.Next(context.Background()) // sleeps until there is one
	if err != nil {
		log.Fatal(err)
	}
	values, err := judemap.Slice[float32](&frame)
	fmt.Println(values, err)
	// Output: [1 2 3] <nil>
}

// A producer that may be started again takes its stream as it is, or makes it; readers stay where they are.
func ExampleOpenOrCreateStream() {
	ctx := context.Background()
	defer judemap.Remove("judemap-example-stream-restarts")
	for range 2 { // the program is run twice
		s, err := judemap.OpenOrCreateStream("judemap-example-stream-restarts", 4, 1<<20)
		if err != nil {
			log.Fatal(err)
		}
		if err := judemap.StreamSlice(ctx, s, []int{3}, []float32{1, 2, 3}); err != nil {
			log.Fatal(err)
		}
		fmt.Println(s)
		s.Close() // from here on another process may write; to end without it counts as a death
	}
	// Output:
	// shared stream "judemap-example-stream-restarts", 4 slots: float32 [3], version 2
	// shared stream "judemap-example-stream-restarts", 4 slots: float32 [3], version 4
}

// What the header of a segment or stream says, without mapping it.
func ExampleStat() {
	s, err := judemap.Create("judemap-example-stat", 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer judemap.Remove("judemap-example-stat")
	defer s.Close()
	if err := judemap.WriteSlice(s, []int{3}, []float32{1, 2, 3}); err != nil {
		log.Fatal(err)
	}

	info, err := judemap.Stat("judemap-example-stat") // another process's, which may not even have the right to write
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info)
	fmt.Println(info.DType, info.Shape, info.Bytes, "of", info.Capacity, "bytes; writer", info.Writer)
	// Output:
	// segment "judemap-example-stat": float32 [3], version 2
	// float32 [3] 12 of 1048576 bytes; writer other
}

// A program that looks at a tensor now and then, and maps nothing. The buffer grows with the tensor.
func ExampleStatCopy() {
	s, err := judemap.Create("judemap-example-stat-copy", 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer judemap.Remove("judemap-example-stat-copy")
	defer s.Close()
	if err := judemap.WriteSlice(s, []int{2, 3}, []uint8{1, 2, 3, 4, 5, 6}); err != nil {
		log.Fatal(err)
	}

	var data []byte
	info, err := judemap.StatCopy("judemap-example-stat-copy", data)
	if err == nil && errors.Is(info.Err, io.ErrShortBuffer) {
		data = make([]byte, info.Bytes)
		info, err = judemap.StatCopy("judemap-example-stat-copy", data)
	}
	if err := errors.Join(err, info.Err); err != nil { // ErrBusy: try again after a pause
		log.Fatal(err)
	}
	fmt.Println(info.DType, info.Shape, data[:info.Bytes])
	// Output:
	// uint8 [2 3] [1 2 3 4 5 6]
}

// A name may be another file's by now: that of a producer that was started again.
func ExampleFileID() {
	var looked judemap.FileID // at which file
	for range 2 {
		s, err := judemap.Create("judemap-example-file", 1<<20)
		if err != nil {
			log.Fatal(err)
		}
		defer s.Close()
		info, err := judemap.Stat("judemap-example-file")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("the same file:", info.File == looked)
		looked = info.File
		if err := judemap.Remove("judemap-example-file"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// the same file: false
	// the same file: false
}
