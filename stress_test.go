// This test reads in all ways at once under a writer that never pauses.

package judemap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestStress(t *testing.T) {
	for _, size := range []int{24, 4 << 10, 1 << 20, 8 << 20} {
		t.Run(fmt.Sprintf("%dB", size), func(t *testing.T) {
			t.Parallel()
			n := size / 8
			s := newSegment(t, size)
			// Each reader goes on for this long, and until it has read something.
			enough := time.Now().Add(stressTime(t))
			ctx, cancel := context.WithTimeout(context.Background(), stressTime(t)+time.Minute)
			defer cancel()
			buf := make([]byte, size)
			last := uint64(0)
			readers := map[string]func() (Tensor, error){
				"Read":     s.Read,
				"TryRead":  s.TryRead,
				"ReadCopy": func() (Tensor, error) { return s.ReadCopy(ctx) },
				"ReadInto": func() (Tensor, error) { return s.ReadInto(buf) },
				"ReadWait": func() (Tensor, error) { return s.ReadWait(ctx) },
				"Next":     func() (Tensor, error) { t, err := s.Next(ctx, last); last = t.Version(); return t, err },
				"NextInto": func() (Tensor, error) { return s.NextInto(ctx, s.Version(), make([]byte, size)) },
			}
			var wg sync.WaitGroup
			for name, read := range readers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					good, version := 0, uint64(0)
					for time.Now().Before(enough) || good == 0 && name != "TryRead" {
						got, err := read()
						if errors.Is(err, ErrEmpty) || err == ErrBusy {
							continue
						}
						if err == nil {
							err = checkStress(&got, n)
						}
						if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
						if got.Version() < version {
							t.Errorf("%s: version %d after %d", name, got.Version(), version)
							return
						}
						version = got.Version()
						good++
					}
				}()
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				version := uint64(0)
				for got, err := range s.Frames(ctx) {
					if err != nil {
						t.Errorf("Frames: %v", err)
						return
					}
					if err := checkStress(&got, n); err != nil {
						t.Errorf("Frames: %v", err)
						return
					}
					if got.Version() <= version {
						t.Errorf("Frames: version %d after %d", got.Version(), version)
					}
					if version = got.Version(); time.Now().After(enough) {
						return
					}
				}
			}()
			stop := make(chan struct{})
			wrote := make(chan error)
			go func() { wrote <- stressWriter(s, n, stop) }()
			wg.Wait()
			close(stop)
			if err := <-wrote; err != nil {
				t.Errorf("writing: %v", err)
			}
			t.Logf("%d commits", s.Version()/2)
		})
	}
}
