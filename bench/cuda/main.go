//go:build cgo && linux && (amd64 || arm64)

// Command cuda measures copies from segments to a CUDA device: from an ordinary segment, one that is page-locked (Pin) and
// one that the driver knows (RegisterCUDA). It checks what arrives on the device, and whether a copy goes on beside other
// work there. It is built where there is Go, and needs nothing of CUDA but the driver where it runs; without one it prints
// SKIP, and why.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/judemap/judemap"
)

func main() {
	number := flag.Int("device", 0, "`number` of the CUDA device")
	most := flag.Int("max", 1024, "the largest copy, in `MiB`")
	rounds := flag.Int("rounds", 15, "how often each copy is measured")
	flag.Parse()
	if *most < 1 || *rounds < 1 || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	err := run(os.Stdout, *number, *most<<20, *rounds)
	if errors.Is(err, errNoDevice) {
		fmt.Printf("SKIP: %v\n", err)
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cuda: %v\n", err)
		os.Exit(1)
	}
}

const workBytes = 256 << 20 // of memory that the work sets

// source is one kind of segment.
type source struct {
	name    string
	prepare func(*judemap.Segment) error
	segment *judemap.Segment
	denied  error // why there is none of this kind
}

// bench is what measurements have in common.
type bench struct {
	out          io.Writer
	device       *device
	sources      []*source
	copies, work queue
	target       buffer
	scratch      buffer
	scratchBytes int
	rounds       int
}

func run(out io.Writer, number, most, rounds int) (err error) {
	d, err := openDevice(number)
	if err != nil {
		return err
	}
	b := &bench{out: out, device: d, rounds: rounds, scratchBytes: min(workBytes, 4*most), sources: []*source{
		{name: "ordinary", prepare: func(*judemap.Segment) error { return nil }},
		{name: "page-locked", prepare: (*judemap.Segment).Pin},
		{name: "registered", prepare: func(s *judemap.Segment) error { return s.RegisterCUDA(number) }},
	}}
	defer func() { err = errors.Join(err, b.close()) }()
	fmt.Fprintf(out, "%s, CUDA %s, %s/%s, %d processors, %s\n\n", d.name, d.version, runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), runtime.Version())
	if err := b.open(most); err != nil {
		return err
	}
	for _, step := range []func(most int) error{b.checkSegments, b.checkFrames, b.bandwidth, b.overlap} {
		if err := step(most); err != nil {
			return err
		}
	}
	return nil
}

// open makes a segment of each kind, and what there is on the device.
func (b *bench) open(most int) (err error) {
	for i, s := range b.sources {
		if s.segment, err = judemap.New(most, judemap.WithPopulate()); err != nil {
			return err
		}
		err = judemap.UpdateSlice(s.segment, []int{most / 8}, func(words []uint64) error {
			fill(words, uint64(i))
			return nil
		})
		if err != nil {
			return err
		}
		if s.denied = s.prepare(s.segment); s.denied != nil && !errors.Is(s.denied, judemap.ErrPinDenied) {
			return s.denied
		}
	}
	if b.target, err = newBuffer(most); err != nil {
		return err
	}
	if b.scratch, err = newBuffer(b.scratchBytes); err != nil {
		return err
	}
	if b.copies, err = newQueue(); err != nil {
		return err
	}
	b.work, err = newQueue()
	return err
}

func (b *bench) close() error {
	var errs []error
	for _, q := range []queue{b.copies, b.work} {
		if q.stream != nil {
			errs = append(errs, q.wait(), q.free())
		}
	}
	for _, memory := range []buffer{b.target, b.scratch} {
		if memory != 0 {
			errs = append(errs, memory.free())
		}
	}
	for _, s := range b.sources {
		if s.segment != nil {
			errs = append(errs, s.segment.CloseWait())
		}
	}
	return errors.Join(append(errs, b.device.close())...)
}

// fill makes words that none repeats.
func fill(words []uint64, seed uint64) {
	for i := range words {
		words[i] = (uint64(i) + seed<<40) * 0x9E3779B97F4A7C15
	}
}

// arrived compares what is on the device with what was sent.
func (b *bench) arrived(want []byte, what string) error {
	got := make([]byte, len(want))
	if err := b.target.read(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		return fmt.Errorf("%s: byte %d of %d is %#x on the device, and %#x in the segment", what, i, len(want), got[i], want[i])
	}
	return nil
}

// wipe sets what is on the device, so that what arrived before does not pass for what arrives.
func (b *bench) wipe(n int) error {
	if err := b.copies.set(b.target, 0xA5, n); err != nil {
		return err
	}
	return b.copies.wait()
}

// checkSegments copies a whole segment of each kind, and reads the registered one at the address that the device has.
func (b *bench) checkSegments(most int) error {
	for _, s := range b.sources {
		if s.denied != nil {
			continue
		}
		view, err := s.segment.Read()
		if err != nil {
			return err
		}
		data := view.Data()
		if err := errors.Join(b.wipe(most), b.copies.copy(b.target, view.DataPtr(), len(data)), b.copies.wait()); err != nil {
			return err
		}
		if err := b.arrived(data, "a segment, "+s.name); err != nil {
			return err
		}
		if pointer := s.segment.DevicePtr(); pointer != 0 {
			if err := errors.Join(b.wipe(most), b.copies.copyMapped(b.target, pointer, len(data)), b.copies.wait()); err != nil {
				return err
			}
			if err := b.arrived(data, "a segment, "+s.name+", at the device's address"); err != nil {
				return err
			}
		}
		runtime.KeepAlive(&view)
		fmt.Fprintf(b.out, "a segment of %s, %s: whole on the device\n", size(len(data)), s.name)
	}
	return nil
}

