//go:build cgo && linux

// These tests share segments with programs that mean harm.

package judemap

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHostilePeer has another process write random words over the header and the reserved block, while readers read,
// wait and copy: they get errors or tensors that lie in the segment, and nothing crashes or hangs.
func TestHostilePeer(t *testing.T) {
	if !isChild(t) {
		probe := named(t, 1) // skips where there is no sharing
		_ = probe
		if out, err := child(t, t.Name()).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		} else {
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "calls") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
		return
	}
	const size = 64 << 10
	s := named(t, size)
	ctx, cancel := context.WithTimeout(context.Background(), 2*stressTime(t))
	defer cancel()
	readers := []*Segment{s, reopen(t, s), reopen(t, s), reopen(t, s, WithReadOnly())}
	hostile := startRole(t, "scribble", s.Name())
	var wg sync.WaitGroup
	var calls, tensors atomic.Int64
	for _, reader := range readers {
		for name, read := range reads {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil {
					var got Tensor
					var err error
					short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
					if wait := waits[name]; wait != nil {
						got, err = wait(short, reader, 0)
					} else {
						got, err = read(reader)
					}
					cancel()
					calls.Add(1)
					if err != nil {
						continue
					}
					tensors.Add(1)
					sum := byte(0)
					for _, b := range got.Data() { // all of it can be touched
						sum += b
					}
					length := got.DType().Size()
					for _, d := range got.Shape() {
						length *= d
					}
					if len(got.Data()) > size || length != len(got.Data()) {
						t.Errorf("%s: %v of %v with %d bytes (%d)", name, got.Shape(), got.DType(), len(got.Data()), sum)
						return
					}
				}
			}()
		}
	}
	wg.Add(1)
	go func() { // a writer beside it
		defer wg.Done()
		for ctx.Err() == nil {
			if err := s.Fill([]int{size}, Uint8, 3); err != nil {
				t.Errorf("Fill: %v", err)
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	<-ctx.Done()
	time.Sleep(10 * time.Millisecond)
	hostile.kill(t)
	// Readers that an odd sequence keeps waiting wait for a writer that is alive: it ends that with its next commit.
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			t.Logf("%d calls, %d tensors", calls.Load(), tensors.Load())
			return
		case <-time.After(10 * time.Millisecond):
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
}
