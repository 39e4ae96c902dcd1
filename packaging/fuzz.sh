#!/bin/sh
# Runs every fuzz target for FUZZTIME each: a time, or a number of executions such as 1000x.
set -eu
GO=${GO:-go}
for dir in $($GO list -f '{{.Dir}}' ./...); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go 2>/dev/null); do
		echo "fuzz $(basename "$dir") $target"
		(cd "$dir" && $GO test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 10x .)
	done
done
