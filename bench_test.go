//go:build cgo

package judemap_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/floor"
)

// Each benchmark stands beside the floor that bounds it, measured in the same run: by=floor is memcpy for the calls
// that copy, memset for Fill, a pair of channels for a wake; by=C++ is the same call in a C++ loop, without Go.
// `make bench` runs them several times over and prints medians, spreads and ratios.

func segment(b *testing.B, size int) *judemap.Segment {
	b.Helper()
	s, err := judemap.New(size)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.CloseWait() })
	return s
}

var sizes = []int{24, 4 << 10, 64 << 10, 602112, 8 << 20, 64 << 20} // 602112: a 224x224 RGB float32 picture

func BenchmarkRead(b *testing.B) {
	s := segment(b, 1024)
	if err := s.Fill([]int{1, 8, 8, 3}, judemap.Float32, 1); err != nil {
		b.Fatal(err)
	}
	b.Run("by=judemap", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if t, err := s.Read(); err != nil || !t.Valid() {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=C++", func(b *testing.B) { floor.Read(b.N) })
}

// BenchmarkReadParallel: readers share nothing that they write, so their number does not slow them down.
func BenchmarkReadParallel(b *testing.B) {
	s := segment(b, 1024)
	if err := s.Fill([]int{1, 8, 8, 3}, judemap.Float32, 1); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if t, err := s.Read(); err != nil || !t.Valid() {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range sizes {
		s, src, dst := segment(b, size), make([]byte, size), make([]byte, size)
		shape := []int{size}
		b.Run(fmt.Sprintf("size=%d/by=judemap", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				if err := s.Write(shape, judemap.Uint8, src); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/by=floor", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Memcpy(dst, src, b.N)
		})
		b.Run(fmt.Sprintf("size=%d/by=C++", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Commit(size, b.N)
		})
	}
}

func BenchmarkReadInto(b *testing.B) {
	for _, size := range sizes {
		s, src, dst := segment(b, size), make([]byte, size), make([]byte, size)
		if err := s.Write([]int{size}, judemap.Uint8, src); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("size=%d/by=judemap", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				if _, err := s.ReadInto(dst); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/by=floor", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Memcpy(dst, src, b.N)
		})
	}
}

func BenchmarkFill(b *testing.B) {
	for _, size := range sizes {
		if size < 4096 {
			continue
		}
		s, dst := segment(b, size), make([]byte, size)
		shape := []int{size / 4}
		b.Run(fmt.Sprintf("size=%d/by=judemap", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				if err := s.Fill(shape, judemap.Float32, 1.5); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/by=floor", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Memset(dst, b.N)
		})
	}
}

// BenchmarkWake: from one goroutine to another, parked, and back; against two channels that do nothing else.
func BenchmarkWake(b *testing.B) {
	b.Run("by=judemap", func(b *testing.B) {
		ping, pong := segment(b, 8), segment(b, 8)
		ctx := context.Background()
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range uint64(b.N) {
				if _, err := ping.Next(ctx, 2*i); err != nil {
					b.Error(err)
				}
				if err := pong.Fill(nil, judemap.Uint8, 1); err != nil {
					b.Error(err)
				}
			}
		}()
		b.ResetTimer()
		for i := range uint64(b.N) {
			if err := ping.Fill(nil, judemap.Uint8, 1); err != nil {
				b.Fatal(err)
			}
			if _, err := pong.Next(ctx, 2*i); err != nil {
				b.Fatal(err)
			}
		}
		wg.Wait()
	})
	b.Run("by=floor", func(b *testing.B) {
		type turn struct{ ping, pong chan struct{} }
		turns := make([]turn, b.N)
		for i := range turns {
			turns[i] = turn{make(chan struct{}), make(chan struct{})}
		}
		go func() {
			for _, t := range turns {
				<-t.ping
				close(t.pong)
			}
		}()
		b.ResetTimer()
		for _, t := range turns {
			close(t.ping)
			<-t.pong
		}
	})
}

func BenchmarkCall(b *testing.B) {
	b.Run("by=floor", func(b *testing.B) {
		for range b.N {
			floor.Call()
		}
	})
}
