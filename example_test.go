package judemap_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/judemap/judemap"
)

func Example() {
	s, err := judemap.New(1 << 20) // room for 1 MiB of tensor
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := judemap.WriteSlice(s, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}); err != nil {
		log.Fatal(err)
	}
	t, err := s.Read() // a view of the segment's own memory
	if err != nil {
		log.Fatal(err)
	}
	values, err := judemap.Slice[float32](&t)
	if err != nil {
		log.Fatal(err)
	}
	sum := float32(0)
	for _, v := range values {
		sum += v
	}
	if t.Valid() { // no commit came in between: sum is the sum of one tensor
		fmt.Println(t.Shape(), t.DType(), sum)
	}
	// Output: [2 3] float32 21
}

// A producer and a consumer that parks while there is nothing new.
func ExampleSegment() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for i := range 3 {
			if err := judemap.WriteSlice(s, []int{1}, []int64{int64(i)}); err != nil {
				log.Fatal(err)
			}
		}
		s.Close()
	}()
	last := int64(-1)
	for t, err := range s.Frames(context.Background()) {
		if errors.Is(err, judemap.ErrClosed) {
			break
		}
		if values, err := judemap.Slice[int64](&t); err == nil && values[0] <= last && t.Valid() {
			fmt.Println("out of order")
		}
	}
	fmt.Println("closed")
	// Output: closed
}

// Update writes in place: no buffer of one's own, no copy.
func ExampleSegment_Update() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	err = s.Update([]int{2, 2}, judemap.Uint8, func(data []byte) error {
		for i := range data {
			data[i] = byte(i * i)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	t, err := s.ReadCopy(context.Background())
	fmt.Println(t.Data(), err)
	// Output: [0 1 4 9] <nil>
}

// ReadInto copies into a buffer that is used again and again.
func ExampleSegment_ReadInto() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, s.ByteCapacity())
	for i := range 2 {
		if err := s.Fill([]int{3}, judemap.Int16, float64(i)); err != nil {
			log.Fatal(err)
		}
		t, err := s.ReadInto(buf)
		if err != nil {
			log.Fatal(err)
		}
		values, err := judemap.Slice[int16](&t)
		fmt.Println(values, t.Version(), err)
	}
	// Output:
	// [0 0 0] 2 <nil>
	// [1 1 1] 4 <nil>
}

// A view is good until the next commit, and knows when it no longer is.
func ExampleTensor() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Fill([]int{2}, judemap.Float64, 1); err != nil {
		log.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(view.Shape(), view.DType(), view.Version(), view.Valid())
	if err := s.Fill([]int{2}, judemap.Float64, 2); err != nil {
		log.Fatal(err)
	}
	fmt.Println(view.Valid())
	// Output:
	// [2] float64 2 true
	// false
}

// The small floats are judemap's own types; numbers go into and out of them by way of float32.
func ExampleToF16() {
	s, err := judemap.New(1 << 10)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	halves := []judemap.F16{judemap.ToF16(0.5), judemap.ToF16(1.0 / 3)}
	if err := judemap.WriteSlice(s, []int{2}, halves); err != nil {
		log.Fatal(err)
	}
	t, err := s.Read()
	if err != nil {
		log.Fatal(err)
	}
	values, err := judemap.Slice[judemap.F16](&t)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.DType(), values, values[1].Float32())
	// Output: float16 [0.5 0.3333] 0.33325195
}

func ExampleDType() {
	d, err := judemap.ParseDType("uint16")
	fmt.Println(d, d.Size(), err)
	// Output: uint16 2 <nil>
}

// Functions over tensors of any type take Element as their constraint.
func ExampleElement() {
	fmt.Println(mean([]float32{1, 2, 6}), mean([]int16{-1, 4}))
	// Output: 3 1.5
}

func mean[T interface {
	judemap.Element
	~float32 | ~int16 // the ones that this function adds up
}](values []T) float64 {
	sum := 0.0
	for _, v := range values {
		sum += float64(v)
	}
	return sum / float64(len(values))
}

// Many small segments are better off without huge pages.
func ExampleOption() {
	s, err := judemap.New(3<<20, judemap.WithHugePages(false))
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(s.ByteCapacity())
	// Output: 3145728
}
