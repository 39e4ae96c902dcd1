// Package versus measures the gateway against Postfix: whole runs of both on one machine, in one benchmark, as ratios. It holds
// benchmarks only:
//
//	go test -run '^$' -bench . -benchtime 1x ./gateway/versus
package versus
