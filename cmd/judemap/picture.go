package main

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math"
	"strings"

	"github.com/judemap/judemap"
	"golang.org/x/image/draw"
)

// pictureOf returns an array as a picture: [H W], [H W C], [C H W], or one of the latter two in a batch of one, with 1
// (grey), 3 (RGB) or 4 channels (with alpha), of bytes, bools, or floats from 0 to 1.
func pictureOf(a array) (image.Image, error) {
	shape := a.shape
	if len(shape) == 4 && shape[0] == 1 {
		shape = shape[1:]
	}
	if len(shape) == 2 {
		shape = []int{shape[0], shape[1], 1}
	}
	isChannels := func(n int) bool { return n == 1 || n == 3 || n == 4 }
	// How far apart the neighbours in each direction are, in elements.
	var height, width, channels, down, right, deep int
	switch {
	case len(shape) == 3 && isChannels(shape[2]):
		height, width, channels = shape[0], shape[1], shape[2]
		down, right, deep = width*channels, channels, 1
	case len(shape) == 3 && isChannels(shape[0]):
		channels, height, width = shape[0], shape[1], shape[2]
		down, right, deep = width, 1, height*width
	}
	if height == 0 || width == 0 {
		return nil, fmt.Errorf("a tensor of shape %v is no picture; those are [H W], [H W C], [C H W], or a batch of one, "+
			"with 1, 3 or 4 channels", a.shape)
	}
	brightness, err := brightnesses(a)
	if err != nil {
		return nil, err
	}

	bounds := image.Rect(0, 0, width, height)
	if channels == 1 {
		gray := image.NewGray(bounds)
		for i := range gray.Pix {
			gray.Pix[i] = brightness(i)
		}
		return gray, nil
	}
	picture := image.NewNRGBA(bounds)
	for y := range height {
		for x := range width {
			pixel := picture.Pix[picture.PixOffset(x, y):]
			pixel[3] = 255
			for c := range channels {
				pixel[c] = brightness(y*down + x*right + c*deep)
			}
		}
	}
	return picture, nil
}

// brightnesses returns a function that gives element i as a brightness from 0 to 255.
func brightnesses(a array) (func(i int) byte, error) {
	switch a.dtype {
	case judemap.Uint8:
		return func(i int) byte { return a.data[i] }, nil
	case judemap.Bool:
		return func(i int) byte { return min(1, a.data[i]) * 255 }, nil
	case judemap.Float16:
		return func(i int) byte {
			return toByte(float64(judemap.F16(binary.LittleEndian.Uint16(a.data[2*i:])).Float32()))
		}, nil
	case judemap.BFloat16:
		return func(i int) byte {
			return toByte(float64(judemap.BF16(binary.LittleEndian.Uint16(a.data[2*i:])).Float32()))
		}, nil
	case judemap.Float32:
		return func(i int) byte {
			return toByte(float64(math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:]))))
		}, nil
	case judemap.Float64:
		return func(i int) byte {
			return toByte(math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:])))
		}, nil
	}
	return nil, fmt.Errorf("a tensor of %v is no picture; those are uint8, bool, float16, bfloat16, float32 or float64", a.dtype)
}

func toByte(value float64) byte {
	if !(value > 0) { // also NaN
		return 0
	}
	return byte(math.Round(min(value, 1) * 255))
}

// arrayOfPicture returns a picture as bytes: [H W] if it is grey, [H W 3] if nothing of it is transparent, or else [H W 4].
func arrayOfPicture(picture image.Image) array {
	size := picture.Bounds().Size()
	bounds := image.Rect(0, 0, size.X, size.Y)
	switch picture.ColorModel() {
	case color.GrayModel, color.Gray16Model:
		gray := image.NewGray(bounds)
		draw.Draw(gray, bounds, picture, picture.Bounds().Min, draw.Src)
		return array{[]int{size.Y, size.X}, judemap.Uint8, gray.Pix}
	}
	colors, ok := picture.(*image.NRGBA)
	if !ok {
		colors = image.NewNRGBA(bounds)
		draw.Draw(colors, bounds, picture, picture.Bounds().Min, draw.Src)
	}
	if !colors.Opaque() {
		return array{[]int{size.Y, size.X, 4}, judemap.Uint8, colors.Pix}
	}
	rgb := make([]byte, 0, 3*size.X*size.Y)
	for i := 0; i < len(colors.Pix); i += 4 {
		rgb = append(rgb, colors.Pix[i:i+3]...)
	}
	return array{[]int{size.Y, size.X, 3}, judemap.Uint8, rgb}
}

// terminalPicture returns a picture as lines of text, at most that many columns wide and rows high. Each character is
// two pixels, one above the other: a half block in the upper one's colour on a background of the lower one's.
func terminalPicture(picture image.Image, columns, rows int) []string {
	size := picture.Bounds().Size()
	scale := min(1, float64(columns)/float64(size.X), float64(2*rows)/float64(size.Y))
	width := max(1, int(float64(size.X)*scale))
	height := max(2, int(float64(size.Y)*scale)&^1)
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.BiLinear.Scale(small, small.Bounds(), picture, picture.Bounds(), draw.Src, nil)

	var lines []string
	for y := 0; y < height; y += 2 {
		var line strings.Builder
		for x := range width {
			upper, lower := small.RGBAAt(x, y), small.RGBAAt(x, y+1)
			fmt.Fprintf(&line, "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm▀",
				upper.R, upper.G, upper.B, lower.R, lower.G, lower.B)
		}
		lines = append(lines, line.String()+"\x1b[0m")
	}
	return lines
}
