# The only door to pd-lite: README, CI and people use these targets (`make help`).
# One cargo profile (release) for all of them, so the gRPC core compiles once.

# Files are built here. Absolute, so that it means the same everywhere.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# gRPC's CMake files ask for versions that CMake 4 no longer takes; CMake 3 ignores this.
export CMAKE_POLICY_VERSION_MINIMUM ?= 3.5

CARGO_FLAGS = --release --locked
GRPC_CORE = "$(CARGO_TARGET_DIR)"/release/build/grpcio-sys-*/out/build/libgrpc_unsecure.a
CLIENT_VENV = $(CARGO_TARGET_DIR)/foreign-client

# $(call install,<Debian packages>): by apt-get, as root or by sudo; else one line that says what to do.
install = \
	if [ -z "$$(command -v apt-get)" ]; then \
		echo "pd-lite: missing: $(1) (Debian's names): install them, then run make again" >&2; exit 1; \
	elif [ "$$(id -u)" = 0 ]; then sudo=; \
	elif sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "pd-lite: run this, then make again: sudo apt-get install -y $(1)" >&2; exit 1; fi; \
	echo "pd-lite: installing $(1)" >&2; \
	$$sudo apt-get -qq update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $(1) >/dev/null

.PHONY: help run cluster build test crash breaks fuzz test-foreign bench bench-quick compare reach lint doc ci deps tools
.NOTPARALLEL:

help:
	@echo "make run           a PD on 127.0.0.1:2379, workdir ./artifacts/pd; more flags: make run ARGS='--addr :2379'"
	@echo "make cluster       a PD and three stores without data on this machine, workdirs in ./artifacts/cluster"
	@echo "make test          the tests; some of them: make test ARGS=<part of a test's name>"
	@echo "make crash         kill -9 under load, restart, check, CYCLES times (30; a few of them are in make test): make crash CYCLES=1000 SEED=7"
	@echo "make breaks        breaks the code on purpose, each time in one way, and has the tests see it; some: make breaks ARGS=<part of a name>"
	@echo "make fuzz          mangled input until something breaks: make fuzz TARGET=replay FUZZ_SECONDS=60"
	@echo "make test-foreign  the README's Python client against the real server"
	@echo "make bench         benchmarks, 10 minutes, and one table; some of them: make bench ARGS=<part of a bench's name>"
	@echo "make bench-quick   fewer and shorter, 90 seconds"
	@echo "make compare       two builds, or servers, under one load in turns: make compare A=<program or HOST:PORT> B=<the same> LOAD='tso --concurrency 64'; also PAIRS=20 DURABLE=1 A_PID=<process> B_PID=<process>"
	@echo "make reach         each target beside what it is compared with; some: make reach ARGS='adapter cpu streams allocations tail batching heartbeats catalog memory tso router'"
	@echo "make lint          format, clippy and documentation, warnings denied"
	@echo "make doc           the documentation, in $(CARGO_TARGET_DIR)/doc"
	@echo "make ci            lint, test, crash, test-foreign"
	@echo "make build         $(CARGO_TARGET_DIR)/release/pd-lite"

# cargo becomes the server (exec): a signal reaches it directly, and its exit code is the one make sees.
run: deps
	@exec cargo run $(CARGO_FLAGS) -- pd --workdir ./artifacts/pd $(ARGS)

# The script is what a signal reaches, and its exit code is the one make sees.
cluster: build
	@exec sh examples/cluster.sh "$(CARGO_TARGET_DIR)/release/pd-lite"

build: deps
	cargo build $(CARGO_FLAGS)

test: deps
	cargo test $(CARGO_FLAGS) $(ARGS)
	cargo test $(CARGO_FLAGS) --manifest-path tests/interleavings/Cargo.toml $(ARGS)

# What it found and how to repeat it is printed; the workdir of a failure is kept.
CYCLES = 30
SEED =
crash: deps
	PD_LITE_TEST_CRASH_CYCLES=$(CYCLES) PD_LITE_TEST_CRASH_SEED=$(SEED) cargo test $(CARGO_FLAGS) --test tests -- --nocapture crash::

# In a copy of the checkout, with a target directory of its own. An hour or so for all: much is built anew for each.
breaks: deps
	PD_LITE_TEST_BREAKS="$(ARGS)" cargo test $(CARGO_FLAGS) --test tests -- --ignored --exact --nocapture breaks::every_break_is_caught

