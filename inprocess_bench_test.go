//go:build cgo && linux

package judemap

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/judemap/judemap/internal/floor"
)

// What Go programs hand tensors from one goroutine to others with, beside judemap. A frame is filled by one goroutine,
// all bytes with the low byte of its number, and summed by others. In all benchmarks the program holds 64 MiB of small
// objects, which a collection has to mark.

// A frame as the other ways hand it over.
type inProcessFrame struct {
	number uint64
	data   []byte
}

// A way hands frames from one goroutine to others.
type way struct {
	publish func(number uint64) error // fills a frame and lets the others have it
	// reader makes what a reader calls for each frame: it waits for one that is newer than the last, sums it, and
	// returns its number, 0 at the end.
	reader func() (take func() (uint64, error))
	end    func() // of the writer: readers get 0
}

func sumOf(f inProcessFrame) (uint64, error) {
	if !isAll(f.data, byte(f.number)) {
		return 0, fmt.Errorf("frame %d is another one's in part", f.number)
	}
	return f.number, nil
}

// ways for streams, where the newest frame wins, or with queue none is lost and there is one reader.
func ways(b *testing.B, size int, queue bool) map[string]func() way {
	fresh := func(number uint64) inProcessFrame {
		f := inProcessFrame{number, make([]byte, size)}
		floor.Memset(f.data, byte(number), 1)
		return f
	}
	all := map[string]func() way{
		"stream": func() way {
			var opts []Option
			if queue {
				opts = append(opts, WithEveryFrame())
			}
			s, err := NewStream(6, size, opts...)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.CloseWait() })
			ctx, end := context.WithCancel(context.Background())
			shape := []int{size}
			return way{
				func(number uint64) error { return s.Fill(context.Background(), shape, Uint8, float64(uint8(number))) },
				func() func() (uint64, error) {
					r, err := s.Reader()
					if err != nil {
						b.Fatal(err)
					}
					return func() (uint64, error) {
						frame, err := r.Next(ctx)
						if errors.Is(err, context.Canceled) {
							return 0, nil
						}
						if err != nil {
							return 0, err
						}
						return sumOf(inProcessFrame{frame.Version() / 2, frame.Data()})
					}
				},
				end,
			}
		},
		// Each reader has a channel of its own; one that is full misses the frame, unless none may be lost.
		"channel": func() way {
			var readers []chan inProcessFrame
			return way{
				func(number uint64) error {
					f := fresh(number)
					for _, r := range readers {
						if queue {
							r <- f
							continue
						}
						select {
						case r <- f:
						default:
						}
					}
					return nil
				},
				func() func() (uint64, error) {
					r := make(chan inProcessFrame, 4)
					readers = append(readers, r)
					return func() (uint64, error) {
						f, ok := <-r
						if !ok {
							return 0, nil
						}
						return sumOf(f)
					}
				},
				func() {
					for _, r := range readers {
						close(r)
					}
				},
			}
		},
	}
	if queue {
		// The reader sends the buffers back, which is what a program comes to that allocates nothing.
		all["recycled"] = func() way {
			there, back := make(chan inProcessFrame, 4), make(chan []byte, 4)
			for range cap(back) {
				back <- make([]byte, size)
			}
			return way{
				func(number uint64) error {
					f := inProcessFrame{number, <-back}
					floor.Memset(f.data, byte(number), 1)
					there <- f
					return nil
				},
				func() func() (uint64, error) {
					return func() (uint64, error) {
						f, ok := <-there
						if !ok {
							return 0, nil
						}
						defer func() { back <- f.data }()
						return sumOf(f)
					}
				},
				func() { close(there) },
			}
		}
		return all
	}
	all["segment"] = func() way {
		s := newSegment(b, size)
		ctx, end := context.WithCancel(context.Background())
		shape := []int{size}
		return way{
			func(number uint64) error { return s.Fill(shape, Uint8, float64(uint8(number))) },
			func() func() (uint64, error) {
				last := s.Version()
				return func() (uint64, error) {
					for {
						t, err := s.Next(ctx, last)
						if errors.Is(err, context.Canceled) {
							return 0, nil
						}
						if err != nil {
							return 0, err
						}
						last = t.Version()
						number, err := sumOf(inProcessFrame{last / 2, t.Data()})
						if t.Valid() {
							return number, err
						}
					}
				}
			},
			end,
		}
	}
	// Readers copy what they see under the lock, so that the writer need not wait until they have worked on it.
	all["RWMutex"] = func() way {
		var mu sync.RWMutex
		shared := inProcessFrame{0, touched(size)}
		news := newNews()
		return way{
			func(number uint64) error {
				mu.Lock()
				floor.Memset(shared.data, byte(number), 1)
				shared.number = number
				mu.Unlock()
				news.commit(number)
				return nil
			},
			func() func() (uint64, error) {
				mine := inProcessFrame{0, touched(size)}
				return func() (uint64, error) {
					if !news.after(mine.number) {
						return 0, nil
					}
					mu.RLock()
					copy(mine.data, shared.data)
					mine.number = shared.number
					mu.RUnlock()
					return sumOf(mine)
				}
			},
			news.end,
		}
	}
	all["atomic.Pointer"] = func() way {
		var newest atomic.Pointer[inProcessFrame]
		news := newNews()
		return way{
			func(number uint64) error {
				f := fresh(number)
				newest.Store(&f)
				news.commit(number)
				return nil
			},
			func() func() (uint64, error) {
				last := uint64(0)
				return func() (uint64, error) {
					if !news.after(last) {
						return 0, nil
					}
					f := newest.Load()
					last = f.number
					return sumOf(*f)
				}
			},
			news.end,
		}
	}
	return all
}

