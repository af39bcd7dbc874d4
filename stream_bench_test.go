//go:build cgo && linux

package judemap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/judemap/judemap/internal/floor"
)

// startReaders runs a role in processes of its own, each with the stream's name and args, and waits until all read.
func startReaders(t testing.TB, s *Stream, n int, role string, args ...string) []*process {
	t.Helper()
	var others []*process
	for range n {
		others = append(others, startRole(t, role, append([]string{"--", s.Name()}, args...)...))
	}
	eventually(t, "all readers are there", func() bool { return len(s.Readers()) == n })
	return others
}

func waitFor(t testing.TB, others []*process) {
	t.Helper()
	for _, other := range others {
		if err := other.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, other.output.String())
		}
	}
}

// spins says for how long who waits spins in these benchmarks: not at all; some 200 pauses; or until it is over.
var spins = map[string]time.Duration{"blocking": 0, "spinning": 10 * time.Microsecond, "polling": time.Minute}

// BenchmarkFrames: a process fills frames as fast as it can, and another sums all bytes of each; every frame counts, and
// there are 4 slots. ns/op is the time of one frame, from the first that is measured to the end of the last sum.
// by=judemap is between two Go processes, and by=C++ the same with the core's calls, without Go; by=socket and by=pipe
// are those of peers_bench_test.go. bench/iceoryx2 and bench/peers.py do the same, and `make bench` runs them in turn
// with these.
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{64, 602112, 1 << 20, 8 << 20} {
		for _, wait := range []string{"blocking", "spinning", "polling"} {
			for _, by := range []string{"C++", "judemap"} {
				b.Run(fmt.Sprintf("size=%d/wait=%s/by=%s", size, wait, by), func(b *testing.B) {
					frames := frameCount(size)
					warm := frames / 10
					var sum time.Duration
					for range b.N {
						s := namedStream(b, 4, size, WithEveryFrame(), WithSpin(spins[wait]))
						others := startReaders(b, s, 1, "sum", wait, strconv.Itoa(frames), by)
						writeFrames(b, s, size, warm, wait, by)
						begun := time.Now()
						writeFrames(b, s, size, frames-warm, wait, by)
						waitFor(b, others)
						sum += time.Since(begun)
					}
					reportFrames(b, sum, b.N*(frames-warm))
				})
			}
		}
		for _, by := range []string{"socket", "pipe"} {
			if slices.Contains(peerSizes, size) {
				b.Run(fmt.Sprintf("size=%d/wait=blocking/by=%s", size, by), func(b *testing.B) { byteFrames(b, by, size) })
			}
		}
	}
}

// frameCount is how many frames of a size an iteration has, a tenth of which come before those that are measured.
func frameCount(size int) int { return max(int(min(1<<32/int64(size), 300_000)), 500) }

func reportFrames(b *testing.B, took time.Duration, frames int) {
	each := float64(took) / float64(frames)
	b.ReportMetric(each, "ns/op")
	b.ReportMetric(1e9/each, "frames/s")
}

