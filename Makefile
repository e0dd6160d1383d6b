# Everything a developer or a fresh Debian machine with Go needs. See README.md.
GO      ?= go
BIN     := bin/postvagt
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo development)
export CGO_ENABLED ?= 0

.PHONY: build demo test check corpus faults fuzz bench bench-scale tools clean

build:
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/postvagt

demo: build
	$(BIN) demo

# All tests, with the race detector, real partners included. Installs what is missing when it may.
test: tools check
	scripts/test

# What a machine can see in the code without running it.
check:
	scripts/check

# How well CPR numbers are found, by category, beside the patterns that people use.
corpus:
	go run ./corpus

# A hundred faults upon three guards over one PostgreSQL with a standby.
faults: tools
	$(GO) test ./internal/cluster -count=1 -timeout=30m -v -run='^TestFaults$$' -faults=100

# Random input for every parser, FUZZTIME each. What it finds becomes a seed, which 'make test' then runs.
FUZZTIME ?= 10s
fuzz:
	scripts/fuzz $(FUZZTIME)

bench: build tools
	bench/run
	bench/scale

# The times that a ledger of ten million deliveries takes, in both engines: docs/scale.md. Needs 30 GB in TMPDIR and a quarter of an hour.
SCALE ?= 10000000
bench-scale: tools
	$(GO) test ./internal/ledger/postgres -count=1 -timeout=2h -v -run='^TestScale$$' -ledger.scale=$(SCALE)
	$(GO) test ./internal/ledger/sqlite -count=1 -timeout=2h -v -run='^TestScale$$' -ledger.scale=$(SCALE)

tools:
	scripts/install-test-tools

clean:
	rm -rf bin
