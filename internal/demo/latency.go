package demo

import (
	"math/bits"
	"time"
)

// latencies counts durations, by size: each key is a bucket whose bounds are at most 3 % apart. It is a map so that
// JSON has only what is there.
type latencies map[int]int

// bucketBits is how many bits below its highest one a duration keeps in its bucket.
const bucketBits = 5

func (l latencies) add(d time.Duration) {
	l[bucketOf(uint64(max(d, 0)))]++
}

func (l latencies) addAll(other latencies) {
	for bucket, count := range other {
		l[bucket] += count
	}
}

// quantile returns the duration that this part of all durations does not exceed, and 0 if there are none.
func (l latencies) quantile(part float64) time.Duration {
	total, largest := 0, 0
	for bucket, count := range l {
		total, largest = total+count, max(largest, bucket)
	}
	left := int(part * float64(total))
	for bucket := range largest {
		if left -= l[bucket]; left < 0 {
			return time.Duration(bucketStart(bucket))
		}
	}
	return time.Duration(bucketStart(largest))
}

// bucketOf returns the bucket of a number: numbers that share their highest bit and the bucketBits behind it.
func bucketOf(n uint64) int {
	shift := max(bits.Len64(n)-1-bucketBits, 0)
	return shift<<bucketBits + int(n>>shift)
}

// bucketStart returns the smallest number of a bucket.
func bucketStart(bucket int) uint64 {
	shift := max(bucket>>bucketBits-1, 0)
	return uint64(bucket-shift<<bucketBits) << shift
}
