package demo

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// filmBytes returns the film as a segment has it.
func filmBytes(t *testing.T) []byte {
	t.Helper()
	frames, err := Film()
	if err != nil {
		t.Fatal(err)
	}
	film, err := binary.Append(nil, binary.LittleEndian, frames)
	if err != nil {
		t.Fatal(err)
	}
	return film
}

// A frame that is put together of two is found out, wherever the seam is.
func TestIntact(t *testing.T) {
	film := filmBytes(t)
	make := func(number uint64, at time.Duration) []byte {
		frame := bytes.Clone(filmFrame(film, number))
		timecode{number, at}.burn(frame)
		return frame
	}
	a, b := make(1<<40+65, 123456789), make(1<<40+66, 123556789)
	if code, ok := isIntact(a, film); !ok || code != (timecode{1<<40 + 65, 123456789}) {
		t.Errorf("an intact frame: %v, %v", code, ok)
	}
	for seam := 4; seam < frameBytes; seam += 4 {
		if seam > 2*timecodeBytes {
			seam += 4 * 997
		}
		if seam >= frameBytes {
			break
		}
		for _, pair := range [][2][]byte{{a, b}, {b, a}} {
			frame := append(bytes.Clone(pair[0][:seam]), pair[1][seam:]...)
			if _, ok := isIntact(frame, film); ok && !bytes.Equal(frame, a) && !bytes.Equal(frame, b) {
				t.Errorf("a frame put together at %d passes", seam)
			}
		}
	}
	for _, at := range []int{0, timecodeBytes - 4, timecodeBytes, frameBytes / 2, frameBytes - 1} {
		frame := bytes.Clone(a)
		frame[at] ^= 1
		if _, ok := isIntact(frame, film); ok {
			t.Errorf("a frame that differs at %d passes", at)
		}
	}
	if _, ok := isIntact(a[:len(a)-1], film); ok {
		t.Error("a short frame passes")
	}
}
