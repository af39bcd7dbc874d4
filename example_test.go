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
	var sum float32
	err = judemap.View(context.Background(), s, func(shape []int, values []float32) error { // in place, no copy
		sum = 0 // it may be called again, if a commit came in between
		for _, v := range values {
			sum += v
		}
		return nil
	})
	fmt.Println(s, sum, err)
	// Output: segment: float32 [2 3], version 2 21 <nil>
}

// A view that is checked by hand: use it, then ask whether what was seen is one tensor.
func ExampleSegment_Read() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := judemap.WriteSlice(s, []int{3}, []float64{1, 2, 3}); err != nil {
		log.Fatal(err)
	}
	t, err := s.Read()
	if err != nil {
		log.Fatal(err)
	}
	values, err := judemap.Slice[float64](&t)
	if err != nil {
		log.Fatal(err)
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	if t.Valid() { // no commit came in between: sum is the sum of one tensor
		fmt.Println(t.Shape(), t.DType(), sum)
	}
	// Output: [3] float64 6
}

// The copies of a consumer that wants each tensor whole go into a buffer that is used again and again.
func ExampleSegment_NextInto() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	buf, last := make([]byte, s.ByteCapacity()), uint64(0)
	for i := range 3 {
		if err := judemap.WriteSlice(s, []int{2}, []uint8{uint8(i), 7}); err != nil {
			log.Fatal(err)
		}
		t, err := s.NextInto(context.Background(), last, buf) // parks until there is one newer than the last
		if err != nil {
			log.Fatal(err)
		}
		last = t.Version()
		fmt.Println(t.Data(), last)
	}
	// Output:
	// [0 7] 2
	// [1 7] 4
	// [2 7] 6
}

// Elements are written in place, without a buffer of one's own.
func ExampleUpdateSlice() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	err = judemap.UpdateSlice(s, []int{2, 2}, func(values []int32) error {
		for i := range values { // they are what the tensor before left there
			values[i] = int32(10 * i)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	err = judemap.View(context.Background(), s, func(shape []int, values []int32) error {
		fmt.Println(shape, values)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: [2 2] [0 10 20 30]
}

// Stats says what was done through a Segment.
func ExampleStats() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		if err := s.Fill([]int{4}, judemap.Float32, float64(i)); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := s.ReadCopy(context.Background()); err != nil {
		log.Fatal(err)
	}
	stats := s.Stats()
	fmt.Println(stats.Commits, stats.Reads, stats.Wakes)
	// Output: 3 1 0
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
func ExampleF16() {
	s, err := judemap.New(1 << 10)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	halves := []judemap.F16{judemap.ToF16(0.5), judemap.ToF16(1.0 / 3)}
	if err := judemap.WriteSlice(s, []int{2}, halves); err != nil {
		log.Fatal(err)
	}
	err = judemap.View(context.Background(), s, func(_ []int, values []judemap.F16) error {
		fmt.Println(judemap.DTypeOf[judemap.F16](), values, values[1].Float32())
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: float16 [0.5 0.3333] 0.33325195
}

// The range of a float32, in half the bytes.
func ExampleBF16() {
	for _, f := range []float32{1.0 / 3, 1e38} {
		fmt.Println(judemap.ToBF16(f), judemap.ToF16(f))
	}
	// Output:
	// 0.334 0.3333
	// 1e+38 +Inf
}

// Up to 448, and NaN beyond: there is no infinity.
func ExampleF8E4M3FN() {
	fmt.Println(judemap.ToF8E4M3FN(0.3), judemap.ToF8E4M3FN(448).Float32(), judemap.ToF8E4M3FN(1000))
	// Output: 0.3 448 NaN
}

// Up to 57344, and infinity beyond.
func ExampleF8E5M2() {
	fmt.Println(judemap.ToF8E5M2(0.3), judemap.ToF8E5M2(1000), judemap.ToF8E5M2(1e6))
	// Output: 0.3 1000 +Inf
}

func ExampleDType() {
	d, err := judemap.ParseDType("uint16")
	fmt.Println(d, d.Size(), err)
	// Output: uint16 2 <nil>
}

// Functions over tensors of any type take Element as their constraint.
func ExampleElement() {
	s, err := judemap.New(1024)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(zeros(s, []float32{0, 1, 0}))
	fmt.Println(zeros(s, []bool{true, false, true}))
	// Output:
	// 2 <nil>
	// 1 <nil>
}

// zeros commits values, and counts the zeros in what is there then.
func zeros[T judemap.Element](s *judemap.Segment, values []T) (n int, err error) {
	if err := judemap.WriteSlice(s, []int{len(values)}, values); err != nil {
		return 0, err
	}
	err = judemap.View(context.Background(), s, func(_ []int, values []T) error {
		n = 0
		for _, v := range values {
			if v == *new(T) {
				n++
			}
		}
		return nil
	})
	return n, err
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