func writeFrames(b *testing.B, s *Stream, size, frames int, wait, by string) {
	if by == "C++" {
		if n := floor.WriteFrames(s.Name(), size, frames, spins[wait]); n != frames {
			b.Fatalf("%d of %d frames were written", n, frames)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range frames {
		if err := s.Fill(ctx, []int{size}, Uint8, float64(uint8(s.Version()/2+1))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeldFrames: a writer commits 1,000 frames of 588 KiB a second to a stream where the newest wins, and a reader in
// another process works 10 ms on each that it gets, and sums it before and after. by=floor is the writer alone. The times
// are those of a commit; invalid are frames that changed while they were held.
func BenchmarkHeldFrames(b *testing.B) {
	const size, rate = 602112, 1000
	for _, by := range []string{"floor", "judemap"} {
		b.Run("by="+by, func(b *testing.B) {
			s := namedStream(b, 4, size)
			var others []*process
			if by == "judemap" {
				others = startReaders(b, s, 1, "work", "10ms")
			}
			times := make([]int64, 0, 2*rate*b.N)
			err := pace(rate, until(seconds(b)), func(i int) error {
				begun := floor.Clock()
				err := s.Fill(context.Background(), []int{size}, Uint8, float64(uint8(s.Version()/2+1)))
				times = append(times, floor.Clock()-begun)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			reportQuantiles(b, times)
			for _, other := range others {
				_ = s.Fill(context.Background(), []int{0}, Uint8, 0) // an empty frame ends it
				if err := other.Wait(); err != nil {
					b.Fatalf("%v\n%s", err, other.output.String())
				}
				var seen, missed, invalid float64
				if _, err := fmt.Sscan(other.output.String(), &seen, &missed, &invalid); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(seen/seconds(b).Seconds(), "frames/s")
				b.ReportMetric(invalid, "invalid")
			}
		})
	}
}

// BenchmarkCommitBesideReaders: the cost of a commit of 64 bytes where the newest wins, with so many readers in another
// process, each of which takes a frame every 100 µs; none is parked.
func BenchmarkCommitBesideReaders(b *testing.B) {
	for _, readers := range []int{0, 1, 2, 4, 8, 16, 32, 64} {
		b.Run(fmt.Sprintf("readers=%d/by=judemap", readers), func(b *testing.B) {
			s := namedStream(b, readers+2, 64)
			var others []*process
			if readers > 0 {
				others = append(others, startRole(b, "sample", "--", s.Name(), strconv.Itoa(readers)))
			}
			eventually(b, "all readers are there", func() bool { return len(s.Readers()) == readers })
			data, shape := make([]byte, 64), []int{64}
			b.ResetTimer()
			for b.Loop() {
				if err := s.Write(context.Background(), shape, Uint8, data); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			for _, other := range others {
				other.kill(b)
			}
		})
	}
}

// BenchmarkCommitToView: the time from a commit of the clock in another process, 2,000 times a second, to the view of it,
// by a goroutine that waits in Next: of a segment, of a stream, and of a stream whose reader spins first.
func BenchmarkCommitToView(b *testing.B) {
	const rate = 2000
	for _, kind := range []string{"segment", "stream", "stream-every", "stream-spin"} {
		b.Run("of="+kind+"/by=judemap", func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ages := make([]int64, 0, 2*rate*b.N)
			time.AfterFunc(seconds(b), cancel)
			var other *process
			var err error
			if kind == "segment" {
				s := named(b, 64)
				other = startRole(b, "commit", s.Name(), strconv.Itoa(rate))
				ages, err = clockAges(ctx, s, ages)
			} else {
				var opts []Option
				if kind == "stream-every" {
					opts = append(opts, WithEveryFrame())
				}
				if kind == "stream-spin" {
					opts = append(opts, WithSpin(time.Millisecond))
				}
				s := namedStream(b, 4, 64, opts...)
				var r *Reader
				if r, err = s.Reader(); err != nil {
					b.Fatal(err)
				}
				other = startRole(b, "stream-clock", "--", s.Name(), strconv.Itoa(rate))
				for err == nil {
					var frame Tensor
					if frame, err = r.Next(ctx); err == nil {
						now := floor.Clock()
						at, _, clockErr := clockOf(&frame)
						ages, err = append(ages, now-at), clockErr
					}
				}
			}
			if !errors.Is(err, context.Canceled) {
				b.Fatal(err)
			}
			other.kill(b)
			reportQuantiles(b, ages)
		})
	}
}

// isWhole says whether all bytes of a frame are the low byte of its number, by their sum.
func isWhole(frame *Tensor) bool {
	return isAll(frame.Data(), byte(frame.Version()/2))
}

func init() {
	// open opens the stream that a role is given by name, and gives it a reader.
	open := func(name string, opts ...Option) (*Stream, *Reader, error) {
		s, err := OpenStream(name, opts...)
		if err != nil {
			return nil, nil, err
		}
		r, err := s.Reader()
		return s, r, err
	}
	// sum NAME WAIT FRAMES BY takes so many frames, one after the other, and checks the sum of each.
	roles["sum"] = func(_ *Segment, args []string) error {
		if frames := number(args[2]); args[3] == "C++" {
			if n := floor.SumFrames(args[0], frames, spins[args[1]]); n != frames {
				return fmt.Errorf("only %d of %d frames were right", n, frames)
			}
			return nil
		}
		_, r, err := open(args[0], WithSpin(spins[args[1]]))
		if err != nil {
			return err
		}
		last := uint64(0)
		for range number(args[2]) {
			frame, err := r.Next(context.Background())
			if err != nil {
				return err
			}
			n := frame.Version() / 2
			if last != 0 && n != last+1 {
				return fmt.Errorf("frame %d comes after %d", n, last)
			}
			last = n
			if !isWhole(&frame) {
				return fmt.Errorf("frame %d is another one's in part", n)
			}
		}
		return nil
	}
	// work NAME DURATION works so long on each frame, until one is empty, and prints how many it had, missed, and saw change.
	roles["work"] = func(_ *Segment, args []string) error {
		work, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		_, r, err := open(args[0])
		if err != nil {
			return err
		}
		seen, invalid := 0, 0
		for frame, err := range r.Frames(context.Background()) {
			if err != nil {
				return err
			}
			if len(frame.Data()) == 0 {
				break
			}
			before := isWhole(&frame)
			time.Sleep(work)
			if !before || !isWhole(&frame) || !frame.Valid() {
				invalid++
			}
			seen++
		}
		fmt.Println(seen, r.Missed(), invalid)
		return nil
	}
	// sample NAME READERS has so many readers take the newest frame now and then, until it is killed.
	roles["sample"] = func(_ *Segment, args []string) error {
		s, err := OpenStream(args[0])
		if err != nil {
			return err
		}
		var readers []*Reader
		for range number(args[1]) {
			r, err := s.Reader()
			if err != nil {
				return err
			}
			readers = append(readers, r)
		}
		for {
			for _, r := range readers {
				if _, err := r.Next(context.Background()); err != nil {
					return err
				}
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	// stream-clock NAME RATE commits the clock, until it is killed.
	roles["stream-clock"] = func(_ *Segment, args []string) error {
		s, err := OpenStream(args[0])
		if err != nil {
			return err
		}
		return pace(number(args[1]), never, func(int) error {
			return StreamSlice(context.Background(), s, []int{1}, []int64{floor.Clock()})
		})
	}
}
