package kserve_test

import (
	"context"
	"fmt"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve"
)

func Example() {
	if err := negatives(context.Background()); err != nil {
		fmt.Println(err)
	}
}

// Its lines are those of docs/triton.md.
func negatives(ctx context.Context) error {
	client, err := kserve.New([]string{"127.0.0.1:8001"}) // several take turns
	if err != nil {
		return err
	}
	defer client.Close()
	camera, err := judemap.OpenOrCreateStream("camera", 4, 1<<20)
	if err != nil {
		return err
	}
	defer camera.Close()
	negatives, err := judemap.OpenOrCreateStream("negatives", 4, 1<<20)
	if err != nil {
		return err
	}
	defer negatives.Close()
	r, err := camera.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		frame, err := r.Next(ctx) // held, and so whole, until the next Next
		if err != nil {
			return err
		}
		err = client.Infer(ctx, "invert",
			[]kserve.Input{{Name: "PICTURE", Tensor: &frame, In: camera}},
			[]kserve.Output{{Name: "NEGATIVE", To: negatives, Shape: frame.Shape(), DType: frame.DType()}})
		if err != nil { // such as kserve.ErrServerGone: no frame was committed
			return err
		}
	}
}
