# The entry points of the project, and no logic: each hands over to testbed/, e2e/ or cargo.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(TESTKIT_CACHE),$(or $(HOME),$(shell cd ~ && pwd))/.cache/testkit)
# Outside the checkout: a fresh clone builds only what changed.
export CARGO_TARGET_DIR ?= $(CACHE)/target

.PHONY: help demo demo-down env build test scenario fresh fuzz bench lint fmt crds image cross release reproduce

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## from nothing to a Ready SwarmCluster and a finished E2ERun on this machine; PROCESS=1: the operator as a process, in no pod
	@testbed/demo

demo-down: ## end the demo and remove everything of it from this machine
	@testbed/demo down

env: ## shell exports of the demo: eval "$(make -s env)"
	@testbed/bed env

build: ## build the operator, the kubectl plugin and the test suite
	@testbed/bed setup rust
	testbed/claim-target
	cargo build --locked --workspace

test: ## every check and test, on a bed of its own; the last line counts them
	@testbed/test

scenario: ## one row of docs/lifecycle.md on real hosts, such as NAME=frozen
	@testbed/test --scenario "$(or $(NAME),$(error which? such as NAME=frozen; docs/lifecycle.md names them))"

fresh: ## both of README's commands in a clone of HEAD, with nothing of this machine's caches
	@testbed/fresh

fuzz: ## fuzz what reads the words of hosts, images and users, FOR=60 seconds of each target
	@testbed/bed setup rust
	@testbed/fuzz $(or $(FOR),60) $(TARGET)

bench: ## measure the operator against its limits; writes target/bench.json
	@testbed/bench

lint: ## formatting, clippy, fuzz targets, licences and sources of dependencies
	@testbed/test --only lint

fmt: ## format the Rust code
	@testbed/bed setup rust
	cargo fmt --all

crds: ## write crds/ and docs/api.md from src/api
	@testbed/bed setup rust
	cargo run --locked --quiet --example crds

image: ## the suite's container image, made without Docker: target/e2e.tar
	@testbed/bed setup rust
	@e2e/image.sh target/e2e.tar

cross: ## the plugin's unit tests for arm64, and whether it compiles for macOS and Windows
	@testbed/bed setup rust
	@deploy/release/cross $(ONLY)

release: ## programs, archives, krew manifest, images, chart, SBOMs and digests, in target/release-files
	@testbed/bed setup rust
	@deploy/release/release

reproduce: ## whether two builds of HEAD are the same, for Linux
	@testbed/bed setup rust
	@deploy/release/reproduce
