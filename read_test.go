package judemap

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadsAgree(t *testing.T) {
	steps := []struct {
		name  string
		write func(*Segment) error
		want  seen
	}{
		{"Write", func(s *Segment) error { return s.Write([]int{2, 1}, Int16, []byte{1, 2, 3, 4}) },
			seen{[]int{2, 1}, Int16, []byte{1, 2, 3, 4}, 2, true}},
		{"WriteSlice", func(s *Segment) error { return WriteSlice(s, []int{3}, []uint16{0x0201, 0x0403, 0x0605}) },
			seen{[]int{3}, Uint16, []byte{1, 2, 3, 4, 5, 6}, 4, true}},
		{"Fill", func(s *Segment) error { return s.Fill([]int{2, 2}, Int8, -1.9) },
			seen{[]int{2, 2}, Int8, []byte{255, 255, 255, 255}, 6, true}},
		{"Update", func(s *Segment) error {
			return s.Update([]int{1, 1, 1, 1, 1, 1, 1, 2}, Bool, func(data []byte) error {
				if len(data) != 2 || cap(data) != 2 {
					return fmt.Errorf("fill got %d bytes of %d", len(data), cap(data))
				}
				copy(data, []byte{1, 0})
				return nil
			})
		}, seen{[]int{1, 1, 1, 1, 1, 1, 1, 2}, Bool, []byte{1, 0}, 8, true}},
		{"a scalar", func(s *Segment) error { return WriteSlice(s, nil, []int32{-2}) },
			seen{[]int{}, Int32, []byte{254, 255, 255, 255}, 10, true}},
		{"an empty tensor", func(s *Segment) error { return s.Write([]int{math.MaxInt, 0, math.MaxInt}, Float32, nil) },
			seen{[]int{math.MaxInt, 0, math.MaxInt}, Float32, []byte{}, 12, true}},
	}
	s := newSegment(t, 64)
	for name, read := range reads {
		if strings.Contains(name, "Wait") || strings.HasPrefix(name, "Next") {
			continue
		}
		if _, err := read(s); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s before the first commit: %v, want ErrEmpty", name, err)
		}
	}
	for _, step := range steps {
		if err := step.write(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for name, read := range reads {
			got, err := read(s)
			if err != nil {
				t.Fatalf("%s after %s: %v", name, step.name, err)
			}
			if diff := cmp.Diff(step.want, see(&got)); diff != "" {
				t.Errorf("%s after %s (-want +got):\n%s", name, step.name, diff)
			}
		}
		if got := s.Version(); got != step.want.Version {
			t.Errorf("Version after %s: %d, want %d", step.name, got, step.want.Version)
		}
	}
}

func TestBusy(t *testing.T) {
	s := newSegment(t, 16)
	filling, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		_ = s.Update([]int{1}, Uint8, func([]byte) error { close(filling); <-finish; return nil })
	}()
	<-filling
	if _, err := s.TryRead(); err != ErrBusy {
		t.Errorf("TryRead during an Update: %v, want ErrBusy", err)
	}
	if v := s.Version(); v != 1 {
		t.Errorf("Version during the first Update: %d, want 1", v)
	}
	// All other reads wait it out.
	for name, read := range reads {
		if name == "TryRead" {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got, err := read(s); err != nil || got.Version() != 2 {
				t.Errorf("%s across an Update: version %d, %v", name, got.Version(), err)
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	close(finish)
	wg.Wait()
}

// Readers finish, many times over, under a writer that never pauses.
func TestReadersFinish(t *testing.T) {
	const size = 1 << 20
	s := newSegment(t, size)
	data := make([]byte, size)
	if err := s.Write([]int{size}, Uint8, data); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Write([]int{size}, Uint8, data); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for name, read := range reads {
		if name == "TryRead" {
			continue
		}
		var longest time.Duration
		for range 100 {
			start := time.Now()
			if _, err := read(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			longest = max(longest, time.Since(start))
		}
		t.Logf("%s: the longest of 100 took %v", name, longest)
	}
	close(stop)
	writer.Wait()
}
