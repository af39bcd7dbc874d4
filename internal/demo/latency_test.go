package demo

import (
	"testing"
	"time"
)

func TestLatencies(t *testing.T) {
	l := latencies{}
	if got := l.quantile(0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Microsecond)
	}
	l.add(-1) // a clock that steps counts as 0
	for _, test := range []struct {
		part float64
		want time.Duration
	}{{0, 0}, {0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}, {1, 1000 * time.Microsecond}} {
		if got := l.quantile(test.part); got > test.want || float64(got) < 0.96*float64(test.want) {
			t.Errorf("quantile %v: %v, want %v less 3 %%", test.part, got, test.want)
		}
	}
	for _, n := range []uint64{0, 1, 63, 64, 65, 1 << 20, 1<<63 - 1} {
		bucket := bucketOf(n)
		if bucketStart(bucket) > n || bucketStart(bucket+1) <= n {
			t.Errorf("%d is not in its bucket, %d to %d", n, bucketStart(bucket), bucketStart(bucket+1))
		}
	}
}