// checkFrames has a device copy frames of a registered stream while the writer goes on.
func (b *bench) checkFrames(most int) error {
	ctx := context.Background()
	bytes := min(most, 1<<20)
	s, err := judemap.NewStream(4, bytes)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.RegisterCUDA(b.device.number); err != nil {
		return err
	}
	r, err := s.Reader()
	if err != nil {
		return err
	}
	commit := func(n uint64) error {
		return s.Update(ctx, []int{bytes / 8}, judemap.Uint64, func(data []byte) error {
			fill(unsafe.Slice((*uint64)(unsafe.Pointer(&data[0])), len(data)/8), n)
			return nil
		})
	}
	const frames = 16
	for n := range uint64(frames) {
		if err := commit(n); err != nil {
			return err
		}
		frame, err := r.Next(ctx) // held until the next Next, and so until the copy is over
		if err != nil {
			return err
		}
		if err := b.wipe(bytes); err != nil {
			return err
		}
		if n%2 == 0 {
			err = b.copies.copy(b.target, frame.DataPtr(), bytes)
		} else {
			err = b.copies.copyMapped(b.target, frame.DevicePtr(), bytes)
		}
		if err := errors.Join(err, commit(n+frames), b.copies.wait()); err != nil {
			return err
		}
		if err := b.arrived(frame.Data(), "a frame"); err != nil {
			return err
		}
		if !frame.Valid() {
			return errors.New("a frame changed while it was held")
		}
	}
	fmt.Fprintf(b.out, "%d frames of %s, of a registered stream: whole on the device\n", frames, size(bytes))
	return nil
}

// bandwidth prints how fast copies of several sizes are. The kinds take turns.
func (b *bench) bandwidth(most int) error {
	fmt.Fprintf(b.out, "\nHost to device, GB/s, medians of %d, the least and the greatest in brackets:\n\n| copy |", b.rounds)
	for _, s := range b.sources {
		fmt.Fprintf(b.out, " %s |", s.name)
	}
	fmt.Fprint(b.out, "\n|---|---|---|---|\n")
	for n := 1 << 20; n <= most; n *= 4 {
		times := make([][]time.Duration, len(b.sources))
		for round := -1; round < b.rounds; round++ { // the first one is not counted
			for i, s := range b.sources {
				if s.denied != nil {
					continue
				}
				took, _, err := b.timed(s, n, 0)
				if err != nil {
					return err
				}
				if round >= 0 {
					times[i] = append(times[i], took)
				}
			}
		}
		fmt.Fprintf(b.out, "| %s |", size(n))
		for i, s := range b.sources {
			if s.denied != nil {
				fmt.Fprint(b.out, " denied |")
				continue
			}
			rate := func(d time.Duration) float64 { return float64(n) / d.Seconds() / 1e9 }
			t := times[i]
			slices.Sort(t)
			fmt.Fprintf(b.out, " %.1f [%.1f %.1f] |", rate(t[len(t)/2]), rate(t[len(t)-1]), rate(t[0]))
		}
		fmt.Fprintln(b.out)
	}
	for _, s := range b.sources {
		if s.denied != nil {
			fmt.Fprintf(b.out, "\n%s: %v\n", s.name, s.denied)
		}
	}
	return nil
}

// timed takes the time of n bytes of copy (0: none) beside so many rounds of work, and of the call that begins the copy.
func (b *bench) timed(s *source, n, work int) (all, call time.Duration, err error) {
	start := time.Now()
	for range work {
		if err := b.work.set(b.scratch, 1, b.scratchBytes); err != nil {
			return 0, 0, err
		}
	}
	if n > 0 {
		begun := time.Now()
		if err := b.copies.copy(b.target, s.segment.DataPtr(), n); err != nil {
			return 0, 0, err
		}
		call = time.Since(begun)
		if err := b.copies.wait(); err != nil {
			return 0, 0, err
		}
	}
	if work > 0 {
		if err := b.work.wait(); err != nil {
			return 0, 0, err
		}
	}
	return time.Since(start), call, nil
}

// overlap prints how long a copy takes, as much work on the device, and both at once.
func (b *bench) overlap(most int) error {
	n := min(most, 256<<20)
	fmt.Fprintf(b.out, "\nA copy of %s beside work on the device (its memory is set), ms, medians of %d. Copies that overlap with\n"+
		"work take less together than one after the other:\n\n| segment | copy | the call alone | work | both | one after the other |\n"+
		"|---|---|---|---|---|---|\n", size(n), b.rounds)
	for _, s := range b.sources {
		if s.denied != nil {
			continue
		}
		copyAlone, call, err := b.median(s, n, 0)
		if err != nil {
			return err
		}
		once, _, err := b.median(s, 0, 1)
		if err != nil {
			return err
		}
		work := max(1, int(copyAlone/max(once, 1)))
		workAlone, _, err := b.median(s, 0, work)
		if err != nil {
			return err
		}
		both, _, err := b.median(s, n, work)
		if err != nil {
			return err
		}
		ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
		fmt.Fprintf(b.out, "| %s | %.2f | %.2f | %.2f | %.2f | %.2f |\n", s.name, ms(copyAlone), ms(call), ms(workAlone), ms(both),
			ms(copyAlone+workAlone))
	}
	return nil
}

func (b *bench) median(s *source, n, work int) (all, call time.Duration, err error) {
	var alls, calls []time.Duration
	for round := -1; round < b.rounds; round++ {
		all, call, err := b.timed(s, n, work)
		if err != nil {
			return 0, 0, err
		}
		if round >= 0 {
			alls, calls = append(alls, all), append(calls, call)
		}
	}
	slices.Sort(alls)
	slices.Sort(calls)
	return alls[len(alls)/2], calls[len(calls)/2], nil
}

func size(bytes int) string {
	if bytes%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
