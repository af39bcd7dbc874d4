package judemap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Two goroutines hand a turn back and forth, each parked until the other's commit: one lost wake, and both sleep.
func TestNoLostWake(t *testing.T) {
	a, b := newSegment(t, 8), newSegment(t, 8)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const rounds = 50000
	// Round i of a is version 2i+2 of it; b answers with the same version of its own.
	done := make(chan error)
	go func() {
		for i := range uint64(rounds) {
			if _, err := a.Next(ctx, 2*i); err != nil {
				done <- fmt.Errorf("b, round %d: %w", i, err)
				return
			}
			if err := b.Fill([]int{1}, Uint8, 1); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range uint64(rounds) {
		if err := a.Fill([]int{1}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Next(ctx, 2*i); err != nil {
			t.Errorf("a, round %d: %v", i, err)
			break
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOneCommitWakesAll(t *testing.T) {
	s := newSegment(t, 8)
	const readers = 10000
	var parked, woken sync.WaitGroup
	var failed atomic.Int32
	for range readers {
		parked.Add(1)
		woken.Add(1)
		go func() {
			defer woken.Done()
			parked.Done()
			if got, err := s.ReadWait(context.Background()); err != nil || got.Version() != 2 {
				failed.Add(1)
			}
		}()
	}
	parked.Wait()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	if err := s.Fill([]int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	woken.Wait()
	t.Logf("%d parked readers were awake %v after the commit", readers, time.Since(start))
	if n := failed.Load(); n != 0 {
		t.Errorf("%d of %d readers failed", n, readers)
	}
}

func TestWaitEnds(t *testing.T) {
	for name, wait := range map[string]func(*Segment, context.Context) error{
		"ReadWait":     func(s *Segment, ctx context.Context) error { _, err := s.ReadWait(ctx); return err },
		"ReadCopyWait": func(s *Segment, ctx context.Context) error { _, err := s.ReadCopyWait(ctx); return err },
		"Next":         func(s *Segment, ctx context.Context) error { _, err := s.Next(ctx, 2); return err },
		"Frames": func(s *Segment, ctx context.Context) (err error) {
			for _, err = range s.Frames(ctx) {
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, end := range []struct {
				name string
				end  func(*Segment, context.CancelFunc)
				want error
			}{
				{"cancel", func(_ *Segment, cancel context.CancelFunc) { cancel() }, context.Canceled},
				{"Close", func(s *Segment, _ context.CancelFunc) { _ = s.Close() }, ErrClosed},
			} {
				s := newSegment(t, 8)
				if strings.HasPrefix(name, "Next") || name == "Frames" { // these wait for the next even where there is one
					if err := s.Fill([]int{1}, Uint8, 1); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error)
				go func() { done <- wait(s, ctx) }()
				time.Sleep(10 * time.Millisecond)
				end.end(s, cancel)
				select {
				case err := <-done:
					if !errors.Is(err, end.want) {
						t.Errorf("%s: %v, want %v", end.name, err, end.want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("%s did not end the wait", end.name)
				}
				cancel()
			}
			// An ended context ends the call even where there is something to read.
			s := newSegment(t, 8)
			if err := s.Fill([]int{1}, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 0)
			defer cancel()
			if err := wait(s, ctx); err != context.DeadlineExceeded {
				t.Errorf("an ended context: %v", err)
			}
		})
	}
}
