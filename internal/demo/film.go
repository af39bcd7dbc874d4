package demo

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"math"
	"time"

	"golang.org/x/image/draw"
)

// The film is what the demo's camera sees, again and again: frameCount frames of a photograph over which it pans and
// zooms. All of them are made before the demo starts, so that its producer spends its time on commits.

const (
	frameCount = 64
	frameSide  = 224
	frameBytes = frameSide * frameSide * 3 * 4
)

// FrameShape is the shape of a frame, of float32, from 0 to 1: height, width, and red, green and blue, in a batch of one.
var FrameShape = []int{1, frameSide, frameSide, 3}

//go:embed photo/astronaut.png
var photo []byte

// Film returns the frames of what the camera sees, one behind the other. In a frame that is committed the camera has put a
// timecode in place of the first pixels.
func Film() ([]float32, error) {
	picture, err := png.Decode(bytes.NewReader(photo))
	if err != nil {
		return nil, fmt.Errorf("decoding the photograph: %w", err)
	}
	whole := picture.Bounds()
	frame := image.NewRGBA(image.Rect(0, 0, frameSide, frameSide))
	film := make([]float32, 0, frameCount*frameBytes/4)
	for i := range frameCount {
		// The part of the photograph that this frame shows: a square whose side and place swing, about the face.
		angle := 2 * math.Pi * float64(i) / frameCount
		side := float64(whole.Dx()) * (0.6 + 0.25*math.Cos(angle))
		room := (float64(whole.Dx()) - side) / 2
		left, top := int(room*(0.85+0.5*math.Sin(angle))), int(room*(0.3+0.3*math.Sin(2*angle)))
		part := image.Rect(left, top, left+int(side), top+int(side))
		draw.ApproxBiLinear.Scale(frame, frame.Bounds(), picture, part, draw.Src, nil)
		for p := 0; p < len(frame.Pix); p += 4 {
			for _, brightness := range frame.Pix[p : p+3] {
				film = append(film, float32(brightness)/255)
			}
		}
	}
	return film, nil
}

// filmFrame returns the bytes of the film's frame for the commit of this number.
func filmFrame(film []byte, number uint64) []byte {
	at := number % frameCount * frameBytes
	return film[at : at+frameBytes]
}

// A timecode is what the camera burns into the first pixels of each frame: which commit it is, and when it was made. It
// is stored as brightnesses, a byte each, so that the frame remains a picture. The third word is the two others, mixed:
// were a timecode put together of two, it would not fit.
type timecode struct {
	number uint64
	at     time.Duration
}

const (
	timecodeWords = 3
	timecodeBytes = timecodeWords * 8 * 4 // in a frame
)

func (c timecode) words() [timecodeWords]uint64 {
	return [...]uint64{c.number, uint64(c.at), c.number ^ uint64(c.at)}
}

// burn stores c in a frame.
func (c timecode) burn(frame []byte) {
	var word [8]byte
	for i, value := range c.words() {
		binary.LittleEndian.PutUint64(word[:], value)
		for j, b := range word {
			at := (8*i + j) * 4
			binary.LittleEndian.PutUint32(frame[at:], math.Float32bits(float32(b)/255))
		}
	}
}

// readTimecode returns the timecode of a frame, and false if it can't be one.
func readTimecode(frame []byte) (c timecode, ok bool) {
	var words [timecodeWords]uint64
	var word [8]byte
	for i := range words {
		for j := range word {
			brightness := math.Float32frombits(binary.LittleEndian.Uint32(frame[(8*i+j)*4:]))
			word[j] = byte(math.Round(float64(brightness * 255)))
			if float32(word[j])/255 != brightness {
				return c, false
			}
		}
		words[i] = binary.LittleEndian.Uint64(word[:])
	}
	c = timecode{words[0], time.Duration(words[1])}
	return c, c.words() == words
}

// isIntact says whether a frame is the film's, to the last byte, and carries a timecode that fits.
func isIntact(frame, film []byte) (c timecode, ok bool) {
	if len(frame) != frameBytes {
		return c, false
	}
	c, ok = readTimecode(frame)
	return c, ok && bytes.Equal(frame[timecodeBytes:], filmFrame(film, c.number)[timecodeBytes:])
}
