# coexist: make demo shows it at work, make test runs every test. Both do their own set-up.
GO ?= go
BIN := bin

.PHONY: build demo test check fuzz bench docs clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ ./cmd/coexist ./cmd/fakemta ./cmd/smtpdialog

demo: build
	$(BIN)/coexist demo

# Every test, with the race detector. Tests that need a program which is not installed say so and are skipped; with CI=true they fail.
test:
	$(GO) test -race ./...

check:
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$fmt" ]; then echo "gofmt would change:"; echo "$$fmt"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# A short run of every fuzz target; FUZZTIME=30m for a long one.
FUZZTIME ?= 5s
fuzz:
	GO="$(GO)" FUZZTIME="$(FUZZTIME)" sh packaging/fuzz.sh

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

docs:
	$(GO) test ./gateway/config -run TestDocs -update

clean:
	rm -rf $(BIN)