// news tells goroutines that there is a newer frame, by a condition variable.
type news struct {
	mu     sync.Mutex
	newer  *sync.Cond
	number uint64
	ended  bool
}

func newNews() *news {
	n := &news{}
	n.newer = sync.NewCond(&n.mu)
	return n
}

func (n *news) commit(number uint64) {
	n.mu.Lock()
	n.number = number
	n.mu.Unlock()
	n.newer.Broadcast()
}

// after waits for a newer frame, and returns false at the end.
func (n *news) after(number uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.number <= number && !n.ended {
		n.newer.Wait()
	}
	return !n.ended
}

func (n *news) end() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.newer.Broadcast()
}

// heap makes 64 MiB of small objects.
func heap() []*[8]uintptr {
	objects := make([]*[8]uintptr, 1<<20)
	for i := range objects {
		objects[i] = new([8]uintptr)
	}
	runtime.GC()
	return objects
}

// collector is what the runtime has spent on collecting garbage so far.
type collector struct {
	at, cpu, cycles, bytes float64 // seconds, processor seconds, collections, bytes allocated
}

func collected() collector {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	return collector{float64(floor.Clock()) / 1e9, samples[0].Value.Float64(),
		float64(samples[1].Value.Uint64()), float64(samples[2].Value.Uint64())}
}

// report reports what was spent since before: in a hundred of the processors' time, in collections a second, and what was
// allocated for a frame.
func (before collector) report(b *testing.B, frames int) {
	now := collected()
	seconds := now.at - before.at
	b.ReportMetric(100*(now.cpu-before.cpu)/seconds/float64(runtime.GOMAXPROCS(0)), "gc-%")
	b.ReportMetric((now.cycles-before.cycles)/seconds, "gc/s")
	b.ReportMetric((now.bytes-before.bytes)/float64(frames), "B/frame")
}

// BenchmarkInProcess: a goroutine makes 1,000 frames of 588 KiB a second, and 4 others sum the newest, in place but for
// RWMutex. p50-ns and p99-ns are of the making and handing over, age-ns from its start to the end of a sum.
func BenchmarkInProcess(b *testing.B) {
	const size, rate, readers = 602112, 1000, 4
	for _, by := range []string{"RWMutex", "atomic.Pointer", "channel", "segment", "stream"} {
		b.Run("by="+by, func(b *testing.B) {
			objects, duration := heap(), seconds(b)
			w := ways(b, size, false)[by]()
			begun := make([]atomic.Int64, 2*rate*b.N)
			ages := make([][]int64, readers)
			var group sync.WaitGroup
			for i := range readers {
				ages[i] = make([]int64, 0, len(begun))
				take := w.reader()
				group.Go(func() {
					for {
						number, err := take()
						if err != nil {
							b.Error(err)
						}
						if number == 0 {
							return
						}
						ages[i] = append(ages[i], floor.Clock()-begun[number].Load())
					}
				})
			}
			times := make([]int64, 0, len(begun))
			before := collected()
			err := pace(rate, until(duration), func(i int) error {
				number := uint64(i + 1)
				start := floor.Clock()
				begun[number].Store(start)
				err := w.publish(number)
				times = append(times, floor.Clock()-start)
				return err
			})
			before.report(b, len(times))
			w.end()
			group.Wait()
			if err != nil {
				b.Fatal(err)
			}
			runtime.KeepAlive(objects)
			reportQuantiles(b, times)
			all := slices.Concat(ages...)
			slices.Sort(all)
			b.ReportMetric(quantile(all, 0.5), "p50-age-ns")
			b.ReportMetric(quantile(all, 0.99), "p99-age-ns")
			b.ReportMetric(float64(len(all))/duration.Seconds(), "reads/s")
		})
	}
}

// BenchmarkQueue: one goroutine makes frames as fast as it can, and another sums all of them.
func BenchmarkQueue(b *testing.B) {
	for _, size := range peerSizes {
		for _, by := range []string{"channel", "recycled", "stream"} {
			b.Run(fmt.Sprintf("size=%d/by=%s", size, by), func(b *testing.B) {
				objects := heap()
				w := ways(b, size, true)[by]()
				frames := uint64(frameCount(size) / 4 * b.N)
				take := w.reader()
				ended := make(chan struct{})
				before, begun := collected(), time.Now()
				go func() {
					for next := uint64(1); next <= frames; next++ {
						number, err := take()
						if err == nil && number != next {
							err = fmt.Errorf("frame %d comes where %d should", number, next)
						}
						if err != nil {
							panic(err) // the writer may wait without end
						}
					}
					close(ended)
				}()
				for number := range frames {
					if err := w.publish(number + 1); err != nil {
						b.Fatal(err)
					}
				}
				<-ended
				took := time.Since(begun)
				before.report(b, int(frames))
				w.end()
				runtime.KeepAlive(objects)
				reportFrames(b, took, int(frames))
			})
		}
	}
}
