package tensorflow

import (
	"fmt"
	"testing"

	"github.com/judemap/judemap"
)

// A tensor for TensorFlow, over the frame or with a copy of it.
func BenchmarkTensor(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20, 256 << 20} {
		s, err := judemap.NewStream(2, size, judemap.WithPopulate())
		if err != nil {
			b.Fatal(err)
		}
		r, err := s.Reader()
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Fill(b.Context(), []int{size / 4}, judemap.Float32, 1); err != nil {
			b.Fatal(err)
		}
		x := next(b, r)
		name := fmt.Sprintf("%dKiB", size>>10)
		if size >= 1<<20 {
			name = fmt.Sprintf("%dMiB", size>>20)
		}
		b.Run(name+"/in_place", func(b *testing.B) {
			for b.Loop() {
				_, tensor, err := newInput("x", &x)
				if err != nil {
					b.Fatal(err)
				}
				deleteTensor(tensor)
			}
		})
		b.Run(name+"/copied", func(b *testing.B) {
			for b.Loop() {
				newCopy(&x)()
			}
		})
		_ = s.CloseWait()
	}
}

// From a frame to the result in a stream.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		name, model, in, out string
		shape                []int
	}{
		{"identity_588KiB", "types.pb", "in_float32", "out_float32", []int{1, 224, 224, 3}},
		{"digits_12KiB", "digits.pb", "image", "logits", []int{50, 8, 8, 1}},
		{"heavy_588KiB", "heavy.pb", "x", "y", []int{1, 224, 224, 3}},
	} {
		model := load(b, c.model, "")
		s, r := newStream(b, 1<<20)
		out, _ := newStream(b, 1<<20)
		if err := s.Fill(b.Context(), c.shape, judemap.Float32, 0.5); err != nil {
			b.Fatal(err)
		}
		x := next(b, r)
		inputs, outputs := map[string]*judemap.Tensor{c.in: &x}, map[string]Output{c.out: out.Update}
		if err := model.Run(b.Context(), inputs, outputs); err != nil { // the first takes longer
			b.Fatal(err)
		}
		b.Run(c.name+"/in_place", func(b *testing.B) {
			for b.Loop() {
				if err := model.Run(b.Context(), inputs, outputs); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/copied", func(b *testing.B) { // as a binding does that takes no address
			for b.Loop() {
				newCopy(&x)()
				if err := model.Run(b.Context(), inputs, outputs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
