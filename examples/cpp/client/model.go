package main

// The model of model.h once more, to compare its answers with bit for bit.
const (
	colours  = 3
	channels = 8
	classes  = 10
	window   = 3
)

type model struct {
	kernel  [window * window * colours][channels]int32 // by row, column, colour
	classes [classes][channels]int64
}

func newModel() *model {
	state := uint32(1)
	weight := func() int32 {
		state = state*1664525 + 1013904223
		return int32(state>>24) - 128
	}
	m := new(model)
	for i := range m.kernel {
		for c := range m.kernel[i] {
			m.kernel[i][c] = weight()
		}
	}
	for k := range m.classes {
		for c := range m.classes[k] {
			m.classes[k][c] = int64(weight())
		}
	}
	return m
}

// answer returns the class of a picture of size x size pixels, and the scores.
func (m *model) answer(pixels []byte, size int) (answer [1 + classes]int64) {
	var sums [channels]int64
	for y := 0; y+window <= size; y += 2 {
		for x := 0; x+window <= size; x += 2 {
			var channel [channels]int32
			for dy := range window {
				row := pixels[((y+dy)*size+x)*colours:][:window*colours]
				for i, p := range row {
					for c, w := range &m.kernel[dy*window*colours+i] {
						channel[c] += w * int32(p)
					}
				}
			}
			for c, v := range channel {
				sums[c] += int64(max(v, 0))
			}
		}
	}
	scores := answer[1:]
	for k := range scores {
		for c, w := range m.classes[k] {
			scores[k] += w * sums[c]
		}
		if scores[k] > scores[answer[0]] {
			answer[0] = int64(k)
		}
	}
	return answer
}
