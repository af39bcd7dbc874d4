//go:build cgo && linux

package judemap

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/judemap/judemap/internal/floor"
)

// BenchmarkWriterAmongReaders: a goroutine that writes a picture of 602,112 bytes 1,000 times a second, among 8 that
// copy it without a pause. Reported are the commits that it comes to, the time of a Write, and what the readers get.
// by=floor copies the same bytes under a sync.RWMutex.
func BenchmarkWriterAmongReaders(b *testing.B) {
	const size, rate, readers = 602112, 1000, 8
	run := func(b *testing.B, write func(data []byte) error, read func(dst []byte) error) {
		data := bytes.Repeat([]byte{1}, size) // written, or it would be the system's one page of zeros over and over
		if err := write(data); err != nil {
			b.Fatal(err)
		}
		duration := seconds(b)
		times := make([]int64, 0, rate*b.N)
		var reads, ended atomic.Int64
		var group sync.WaitGroup
		for range readers {
			group.Go(func() {
				for dst := make([]byte, size); ended.Load() == 0; reads.Add(1) {
					if err := read(dst); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		err := pace(rate, until(duration), func(int) error {
			start := floor.Clock()
			err := write(data)
			times = append(times, floor.Clock()-start)
			return err
		})
		ended.Store(1)
		group.Wait()
		if err != nil {
			b.Fatal(err)
		}
		reportQuantiles(b, times)
		b.ReportMetric(float64(len(times))/duration.Seconds(), "commits/s")
		b.ReportMetric(float64(reads.Load())/duration.Seconds(), "reads/s")
	}
	b.Run("by=judemap", func(b *testing.B) {
		s := newSegment(b, size)
		run(b, func(data []byte) error { return s.Write([]int{size}, Uint8, data) },
			func(dst []byte) error { _, err := s.ReadInto(dst); return err })
	})
	b.Run("by=floor", func(b *testing.B) {
		var mu sync.RWMutex
		shared := make([]byte, size)
		run(b, func(data []byte) error { mu.Lock(); copy(shared, data); mu.Unlock(); return nil },
			func(dst []byte) error { mu.RLock(); copy(dst, shared); mu.RUnlock(); return nil })
	})
}
