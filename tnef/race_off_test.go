//go:build !race

package tnef_test

// raceEnabled: the race detector allocates for itself.
const raceEnabled = false
