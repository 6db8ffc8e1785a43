# Every target may be run again at any time: what is there already is left as it is.
#   make run     a one-machine cluster with its demo (Ctrl-C stops it and cleans up)
#   make test    everything that proves it works
#   make soak    the fault tests in their long form, an hour or more (WEFT_SOAK_ONLY=SUITE,SUITE for some of them)
SHELL := /bin/bash
CONFIGURATION ?= release
BIN := .build/$(CONFIGURATION)
SWIFT_BUILD := swift build -c $(CONFIGURATION) --static-swift-stdlib
UP_FLAGS ?= --demo

.PHONY: all setup tools build debug run test lint check unit e2e bench soak format clean

all: build

setup:
	@scripts/setup.sh

# What only the tests need.
tools: setup
	@scripts/setup-tests.sh

build: setup
	$(SWIFT_BUILD) --product weft
	$(SWIFT_BUILD) --product weft-cni

# The tests and what they stand on. Once, however many of the targets below need it.
debug: setup
	swift build --build-tests

run: build
	@echo 'for kubectl and weft in another terminal: export PATH=$(CURDIR)/.tools/bin:$(CURDIR)/$(BIN):$$PATH' >&2
	$(BIN)/weft up $(UP_FLAGS)

lint:
	swift format lint --strict --recursive --configuration .swift-format Sources Tests Package.swift

# Format and the house rules; warnings are errors in every build.
check: lint debug
	scripts/test.sh --skip-build --filter TidyTests

# One after the other: many time something or start real programs, and on two cores neighbours would decide the outcome.
# The API server's suites run twice, objects in SQLite and objects in a real etcd; those about what happens before an object is stored
# (who may, webhooks, other servers, streams, forms of requests), and of two servers, which share an etcd anyway, once.
BEFORE_STORE = Aggregation|Webhook|TokenTests|StreamsTests|OpenAPI|RequestForm|AccessTests|AuthenticationTests|EscalationTests|HostileBytes|RequestOptions|WireTests|SlowClient|PageTests|FrameSplice|Compression|JWTTests|RuleTests|TwoServersTests

unit: tools debug
	scripts/test.sh --skip-build --no-parallel --skip EndToEnd --skip TidyTests
	WEFT_TEST_STORE=etcd scripts/test.sh --skip-build --no-parallel --filter ClusterServerTests --skip '$(BEFORE_STORE)'

# The program as its users meet it: kubectl, containerd, the kernel.
e2e: build tools debug
	WEFT_BIN_DIR=$(CURDIR)/$(BIN) scripts/test.sh --skip-build --no-parallel --filter EndToEnd

test: build check unit e2e

# The long form of tests that are short in `unit` and `e2e`: more rounds, every call, more watchers. Not part of `test`.
soak: build tools debug
	WEFT_BIN_DIR=$(CURDIR)/$(BIN) scripts/soak.sh

bench: build
	Benchmarks/run.sh

format:
	swift format --in-place --recursive --configuration .swift-format Sources Tests Package.swift

clean:
	rm -rf .build
