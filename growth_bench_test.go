//go:build cgo && linux

package judemap

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/judemap/judemap/internal/floor"
)

// How cost grows with the size of a payload, the number of readers, and the number of segments: what `make plots` draws,
// with BenchmarkWake, BenchmarkCommitBesideReaders and BenchmarkManySegments. A read is Read, and Valid after it: a view.

func readValid(s *Segment) error {
	t, err := s.Read()
	if err == nil && !t.Valid() {
		err = fmt.Errorf("the view of version %d did not last", t.Version())
	}
	return err
}

// BenchmarkGrowSize: payloads of 24 bytes to 1 GiB, in uint8. by=memcpy is a copy by as many threads as the core uses.
func BenchmarkGrowSize(b *testing.B) {
	const largest = 1 << 30
	var source, target []byte // made when the first is measured, and used for all
	for _, size := range []int{24, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20,
		64 << 20, 256 << 20, largest} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			if need := 3 * uint64(size); size > 64<<20 && freeMemory(b) < need+1<<30 {
				b.Skipf("SKIP: it takes %d MiB of memory, and one more GiB is to stay free", need>>20)
			}
			if source == nil {
				source, target = make([]byte, largest), make([]byte, largest)
			}
			// Pages that were never written to are all the system's one page of zeros.
			src, dst, shape := source[:size], target[:size], []int{size}
			floor.Memset(src, 1, 1)
			floor.Memset(dst, 1, 1)
			s := newSegment(b, size)
			if err := s.Write(shape, Uint8, src); err != nil {
				b.Fatal(err)
			}
			repeat := func(do func() error) func(int) error {
				return func(n int) error {
					for range n {
						if err := do(); err != nil {
							return err
						}
					}
					return nil
				}
			}
			for _, op := range []struct {
				name string
				do   func(n int) error
			}{
				{"Read", repeat(func() error { return readValid(s) })},
				{"ReadInto", repeat(func() error { _, err := s.ReadInto(dst); return err })},
				{"Write", repeat(func() error { return s.Write(shape, Uint8, src) })},
				{"memcpy", func(n int) error { copyFloor(dst, src, n); return nil }},
			} {
				b.Run("by="+op.name, func(b *testing.B) {
					if err := op.do(b.N); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
	}
}

// freeMemory returns how much the system can give, without what it could take from its caches.
func freeMemory(b *testing.B) uint64 {
	b.Helper()
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		b.Fatal(err)
	}
	return uint64(info.Freeram) * uint64(info.Unit)
}

// BenchmarkGrowReaders: 1 to 64 goroutines read one segment. cpu-ns/read is what a read costs a processor.
func BenchmarkGrowReaders(b *testing.B) {
	s := newSegment(b, 1024)
	if err := s.Fill([]int{1, 8, 8, 3}, Float32, 1); err != nil {
		b.Fatal(err)
	}
	for _, readers := range []int{1, 2, 4, 8, 16, 32, 64} {
		b.Run(fmt.Sprintf("readers=%d/by=Read", readers), func(b *testing.B) {
			var group sync.WaitGroup
			before := cpuTime(b)
			for range readers {
				group.Go(func() {
					for range b.N {
						if err := readValid(s); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*readers), "cpu-ns/read")
		})
	}
}

// BenchmarkGrowSegments: 1 to 1,000 segments are open. by=one reads always the same of them, by=turn one after the other,
// so that a read finds its header in a cache that is as far away as all of them together are large.
func BenchmarkGrowSegments(b *testing.B) {
	for _, n := range []int{1, 3, 10, 30, 100, 300, 1000} {
		b.Run(fmt.Sprintf("segments=%d", n), func(b *testing.B) {
			segments := make([]*Segment, n)
			for i := range segments {
				segments[i] = newSegment(b, 1024)
				if err := segments[i].Fill([]int{1, 8, 8, 3}, Float32, 1); err != nil {
					b.Fatal(err)
				}
			}
			for _, by := range []string{"one", "turn"} {
				b.Run("by="+by, func(b *testing.B) {
					for i := range b.N {
						s := segments[0]
						if by == "turn" {
							s = segments[i%n]
						}
						if err := readValid(s); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
