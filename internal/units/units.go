// Package units writes measures as text.
package units

import (
	"fmt"
	"time"
)

// Bandwidth returns bytes a second as text, as in "1.25 GB/s".
func Bandwidth(bytes float64) string {
	switch {
	case bytes >= 1e9:
		return fmt.Sprintf("%.2f GB/s", bytes/1e9)
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB/s", bytes/1e6)
	}
	return fmt.Sprintf("%.1f kB/s", bytes/1e3)
}

// Rounded returns a duration with about three digits.
func Rounded(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