# Until it finds something, or for FUZZ_SECONDS; what it finds is in $(CARGO_TARGET_DIR)/fuzz/artifacts.
FUZZ_SECONDS = 0
fuzz:
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "pd-lite: missing: cargo-fuzz and a nightly Rust: run 'rustup toolchain install nightly && cargo install cargo-fuzz'" >&2; exit 1; }
	@ls tests/fuzz/targets/$(TARGET).rs >/dev/null 2>&1 || { echo "pd-lite: which one? make fuzz TARGET=config (or record, replay, requests, state)" >&2; exit 1; }
	mkdir -p "$(CARGO_TARGET_DIR)/fuzz/corpus/$(TARGET)" "$(CARGO_TARGET_DIR)/fuzz/artifacts"
	cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$(CARGO_TARGET_DIR)/fuzz" $(TARGET) "$(CARGO_TARGET_DIR)/fuzz/corpus/$(TARGET)" -- \
		-max_total_time=$(FUZZ_SECONDS) -artifact_prefix="$(CARGO_TARGET_DIR)/fuzz/artifacts/$(TARGET)-"

test-foreign: deps
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { $(call install,python3 python3-venv); }
	test -x "$(CLIENT_VENV)/bin/pip" || python3 -m venv "$(CLIENT_VENV)"
	"$(CLIENT_VENV)/bin/pip" install --quiet grpcio grpcio-tools
	cargo test $(CARGO_FLAGS) --test tests -- --ignored --list readme:: | grep ': test$$' # no such test is a failure
	PD_LITE_TEST_PYTHON="$(CLIENT_VENV)/bin/python" cargo test $(CARGO_FLAGS) --test tests -- --ignored readme::

# The figures of a run are left in a directory of their own, so that none of an earlier run gets into the table.
BENCH_ROWS = $(CARGO_TARGET_DIR)/bench
BENCH_JSON = $(CARGO_TARGET_DIR)/bench.json
bench-quick: export PD_LITE_BENCH_QUICK = 1
bench bench-quick: export PD_LITE_BENCH_ROWS = $(BENCH_ROWS)
bench bench-quick: deps
	rm -rf "$(BENCH_ROWS)" "$(BENCH_JSON)"
	cargo bench --locked --bench tso --bench routing --bench heartbeat --bench restart -- --output-format bencher $(ARGS)
	cargo bench --locked --bench table -- "$(BENCH_JSON)"

# A and B are programs, or addresses of running servers; those have no CPU time without a number of their process.
PAIRS = 10
DURABLE =
A_PID =
B_PID =
LOAD = tso
compare: deps
	@[ -n "$(A)" ] && [ -n "$(B)" ] || { echo "pd-lite: which two? make compare A=<program or HOST:PORT> B=<the same> LOAD='tso --concurrency 64'" >&2; exit 1; }
	cargo bench --locked --bench compare -- --pairs $(PAIRS) $(if $(DURABLE),--durable) $(if $(A_PID),--a-pid $(A_PID)) $(if $(B_PID),--b-pid $(B_PID)) "$(A)" "$(B)" $(LOAD)

reach: deps
	cargo bench --locked --bench reach -- $(ARGS)

lint: deps
	cargo fmt --check
	cargo fmt --check --manifest-path tests/interleavings/Cargo.toml
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

doc: deps
	cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

ci: tools lint test crash test-foreign

# What some tests need, and are left out without; with PD_LITE_TEST_EVERYTHING in the environment they fail instead.
tools:
	@if ! { command -v strace && command -v unshare && command -v nsenter; } >/dev/null; then $(call install,strace util-linux mount); fi

# What compiling the gRPC core takes besides Rust and make.
deps:
	@command -v cargo >/dev/null || { echo "pd-lite: cargo is not on PATH: install Rust from https://rustup.rs, or run '. ~/.cargo/env'" >&2; exit 1; }
	@if ! { command -v cmake && command -v cc && command -v c++; } >/dev/null; then $(call install,cmake g++); fi
	@ls $(GRPC_CORE) >/dev/null 2>&1 || echo "pd-lite: the first build compiles the gRPC core, once: several minutes" >&2
