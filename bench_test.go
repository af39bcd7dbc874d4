//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/judemap/judemap/internal/floor"
)

// Each benchmark stands beside the floor that bounds it, measured in the same run: by=floor is memcpy for the calls
// that copy, memset for Fill, a pair of channels for a wake; by=C++ is the same call in a C++ loop, without Go.
// `make bench` runs them several times over and prints medians, spreads and ratios.

// touched returns memory that has pages of its own: what was never written to is all one page of zeros.
func touched(size int) []byte { return bytes.Repeat([]byte{1}, size) }

// copyFloor is memcpy, by as many threads as the core uses.
func copyFloor(dst, src []byte, n int) {
	if threads := min(runtime.NumCPU(), 4); len(dst) >= 4<<20 && threads > 1 {
		floor.MemcpyThreads(dst, src, threads, n)
	} else {
		floor.Memcpy(dst, src, n)
	}
}

var sizes = []int{24, 4 << 10, 64 << 10, 602112, 8 << 20, 64 << 20} // 602112: a 224x224 RGB float32 picture

func BenchmarkRead(b *testing.B) {
	s := newSegment(b, 1024)
	if err := s.Fill([]int{1, 8, 8, 3}, Float32, 1); err != nil {
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
	s := newSegment(b, 1024)
	if err := s.Fill([]int{1, 8, 8, 3}, Float32, 1); err != nil {
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
		s, src, dst := newSegment(b, size), touched(size), touched(size)
		shape := []int{size}
		b.Run(fmt.Sprintf("size=%d/by=judemap", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				if err := s.Write(shape, Uint8, src); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/by=floor", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			copyFloor(dst, src, b.N)
		})
		b.Run(fmt.Sprintf("size=%d/by=C++", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Commit(size, b.N)
		})
	}
}

func BenchmarkReadInto(b *testing.B) {
	for _, size := range sizes {
		s, src, dst := newSegment(b, size), touched(size), touched(size)
		if err := s.Write([]int{size}, Uint8, src); err != nil {
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
			copyFloor(dst, src, b.N)
		})
	}
}

func BenchmarkFill(b *testing.B) {
	for _, size := range sizes {
		if size < 4096 {
			continue
		}
		s, dst := newSegment(b, size), touched(size)
		shape := []int{size / 4}
		b.Run(fmt.Sprintf("size=%d/by=judemap", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				if err := s.Fill(shape, Float32, 1.5); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("size=%d/by=floor", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			floor.Memset(dst, 1, b.N)
		})
	}
}

// BenchmarkWake: a commit wakes parked goroutines, and the last of them wakes who commits, by a commit too; against the
// same with channels that are closed.
func BenchmarkWake(b *testing.B) {
	for _, waiters := range []int{1, 4, 16, 64, 256} {
		b.Run(fmt.Sprintf("waiters=%d/by=judemap", waiters), func(b *testing.B) {
			ping, pong := newSegment(b, 8), newSegment(b, 8)
			ctx := context.Background()
			wake(b, waiters,
				func(s int) error { return []*Segment{ping, pong}[s].Fill(nil, Uint8, 1) },
				func(s int, round uint64) error {
					_, err := []*Segment{ping, pong}[s].Next(ctx, 2*round)
					return err
				})
		})
		b.Run(fmt.Sprintf("waiters=%d/by=floor", waiters), func(b *testing.B) {
			var sides [2]broadcast
			wake(b, waiters,
				func(s int) error { sides[s].wake(); return nil },
				func(s int, round uint64) error { sides[s].wait(round); return nil })
		})
	}
}

// wake goes back and forth: commit(0) wakes the waiters, the last of them wakes the caller by commit(1).
func wake(b *testing.B, waiters int, commit func(side int) error, wait func(side int, round uint64) error) {
	var wg sync.WaitGroup
	var left atomic.Int64
	for range waiters {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for round := range uint64(b.N) {
				if err := wait(0, round); err != nil {
					b.Error(err)
				}
				if left.Add(-1) == 0 {
					if err := commit(1); err != nil {
						b.Error(err)
					}
				}
			}
		}()
	}
	b.ResetTimer()
	for round := range uint64(b.N) {
		left.Store(int64(waiters))
		if err := commit(0); err != nil {
			b.Fatal(err)
		}
		if err := wait(1, round); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
}

// A broadcast is what Go programs wake many goroutines with: a version, and a channel that the next one closes.
type broadcast struct {
	mu      sync.Mutex
	version uint64
	woken   chan struct{}
}

func (c *broadcast) wake() {
	c.mu.Lock()
	c.version++
	woken := c.woken
	c.woken = nil
	c.mu.Unlock()
	if woken != nil {
		close(woken)
	}
}

func (c *broadcast) wait(version uint64) {
	c.mu.Lock()
	for c.version <= version {
		if c.woken == nil {
			c.woken = make(chan struct{})
		}
		woken := c.woken
		c.mu.Unlock()
		<-woken
		c.mu.Lock()
	}
	c.mu.Unlock()
}

func BenchmarkCall(b *testing.B) {
	b.Run("by=floor", func(b *testing.B) {
		for range b.N {
			floor.Call()
		}
	})
}
