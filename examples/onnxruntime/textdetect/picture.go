package main

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"unsafe"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// A line of text in a picture, and the rectangle that its letters fill.
type line struct {
	image.Rectangle
	text string
}

// text is what drawPicture draws: where each line begins, and its size in pixels.
var text = []struct {
	x, y int
	size float64
	text string
}{
	{40, 80, 48, "Shared memory"},
	{320, 190, 28, "one writer, many readers"},
	{60, 280, 36, "float32 [1 3 480 640]"},
	{400, 380, 24, "2026-11-25"},
	{40, 440, 20, "the quick brown fox jumps over the lazy dog"},
}

// drawPicture draws a picture of 640 × 480 pixels with lines of text.
func drawPicture() (image.Image, []line, error) {
	picture := image.NewRGBA(image.Rect(0, 0, 640, 480))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.RGBA{235, 232, 220, 255}), image.Point{}, draw.Src)
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, nil, err
	}
	lines := make([]line, len(text))
	for i, t := range text {
		face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: t.size, DPI: 72, Hinting: font.HintingFull})
		if err != nil {
			return nil, nil, err
		}
		d := font.Drawer{Dst: picture, Src: image.NewUniform(color.RGBA{30, 30, 60, 255}), Face: face, Dot: fixed.P(t.x, t.y)}
		b, _ := d.BoundString(t.text)
		d.DrawString(t.text)
		face.Close()
		lines[i] = line{image.Rect(b.Min.X.Floor(), b.Min.Y.Floor(), b.Max.X.Ceil(), b.Max.Y.Ceil()), t.text}
	}
	return picture, lines, nil
}

// readPicture reads a picture from a file.
func readPicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	picture, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return picture, nil
}

// The model's sides are multiples of 32 pixels, and the longer is of 960 at most here.
const (
	multiple = 32
	longest  = 960
)

// scale returns a picture in a size that the model takes, as near to its own as can be.
func scale(picture image.Image) *image.RGBA {
	size := picture.Bounds().Size()
	factor := min(1, longest/float64(max(size.X, size.Y)))
	side := func(n int) int { return max(multiple, int(math.Round(float64(n)*factor/multiple))*multiple) }
	scaled := image.NewRGBA(image.Rect(0, 0, side(size.X), side(size.Y)))
	draw.BiLinear.Scale(scaled, scaled.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	return scaled
}

// normalise writes a picture as the model was trained on them: planes of blue, green and red, from -1 to 1.
func normalise(dst []float32, picture *image.RGBA) {
	n := picture.Bounds().Dx() * picture.Bounds().Dy()
	blue, green, red := dst[:n], dst[n:2*n], dst[2*n:3*n]
	for i := range n {
		p := picture.Pix[i*4 : i*4+3]
		red[i] = float32(p[0])/127.5 - 1
		green[i] = float32(p[1])/127.5 - 1
		blue[i] = float32(p[2])/127.5 - 1
	}
}

// floats returns a slot's bytes as what they hold. A slot begins on a multiple of 256 bytes.
func floats(data []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/4)
}
