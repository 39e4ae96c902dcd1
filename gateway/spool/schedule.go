package spool

import "time"

// Schedule says how long a message waits after each attempt.
type Schedule struct {
	// Retry is delivery.retry: the wait after the first attempt, the second, and so on; the last one repeats. Empty is 15 minutes.
	Retry []time.Duration
	// Jitter is the greatest deviation as a part of the wait, 0 to 1; the waits of messages that failed together spread.
	Jitter float64
}

// NextDelay is the wait after the given number of attempts (1 and up). random is in [0, 1).
func (s Schedule) NextDelay(attempts int, random float64) time.Duration {
	d := 15 * time.Minute
	if n := len(s.Retry); n > 0 {
		d = s.Retry[min(max(attempts, 1), n)-1]
	}
	return d + time.Duration(float64(d)*s.Jitter*(2*random-1))
}
