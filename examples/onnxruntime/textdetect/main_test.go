package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

func TestScale(t *testing.T) {
	tests := []struct{ width, height, wantWidth, wantHeight int }{
		{640, 480, 640, 480},
		{650, 470, 640, 480},
		{1, 1, 32, 32},
		{1920, 1080, 960, 544},
		{100, 5000, 32, 960},
	}
	for _, test := range tests {
		got := scale(image.NewGray(image.Rect(10, 20, 10+test.width, 20+test.height))).Bounds()
		if got != image.Rect(0, 0, test.wantWidth, test.wantHeight) {
			t.Errorf("%d × %d becomes %v, want %d × %d", test.width, test.height, got, test.wantWidth, test.wantHeight)
		}
	}
}

func TestNormalise(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 2, 1))
	picture.Set(0, 0, color.RGBA{0, 255, 51, 255})
	picture.Set(1, 0, color.RGBA{255, 0, 204, 255})
	got := make([]float32, 6)
	normalise(got, picture)
	if diff := cmp.Diff([]float32{51/127.5 - 1, 204/127.5 - 1, 1, -1, -1, 1}, got); diff != "" { // blue, green, red
		t.Error(diff)
	}
}

func TestBoxes(t *testing.T) {
	const width, height = 60, 40
	fill := func(p []float32, r image.Rectangle, value float32) []float32 {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				p[y*width+x] = value
			}
		}
		return p
	}
	blank := func() []float32 { return make([]float32, width*height) }
	same, twice := image.Rect(0, 0, width, height), image.Rect(100, 200, 100+2*width, 200+2*height)
	tests := []struct {
		name    string
		p       []float32
		picture image.Rectangle
		want    []box
	}{
		{"nothing", blank(), same, nil},
		{"below the threshold of a pixel", fill(blank(), image.Rect(20, 20, 30, 25), 0.25), same, nil},
		{"below the threshold of a box", fill(blank(), image.Rect(20, 20, 30, 25), 0.4375), same, nil},
		{"too thin", fill(blank(), image.Rect(20, 20, 30, 22), 0.75), same, nil},
		// 10 × 5 pixels: 50 * 1.6 / 30, 3 pixels larger on each side.
		{"one", fill(blank(), image.Rect(20, 20, 30, 25), 0.75), same, []box{{image.Rect(17, 17, 33, 28), 0.75}}},
		{"at the edge", fill(blank(), image.Rect(0, 0, 10, 5), 0.75), same, []box{{image.Rect(0, 0, 13, 8), 0.75}}},
		{"another size", fill(blank(), image.Rect(20, 20, 30, 25), 0.75), twice, []box{{image.Rect(134, 234, 166, 256), 0.75}}},
		{"two", fill(fill(blank(), image.Rect(20, 20, 30, 25), 0.75), image.Rect(30, 25, 40, 30), 1), same,
			[]box{{image.Rect(17, 17, 33, 28), 0.75}, {image.Rect(27, 22, 43, 33), 1}}}, // corners don't touch
		{"all of it", fill(blank(), same, 1), same, []box{{same, 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := boxes(test.p, width, test.picture)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(box{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFound(t *testing.T) {
	l := line{image.Rect(100, 100, 200, 120), "text"}
	for _, test := range []struct {
		box  image.Rectangle
		want bool
	}{
		{l.Rectangle, true},
		{image.Rect(96, 96, 204, 124), true},
		{image.Rect(100, 100, 150, 120), false}, // half of it
		{image.Rect(0, 0, 640, 480), false},
		{image.Rect(300, 100, 400, 120), false},
	} {
		if got := l.found([]box{{test.box, 1}}); got != test.want {
			t.Errorf("%v in %v: %v", l.Rectangle, test.box, got)
		}
	}
	if l.found(nil) {
		t.Error("found in no box")
	}
}

func TestDrawnLinesAreApart(t *testing.T) {
	picture, lines, err := drawPicture()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		if !l.In(picture.Bounds()) || l.Empty() {
			t.Errorf("%q is drawn at %v, outside %v", l.text, l.Rectangle, picture.Bounds())
		}
		for _, other := range lines[:i] {
			if l.Overlaps(other.Rectangle) {
				t.Errorf("%q and %q overlap", l.text, other.text)
			}
		}
	}
}

func TestReadPicture(t *testing.T) {
	if _, err := readPicture(filepath.Join(t.TempDir(), "nothing.png")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.png")
	if err := os.WriteFile(bad, []byte("not a picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPicture(bad); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("a file that is no picture: %v", err)
	}
}

// The whole program, beside a stand-in for the model.
func TestTextdetect(t *testing.T) {
	if !named() {
		t.Skip("streams have no names on this platform")
	}
	tests := []struct {
		name   string
		answer func(shape []int) []int // of a frame; nil: there is nobody to answer
		want   string
		err    string
	}{
		{"no text", func(s []int) []int { return []int{1, 1, s[2], s[3]} },
			"\"2026-11-25\" at (401,362)-(531,381): not found\n", ""},
		{"another model", func([]int) []int { return []int{1, 214} }, "", "is float32 [1 214]"},
		{"no model", nil, "", ": nobody reads it: context deadline exceeded"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timeout := time.Minute
			if test.answer == nil {
				timeout = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			pictures := fmt.Sprintf("textdetect-pictures-%d-%d", os.Getpid(), i)
			maps := fmt.Sprintf("textdetect-maps-%d-%d", os.Getpid(), i)
			t.Cleanup(func() { judemap.Remove(pictures); judemap.Remove(maps) })
			if test.answer != nil {
				stop := standIn(t, pictures, maps, test.answer)
				defer stop()
			}
			var out bytes.Buffer
			err := textdetect(ctx, &out, "", pictures, maps, 4, 8<<20, 2)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("%v, want %q", err, test.err)
			}
			if !strings.Contains(out.String(), test.want) {
				t.Errorf("%s\nwant %s", out.String(), test.want)
			}
		})
	}
}

func named() bool {
	_, err := judemap.List()
	return !errors.Is(err, judemap.ErrUnsupported)
}

// standIn answers frames with zeros of a shape, until it is stopped.
func standIn(t *testing.T, pictures, maps string, shape func(frame []int) []int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	from, err := judemap.OpenOrCreateStream(pictures, 4, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	to, err := judemap.OpenOrCreateStream(maps, 4, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := from.Reader()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for frame, err := range reader.Frames(ctx) {
			if err != nil {
				return
			}
			if err := to.Fill(ctx, shape(frame.Shape()), judemap.Float32, 0); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
		from.Close()
		to.Close()
	}
}
