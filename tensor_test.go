package judemap

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestSlice(t *testing.T) {
	type celsius float64 // Element takes named types too
	s := newSegment(t, 64)
	if err := WriteSlice(s, []int{3}, []celsius{-1.5, 0, 36.6}); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Slice[celsius](&view)
	if diff := cmp.Diff([]celsius{-1.5, 0, 36.6}, got); err != nil || diff != "" {
		t.Errorf("Slice: %v (-want +got):\n%s", err, diff)
	}
	if uintptr(unsafe.Pointer(&got[0])) != s.DataPtr() {
		t.Error("Slice copied the data")
	}
	if _, err := Slice[float32](&view); !errors.Is(err, ErrDType) || !strings.Contains(err.Error(), "float64, not float32") {
		t.Errorf("Slice of another type: %v", err)
	}
	buf := make([]byte, 65)
	odd, err := s.ReadInto(buf[1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Slice[celsius](&odd); !errors.Is(err, ErrDType) || !strings.Contains(err.Error(), "aligned to 8") {
		t.Errorf("Slice of unaligned data: %v", err)
	}
	var zero Tensor
	if zero.Valid() || len(zero.Data()) != 0 || len(zero.Shape()) != 0 {
		t.Error("the zero Tensor has something")
	}
}
