package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/judemap/judemap"
)

// Pictures survive put and export, as grey, RGB, or with alpha.
func TestPictureRoundTrips(t *testing.T) {
	bounds := image.Rect(0, 0, 3, 2)
	gray, rgb, alpha := image.NewGray(bounds), image.NewNRGBA(bounds), image.NewNRGBA(bounds)
	palette := image.NewPaletted(bounds, color.Palette{color.White, color.RGBA{200, 100, 50, 255}})
	for i := range 6 {
		gray.Pix[i] = byte(40 * i)
		palette.Pix[i] = byte(i % 2)
		copy(rgb.Pix[4*i:], []byte{byte(40 * i), 7, byte(255 - i), 255})
		copy(alpha.Pix[4*i:], []byte{byte(40 * i), 7, byte(255 - i), byte(20 * i)})
	}
	for _, test := range []struct {
		name    string
		picture image.Image
		shape   string
	}{
		{"grey", gray, "[2 3]"}, {"rgb", rgb, "[2 3 3]"}, {"alpha", alpha, "[2 3 4]"}, {"palette", palette, "[2 3 3]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := segmentName(t)
			in, out := filepath.Join(t.TempDir(), "in.PNG"), filepath.Join(t.TempDir(), "out.png")
			var file bytes.Buffer
			if err := png.Encode(&file, test.picture); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(in, file.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			mustRun(t, "put", in, name)
			if report := mustRun(t, "inspect", name); !strings.Contains(report, "uint8 "+test.shape+"\n") {
				t.Errorf("want shape %s:\n%s", test.shape, report)
			}
			mustRun(t, "export", name, out)
			exported, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			picture, err := png.Decode(bytes.NewReader(exported))
			if err != nil {
				t.Fatal(err)
			}
			for y := range 2 {
				for x := range 3 {
					want := color.NRGBAModel.Convert(test.picture.At(x, y))
					if got := color.NRGBAModel.Convert(picture.At(x, y)); got != want {
						t.Errorf("pixel %d, %d: %v, want %v", x, y, got, want)
					}
				}
			}
		})
	}
}

func TestPictureOf(t *testing.T) {
	rgb := []byte{1, 2, 3, 4, 5, 6} // two pixels, one beside the other
	for _, test := range []struct {
		array array
		want  string // the pixels, or the error
	}{
		{array{[]int{1, 2, 3}, judemap.Uint8, rgb}, "{1 2 3 255} {4 5 6 255}"},
		{array{[]int{1, 1, 2, 3}, judemap.Uint8, rgb}, "{1 2 3 255} {4 5 6 255}"},
		{array{[]int{3, 1, 2}, judemap.Uint8, rgb}, "{1 3 5 255} {2 4 6 255}"},
		{array{[]int{1, 3, 1, 2}, judemap.Uint8, rgb}, "{1 3 5 255} {2 4 6 255}"},
		{array{[]int{1, 2}, judemap.Bool, rgb[:2]}, "{255 255 255 255} {255 255 255 255}"},
		{array{[]int{1, 2, 1}, judemap.Uint8, rgb[:2]}, "{1 1 1 255} {2 2 2 255}"},
		{array{[]int{1, 2}, judemap.Float32, bytesOf([]float32{0.5, 2})}, "{128 128 128 255} {255 255 255 255}"},
		{array{[]int{1, 2}, judemap.Float16, bytesOf([]judemap.F16{judemap.ToF16(0.5), judemap.ToF16(2)})}, "{128 128 128 255} {255 255 255 255}"},
		{array{[]int{1, 2}, judemap.BFloat16, bytesOf([]judemap.BF16{judemap.ToBF16(0.5), judemap.ToBF16(-1)})}, "{128 128 128 255} {0 0 0 255}"},
		{array{[]int{1, 1}, judemap.Float8E5M2, make([]byte, 1)}, "float8_e5m2"},
		{array{[]int{1, 1}, judemap.Complex64, make([]byte, 8)}, "complex64"},
		{array{[]int{1, 1}, judemap.Float64, make([]byte, 8)}, "{0 0 0 255}"},
		{array{[]int{2}, judemap.Uint8, rgb[:2]}, "no picture"},
		{array{[]int{2, 1, 1, 3}, judemap.Uint8, rgb}, "no picture"},
		{array{[]int{0, 3}, judemap.Uint8, nil}, "no picture"},
		{array{[]int{2, 3, 0}, judemap.Uint8, nil}, "no picture"},
		{array{[]int{1, 1}, judemap.Int32, make([]byte, 4)}, "int32"},
	} {
		picture, err := pictureOf(test.array)
		got := fmt.Sprint(err)
		if err == nil {
			var pixels []string
			for y := range picture.Bounds().Dy() {
				for x := range picture.Bounds().Dx() {
					pixels = append(pixels, fmt.Sprint(color.NRGBAModel.Convert(picture.At(x, y))))
				}
			}
			got = strings.Join(pixels, " ")
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%v %v: %s, want %s", test.array.dtype, test.array.shape, got, test.want)
		}
	}
}
