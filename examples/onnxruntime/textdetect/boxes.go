package main

import (
	"image"
	"math"
)

// What rapidocr's configuration says: a pixel is text from this probability on, a box counts from this mean on, and it is
// as much larger than what the model marks, which is the middle of a line.
const (
	pixelThreshold = 0.3
	boxThreshold   = 0.5
	unclip         = 1.6
)

// A box has text in it, with a probability from 0 to 1.
type box struct {
	image.Rectangle
	score float32
}

// boxes returns boxes around the pixels that are likely to be text, in the coordinates of the picture that was scaled to
// the size of the map. Each is around pixels that touch one another.
func boxes(probabilities []float32, width int, picture image.Rectangle) []box {
	height := len(probabilities) / width
	bounds := image.Rect(0, 0, width, height)
	seen := make([]bool, len(probabilities))
	var found []box
	var todo []image.Point
	for start := range probabilities {
		if seen[start] || probabilities[start] <= pixelThreshold {
			continue
		}
		seen[start] = true
		todo = append(todo[:0], image.Pt(start%width, start/width))
		region, sum, n := image.Rectangle{}, float32(0), 0
		for len(todo) > 0 {
			p := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			region = region.Union(image.Rectangle{p, p.Add(image.Pt(1, 1))})
			sum, n = sum+probabilities[p.Y*width+p.X], n+1
			for _, d := range []image.Point{{-1, 0}, {1, 0}, {0, -1}, {0, 1}} {
				q := p.Add(d)
				if i := q.Y*width + q.X; q.In(bounds) && !seen[i] && probabilities[i] > pixelThreshold {
					seen[i] = true
					todo = append(todo, q)
				}
			}
		}
		size := region.Size()
		if mean := sum / float32(n); mean >= boxThreshold && min(size.X, size.Y) >= 3 {
			margin := float64(size.X*size.Y) * unclip / float64(2*(size.X+size.Y))
			region = region.Inset(-int(math.Round(margin))).Intersect(bounds)
			found = append(found, box{stretch(region, bounds.Size(), picture), mean})
		}
	}
	return found
}

// stretch returns where a region of a map of this size lies in the picture.
func stretch(region image.Rectangle, size image.Point, picture image.Rectangle) image.Rectangle {
	to := picture.Size()
	at := func(p image.Point) image.Point {
		return picture.Min.Add(image.Pt((p.X*to.X+size.X/2)/size.X, (p.Y*to.Y+size.Y/2)/size.Y))
	}
	return image.Rectangle{at(region.Min), at(region.Max)}
}

// found says whether one of the boxes is the line's: what both have in common is more than half of what either has.
func (l line) found(boxes []box) bool {
	for _, b := range boxes {
		common := area(l.Intersect(b.Rectangle))
		if 2*common > area(l.Rectangle)+area(b.Rectangle)-common {
			return true
		}
	}
	return false
}

func area(r image.Rectangle) int { return r.Dx() * r.Dy() }
