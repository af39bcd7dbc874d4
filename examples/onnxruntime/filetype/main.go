// Command filetype says what kinds of files there are, by the model of the Python package magika:
//
//	filetype -library libonnxruntime.so.1.32.0 -magika site-packages/magika README.md main.go
//
// It prints label, score and path of each file. The model's input, all files' tokens, is one tensor in a segment, and its
// answer is one in another. With -input and -output the segments have names, and stay for others to look at, until
// `judemap rm`.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/onnxruntime"
)

func main() {
	log.SetFlags(0)
	library := flag.String("library", "libonnxruntime.so", "the library of ONNX Runtime")
	folder := flag.String("magika", "magika", "the folder of the Python package magika")
	input := flag.String("input", "", "name of the segment for the model's input; none: memory of this process")
	output := flag.String("output", "", "name of the segment for the model's answer; none: memory of this process")
	threads := flag.Int("threads", 0, "threads that work on it; 0: one for each core")
	flag.Parse()
	if err := filetype(os.Stdout, *library, *folder, *input, *output, *threads, flag.Args()); err != nil {
		log.Fatalf("filetype: %v", err)
	}
}

func filetype(w io.Writer, library, folder, input, output string, threads int, paths []string) error {
	magika, err := readMagika(folder)
	if err != nil {
		return err
	}
	files := make([]file, len(paths))
	var asked []*file // those that the model is asked about
	for i, path := range paths {
		f := &files[i]
		if *f, err = magika.read(path); err != nil {
			return err
		}
		if f.label == "" {
			asked = append(asked, f)
		}
	}
	if len(asked) > 0 {
		if err := onnxruntime.Init(library); err != nil {
			return err
		}
		m, err := onnxruntime.Load(magika.model, threads)
		if err != nil {
			return err
		}
		defer m.Close()
		if err := ask(m, magika, asked, input, output); err != nil {
			return err
		}
	}
	for i, f := range files {
		fmt.Fprintf(w, "%s\t%v\t%s\n", f.label, f.score, paths[i])
	}
	return nil
}

// ask has the model label the files, all in one run.
func ask(m *onnxruntime.Model, magika *magika, files []*file, input, output string) error {
	width := magika.Begin + magika.End
	question, err := segment(input, len(files)*width*4)
	if err != nil {
		return err
	}
	defer question.Close()
	err = judemap.UpdateSlice(question, []int{len(files), width}, func(tokens []int32) error {
		for i, f := range files {
			magika.tokens(tokens[i*width:(i+1)*width], f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	in, err := question.Read() // in place. It stays whole: as long as question is open, nobody else writes to it
	if err != nil {
		return err
	}

	labels := len(magika.Labels)
	answer, err := segment(output, len(files)*labels*4)
	if err != nil {
		return err
	}
	defer answer.Close()
	shape := []int{len(files), labels}
	err = answer.Update(shape, m.Output.DType, func(out []byte) error { return m.Run(&in, shape, out) })
	if err != nil {
		return err
	}
	return judemap.View(context.Background(), answer, func(_ []int, scores []float32) error {
		for i, f := range files {
			f.label, f.score = magika.judge(scores[i*labels : (i+1)*labels])
		}
		return nil
	})
}

// segment opens or makes the segment of this name, or makes one without a name.
func segment(name string, capacity int) (*judemap.Segment, error) {
	if name == "" {
		return judemap.New(capacity)
	}
	return judemap.OpenOrCreate(name, capacity)
}
