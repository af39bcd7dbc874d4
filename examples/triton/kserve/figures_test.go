package kserve_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve"
)

var figures = flag.Bool("figures", false, "measure, and print figures")

// What a call takes, from Infer to the commit: medians of 7 runs in turn, of the medians of 100 calls each.
func TestFigures(t *testing.T) {
	if !*figures {
		t.Skip("without -figures")
	}
	ctx := limit(t)
	const runs, calls, largest = 7, 100, 1 << 20
	in, answers, plain := newStream(t, 4, largest), newStream(t, 4, largest), newSegment(t, uniqueName(), largest)
	r := newReader(t, in)
	shared := newClient(t, []string{triton.address}, kserve.WithSharedOnly())
	sent := newClient(t, []string{triton.address}, kserve.WithBytes())
	cases := []struct {
		name   string
		client *kserve.Client
		to     kserve.Memory
		bytes  int
		took   []time.Duration
	}{
		{name: "64 B in and out, shared", client: shared, to: answers, bytes: 64},
		{name: "64 B in and out, bytes", client: sent, to: answers, bytes: 64},
		{name: "1 MiB in and out, shared, to a stream", client: shared, to: answers, bytes: largest},
		{name: "1 MiB in and out, shared, to a segment", client: shared, to: plain, bytes: largest},
		{name: "1 MiB in and out, bytes", client: sent, to: answers, bytes: largest},
	}
	for run := range runs + 1 { // the first warms up
		for i := range cases {
			c := &cases[i]
			shape := []int{1, c.bytes / 4}
			if err := in.Fill(ctx, shape, judemap.Float32, float64(run)); err != nil {
				t.Fatal(err)
			}
			frame, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			took := make([]time.Duration, calls)
			for n := range took {
				begun := time.Now()
				if err := c.client.Infer(ctx, "same_FP32", []kserve.Input{{"X", &frame, in}},
					[]kserve.Output{{Name: "Y", To: c.to, Shape: shape, DType: judemap.Float32}}); err != nil {
					t.Fatal(err)
				}
				took[n] = time.Since(begun)
			}
			if slices.Sort(took); run > 0 {
				c.took = append(c.took, took[calls/2])
			}
		}
	}
	for _, c := range cases {
		slices.Sort(c.took)
		ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
		fmt.Printf("figure: %s: %s ms [%s %s]\n", c.name, ms(c.took[runs/2]), ms(c.took[0]), ms(c.took[runs-1]))
	}
}
