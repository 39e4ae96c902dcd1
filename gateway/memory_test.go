package gateway

import "testing"

func TestGCPace(t *testing.T) {
	for _, tt := range []struct {
		name              string
		connections, more int
		want              int
	}{
		{"none", 0, 0, paceAtWork},
		{"a busy gateway", 1000, 1000, paceAtWork},
		{"fewer than a crowd", 2*crowd - 1, 500, paceAtWork},
		{"a crowd comes", 2 * crowd, 500, paceRush},
		{"ten thousand come", 10_000, 1500, paceRush},
		{"they are there", 10_000, 0, paceCrowd},
		{"some come and go", 10_000, 100, paceCrowd},
		{"they leave", 5_000, -5_000, paceCrowd},
	} {
		if got := gcPace(tt.connections, tt.more); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
