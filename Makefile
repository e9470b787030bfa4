# import-oci: everything one types, from a fresh machine on.
#
# The rule of this file: only deps, demo, test, vm-test and bench leave the tree or need root. They
# install packages and keep the images they make under $XDG_CACHE_HOME/import-oci. All else works as
# any user, needs no network beyond cargo's registry and no virtual machine, and writes to target/
# alone (install and install-ostree-ext: to DESTDIR and PREFIX).

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local
DESTDIR ?=

# Data that tests read but that is not ours to ship; a test that misses it says "not run".
export IMPORT_OCI_FIXTURES ?= $(abspath ../shared/fixtures)

binary := target/release/import-oci
stage := scripts/stage
as_root := $(if $(filter-out 0,$(shell id -u)),sudo)

cargo_deny_version := 0.20.2
cargo_deny := target/tools/cargo-deny-$(cargo_deny_version)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: deps
deps: ## install what the other targets need (apt or dnf; root or sudo)
	@$(stage) deps scripts/deps

.PHONY: build
build: ## build the release binary
	@$(stage) build cargo build --release --locked --package import-oci

.PHONY: demo
demo: deps build ## import a real image into a fresh repository and show the result
	@$(stage) "demo image" scripts/demo-image
	@$(stage) demo scripts/demo $(binary) "$$(scripts/demo-image)" target/demo/repo

# What ostree-ext does of the same, for tests to compare and to boot.
peers = $(stage) "peers build" scripts/peers target/peers

.PHONY: test
test: deps ## all tests, from a fresh machine on, with the two boots that tell most
	@$(stage) "demo image" scripts/demo-image
	@$(stage) "test build" cargo test --workspace --locked --no-run
	@$(peers)
	@IMPORT_OCI_DEMO_IMAGE="$$(scripts/demo-image)" $(stage) tests cargo test --workspace --locked
	@$(MAKE) vm-test cases=trixie_

# Linked statically, because guests are older and newer than the machine that builds it.
guest_agent = $(stage) "guest agent" cargo rustc --locked --package vm-tests --bin guest-agent -- \
	-C target-feature=+crt-static

# A part of the names of cases; all without it. On a machine that can start none the program exits
# with 77, which CI alone takes for a failure.
cases ?=

# Names of fixups to leave out, to see what becomes of a guest without them; the case fails then.
skip ?=

.PHONY: vm-test
vm-test: deps ## boot what the import makes in virtual machines; logs in target/vm-tests (root or sudo)
	@$(stage) "virtual machines" scripts/vm-deps
	@$(stage) "demo image" scripts/demo-image
	@$(stage) "vm test build" cargo build --locked --package import-oci --package vm-tests \
		--bin import-oci --bin vm-tests
	@$(peers)
	@$(guest_agent)
	@$(stage) "vm tests" $(as_root) env IMPORT_OCI_DEMO_IMAGE="$$(scripts/demo-image)" \
		IMPORT_OCI_VM_SKIP="$(skip)" target/debug/vm-tests $(cases) || { [ $$? -eq 77 ] && [ -z "$$CI" ]; }

.PHONY: check
check: $(cargo_deny)/bin/cargo-deny ## format, lints, docs, dependencies, unit tests: no root, minutes
	@$(stage) format cargo fmt --all --check
	@$(stage) clippy cargo clippy --workspace --all-targets --locked -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(stage) docs cargo doc --workspace --no-deps --locked
	@$(stage) deny $< --workspace check licenses bans sources
	@$(stage) "unit tests" cargo test --workspace --lib --locked

.PHONY: docs
docs: ## write the table of docs/fixups.md anew
	@IMPORT_OCI_WRITE_DOCS=1 $(stage) docs cargo test --quiet --locked --test docs

.PHONY: advisories
advisories: $(cargo_deny)/bin/cargo-deny ## known vulnerabilities of the dependencies; fetches their database
	@$(stage) advisories $< --workspace check advisories

# A tool of the tree's own, never the user's: unoptimised, because building it takes longer than all
# it does here.
$(cargo_deny)/bin/cargo-deny:
	@$(stage) "cargo-deny $(cargo_deny_version)" cargo install --quiet --locked --debug \
		--no-default-features --root $(cargo_deny) --target-dir target/tools/build \
		cargo-deny@$(cargo_deny_version)
	@rm -rf target/tools/build

.PHONY: bench
bench: deps build ## CPU, wall clock and memory against umoci and ostree, paired, and of updates
	@$(stage) "bench image" scripts/image bench
	@$(stage) "demo image" scripts/demo-image
	@$(stage) bench $(as_root) scripts/bench $(binary) "$$(scripts/image bench):v1" target/bench
	@$(stage) "bench of updates" $(as_root) scripts/bench --update $(binary) "$$(scripts/demo-image):v1" target/bench

.PHONY: install
install: build ## install the binary, its unit and its policy module to DESTDIR and PREFIX
	install -D -m 0755 $(binary) $(DESTDIR)$(PREFIX)/bin/import-oci
	install -D -m 0644 dist/import-oci.cil $(DESTDIR)$(PREFIX)/share/import-oci/import-oci.cil
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/bin/import-oci|$(PREFIX)/bin/import-oci|' dist/import-oci@.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/import-oci@.service
	install -D -m 0644 dist/ostree-finalize-staged.conf \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/ostree-finalize-staged.service.d/import-oci.conf

.PHONY: install-ostree-ext
install-ostree-ext: ## install `ostree container` besides, where neither bootc nor rpm-ostree has
	@$(stage) "build of ostree-ext" cargo build --release --locked --package ostree-ext-shim
	scripts/install-ostree-ext target/release/ostree-container "$(DESTDIR)" "$(PREFIX)"
