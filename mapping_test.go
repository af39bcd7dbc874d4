package judemap

import (
	"runtime"
	"testing"
)

// The memory of a Segment that was never closed goes with the Segment, and that of a view with the view.
func TestUnreachable(t *testing.T) {
	var last Tensor
	for i := range 200 {
		s, err := New(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fill([]int{1 << 20}, Uint8, float64(i)); err != nil {
			t.Fatal(err)
		}
		if last, err = s.Read(); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			runtime.GC()
		}
	}
	runtime.GC()
	if d := last.Data(); d[0] != 199 || !last.Valid() {
		t.Errorf("the view of an unreachable Segment: %d, valid %v", d[0], last.Valid())
	}
}
