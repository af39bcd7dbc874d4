package judemap_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/judemap/judemap"
)

// A frame is whole for as long as its reader looks at it, and the writer goes on meanwhile.
func ExampleStream() {
	ctx := context.Background()
	s, err := judemap.NewStream(4, 1024) // 4 slots, each with room for 1 KiB of tensor
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader() // sees what is committed from here on
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	if err := judemap.StreamSlice(ctx, s, []int{3}, []float32{1, 2, 3}); err != nil {
		log.Fatal(err)
	}
	frame, err := r.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for range 5 { // more than there are slots: the writer waits for nobody
		if err := s.Fill(ctx, []int{3}, judemap.Float32, 7); err != nil {
			log.Fatal(err)
		}
	}
	values, err := judemap.Slice[float32](&frame)
	fmt.Println(values, err)

	frame, err = r.Next(ctx) // gives the one before back, and has the newest
	fmt.Println(frame, err, r.Missed())
	// Output:
	// [1 2 3] <nil>
	// float32 [3], version 12 <nil> 4
}

// Where every frame counts, the writer waits for the slowest reader.
func ExampleReader() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := judemap.NewStream(3, 1024, judemap.WithEveryFrame())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	go func() {
		for i := range 100 {
			if err := judemap.StreamSlice(ctx, s, []int{1}, []int64{int64(i)}); err != nil {
				log.Fatal(err)
			}
		}
	}()

	sum := int64(0)
	for frame, err := range r.Frames(ctx) { // sleeps until there is one
		if err != nil {
			log.Fatal(err)
		}
		values, err := judemap.Slice[int64](&frame)
		if err != nil {
			log.Fatal(err)
		}
		sum += values[0]
		if frame.Version() == 200 { // 2 for each frame
			break
		}
	}
	fmt.Println(sum, r.Missed())
	// Output: 4950 0
}

// Who a writer waits for.
func ExampleReaderInfo() {
	ctx := context.Background()
	s, err := judemap.NewStream(3, 1024, judemap.WithEveryFrame())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		r, err := s.Reader()
		if err != nil {
			log.Fatal(err)
		}
		defer r.Close()
		if err := s.Fill(ctx, nil, judemap.Uint8, 1); err != nil {
			log.Fatal(err)
		}
		if _, err := r.Next(ctx); err != nil { // the first frame for the one, the second for the other
			log.Fatal(err)
		}
	}
	for _, r := range s.Readers() {
		fmt.Printf("reader %d holds %d slots, and wants version %d of %d\n", r.Number, r.Held, r.Next, s.Version())
	}
	// Output:
	// reader 0 holds 1 slots, and wants version 4 of 4
	// reader 1 holds 1 slots, and wants version 6 of 4
}

// Frames that are needed for longer than until the next one.
func ExampleTensor_Keep() {
	ctx := context.Background()
	s, err := judemap.NewStream(5, 1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	var last []judemap.Tensor // the last two frames
	for i := range 4 {
		if err := judemap.StreamSlice(ctx, s, []int{1}, []int32{int32(i)}); err != nil {
			log.Fatal(err)
		}
		frame, err := r.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		frame.Keep()
		if last = append(last, frame); len(last) > 2 {
			last[0].Release()
			last = last[1:]
		}
	}
	for i := range last {
		values, err := judemap.Slice[int32](&last[i])
		fmt.Println(values, err, last[i].Valid())
	}
	// Output:
	// [2] <nil> true
	// [3] <nil> true
}

// A slice of elements is a frame; its length is checked against the shape.
func ExampleStreamSlice() {
	s, err := judemap.NewStream(2, 1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := judemap.StreamSlice(context.Background(), s, []int{2, 2}, []float64{1, 2, 3, 4}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s)
	err = judemap.StreamSlice(context.Background(), s, []int{2, 2}, []float64{1, 2, 3})
	fmt.Println(err)
	// Output:
	// stream, 2 slots: float64 [2 2], version 2
	// judemap: shape: [2 2] of float64 takes 32 bytes, and the data has 24
}
