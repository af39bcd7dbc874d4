package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// magika is what the Python package's files say of its model.
type magika struct {
	model string // its file

	// How much of a file the model sees: the first Begin bytes and the last End, without the white space before and after
	// them, out of a Block at either end.
	Begin   int   `json:"beg_size"`
	Middle  int   `json:"mid_size"`
	End     int   `json:"end_size"`
	Block   int   `json:"block_size"`
	Offsets bool  `json:"use_inputs_at_offsets"`
	Padding int32 `json:"padding_token"`
	Least   int   `json:"min_file_size_for_dl"` // of fewer bytes the model is not asked

	// Labels are the columns of the model's answer. A label counts from its threshold on, or from Threshold if it has none.
	Labels     []string           `json:"target_labels_space"`
	Threshold  float64            `json:"medium_confidence_threshold"`
	Thresholds map[string]float64 `json:"thresholds"`
	Overwrite  map[string]string  `json:"overwrite_map"` // what to say in place of a label

	kinds map[string]kind
}

// kind is what the package knows of files with a label.
type kind struct {
	Text bool `json:"is_text"`
}

// file is one file: its ends, without the white space before and after, and what it is.
type file struct {
	begin, end []byte
	label      string // "": the model has yet to say
	score      float32
}

// What files are that the model can't know, or whose kind it isn't sure of.
const (
	empty   = "empty"
	text    = "txt"
	unknown = "unknown"
)

// space is what Python's bytes.strip takes away.
const space = " \t\n\r\v\f"

// readMagika reads the configuration of the newest model in the folder of the package magika 1.0.
func readMagika(folder string) (*magika, error) {
	model := filepath.Join(folder, "models", "standard_v3_3")
	m := &magika{model: filepath.Join(model, "model.onnx")}
	if err := readJSON(filepath.Join(model, "config.min.json"), m); err != nil {
		return nil, err
	}
	if err := readJSON(filepath.Join(folder, "config", "content_types_kb.min.json"), &m.kinds); err != nil {
		return nil, err
	}
	switch {
	case m.Middle != 0 || m.Offsets:
		return nil, fmt.Errorf("%s: the model wants %d bytes of the middle, and offsets %t; this program has neither", model,
			m.Middle, m.Offsets)
	case m.Begin < m.Least || m.End <= 0 || m.Block < max(m.Begin, m.End) || m.Least < 1 || len(m.Labels) == 0:
		return nil, fmt.Errorf("%s: %d and %d bytes, out of %d at either end, at least %d, %d labels: this can't be", model,
			m.Begin, m.End, m.Block, m.Least, len(m.Labels))
	}
	return m, nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// read reads both ends of a file. One that is too short for the model it labels.
func (m *magika) read(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	block := min(int64(m.Block), info.Size())
	begin, end := make([]byte, block), make([]byte, block)
	if _, err := f.ReadAt(begin, 0); err != nil && !errors.Is(err, io.EOF) {
		return file{}, err
	}
	if _, err := f.ReadAt(end, info.Size()-block); err != nil && !errors.Is(err, io.EOF) {
		return file{}, err
	}
	return m.newFile(begin, end), nil
}

// newFile makes a file of the blocks at its ends, which are the same if it is no longer than one.
func (m *magika) newFile(begin, end []byte) file {
	f := file{begin: bytes.TrimLeft(begin, space), end: bytes.TrimRight(end, space)}
	switch {
	case len(begin) == 0:
		f.label, f.score = empty, 1
	case len(f.begin) >= m.Least: // the model's to say
	case utf8.Valid(begin):
		f.label, f.score = text, 1
	default:
		f.label, f.score = unknown, 1
	}
	return f
}

// tokens writes what the model sees of a file: a number for each byte, and padding where there are too few.
func (m *magika) tokens(dst []int32, f *file) {
	begin, end := dst[:m.Begin], dst[m.Begin:]
	for i := range begin {
		begin[i] = m.Padding
		if i < len(f.begin) {
			begin[i] = int32(f.begin[i])
		}
	}
	for i := range end {
		end[i] = m.Padding
		if from := len(f.end) - len(end) + i; from >= 0 {
			end[i] = int32(f.end[from])
		}
	}
}

// judge returns the label of a row of the model's answer: the one with the highest score, or what can be said if that is
// too low.
func (m *magika) judge(scores []float32) (label string, score float32) {
	best := 0
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	threshold, own := m.Thresholds[m.Labels[best]]
	if !own {
		threshold = m.Threshold
	}
	label, score = m.Labels[best], scores[best]
	if other, ok := m.Overwrite[label]; ok {
		label = other
	}
	switch {
	case float64(score) >= threshold:
		return label, score
	case m.kinds[label].Text:
		return text, score
	}
	return unknown, score
}
