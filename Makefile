# Thin front of CMake (CMakePresets.json does the work). `make help` lists the targets.
BUILD_PACKAGES = gcc g++ cmake pkg-config libjansson-dev libzstd-dev zlib1g-dev libxxhash-dev libsentencepiece-dev
# What is left out of a build that lacks them.
MORE_PACKAGES  = libmicrohttpd-dev libsqlite3-dev libhiredis-dev libpng-dev libgif-dev
TEST_PACKAGES  = $(BUILD_PACKAGES) $(MORE_PACKAGES) libcmocka-dev libsimde-dev
CHECK_PACKAGES = $(BUILD_PACKAGES) clang-format
DEMO_PACKAGES  = $(BUILD_PACKAGES) $(MORE_PACKAGES) bible-kjv bible-kjv-text xz-utils bzip2
BENCH_PACKAGES = $(BUILD_PACKAGES) libdnnl-dev p7zip-full
FUZZ_PACKAGES  = $(TEST_PACKAGES) clang libclang-rt-14-dev
CROSS_PACKAGES = gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static cmake pkg-config
ARM64_PACKAGES = libjansson4 libjansson-dev libzstd1 libzstd-dev zlib1g zlib1g-dev libxxhash0 libxxhash-dev libsentencepiece0 libsentencepiece-dev \
                 libcmocka0 libcmocka-dev
JOBS = $(shell nproc)
MPI_PACKAGES   = libopenmpi-dev openmpi-bin libmpich-dev mpich iproute2
SECONDS_EACH = 60
PREFIX = /usr/local

need = tools/packages --install
# $(call cmake,PRESET): configures and builds a preset; says what is left out for want of a package. The rest of what
# configuring prints is kept for when it fails.
cmake = cmake --preset $(1) >build-$(1).log 2>&1 || { cat build-$(1).log; exit 1; }; \
        sed -n 's/^-- left out: /not built: /p' build-$(1).log; rm -f build-$(1).log; \
        cmake --build --preset $(1) -j$(JOBS)

build:
	@tools/packages $(BUILD_PACKAGES) || { echo "or let 'make deps' do it" >&2; exit 1; }
	@$(call cmake,release)
deps:
	@$(need) $(sort $(TEST_PACKAGES) $(CHECK_PACKAGES))
install: build
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"
test:
	@$(need) $(TEST_PACKAGES)
	@$(call cmake,release)
	@ctest --preset release -j$(JOBS)
demo:
	@$(need) $(DEMO_PACKAGES)
	@$(call cmake,release)
	@demo/run $(if $(TEXT),"$(TEXT)")
pictures:
	@$(need) $(BUILD_PACKAGES) $(MORE_PACKAGES)
	@$(call cmake,release)
	@demo/pictures
asan ubsan tsan:
	@$(need) $(TEST_PACKAGES)
	@$(call cmake,$@)
	@ctest --preset $@ -j$(JOBS)
clang clang-ubsan:
	@$(need) $(TEST_PACKAGES) clang libclang-rt-14-dev
	@$(call cmake,$@)
	@ctest --preset $@ -j$(JOBS)
aarch64:
	@$(need) $(CROSS_PACKAGES)
	@tools/sysroot arm64 build-aarch64/sysroot $(ARM64_PACKAGES)
	@$(call cmake,aarch64)
	@ctest --preset aarch64 -j$(JOBS)
fuzz:
	@$(need) $(FUZZ_PACKAGES)
	@$(call cmake,fuzz)
	@for f in build-fuzz/fuzz/fuzz_*; do [ -x $$f ] && [ -f $$f ] || continue; name=$${f##*/fuzz_}; \
	  mkdir -p fuzz/findings/$$name; echo "== $$name, $(SECONDS_EACH) s"; \
	  $$f -max_total_time=$(SECONDS_EACH) -artifact_prefix=fuzz/findings/ fuzz/findings/$$name fuzz/corpus/$$name || exit 1; done
bench:
	@$(need) $(BENCH_PACKAGES)
	@$(call cmake,release)
	@build/innerloop bench
soak:
	@$(need) $(TEST_PACKAGES) zstd redis-server
	@$(call cmake,release)
	@tools/readme-check
	@tools/smollm2
	@bench/server/clients
	@bench/server/browser
	@bench/server/conformance
	@bench/server/hostile
	@python/check
	@IL_KILL_ROUNDS=30 build/tests/test_server_killed
	@build/tests/test_server_redis
soak-train:
	@$(need) $(TEST_PACKAGES) $(MPI_PACKAGES)
	@$(call cmake,release)
	@IL_LONG=1 build/tests/test_parity
	@cmake --build --preset release -j$(JOBS) --target bench_ranks
	@bench/train/large-data
	@bench/ranks/kills
	@[ $$(id -u) != 0 ] || bench/ranks/network
	@bench/ranks/scaling
results:
	@$(need) $(sort $(BENCH_PACKAGES) $(DEMO_PACKAGES))
	@$(call cmake,release)
	@bench/results
format:
	@$(need) clang-format
	@git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i
check:
	@$(need) $(CHECK_PACKAGES)
	@$(call cmake,release) --target innerloop innerloop_shared
	@tools/check
clean:
	@rm -rf build build-*
help:
	@echo "make            build build/innerloop and the libraries; says which packages are missing, and installs none"
	@echo "make deps       install the packages that make, make test and make check need"
	@echo "make install    install the command, libraries, header and bundled models under PREFIX=/usr/local (DESTDIR= before it)"
	@echo "make clean      remove what was built"
	@echo
	@echo "These install the packages that they need, if they may (as root, or by sudo):"
	@echo "make test       build and run the tests"
	@echo "make demo       train and compare two small models on a real text (TEXT=file for yours)"
	@echo "make pictures   draw with the bundled models: build/pictures, and demo/pictures.html"
	@echo "make check      the cheap checks of CI: layout of the sources, the header alone, exported symbols, README's commands"
	@echo "make format     lay out the sources with clang-format"
	@echo "make asan|ubsan|tsan|clang   the tests under a sanitizer, or built by clang"
	@echo "make clang-ubsan   the tests of models and sessions under clang's sanitizer of undefined behaviour"
	@echo "make aarch64    the tests of kernels and of one answer, cross-compiled, run by QEMU (minutes)"
	@echo "make fuzz       every fuzzer for SECONDS_EACH=60 seconds"
	@echo "make soak       every command of README and docs, as it is written, a real model, clients, a browser and enemies of the server, the Python package (many minutes; fetches packages and 93 MB)"
	@echo "make soak-train   training on 20 GB of made tokens, fifty steps beside the official code's, and by ranks that are killed, on a shaped network, and beside threads (many minutes)"
	@echo "make bench      speed of this machine: limits and fractions"
	@echo "make results    the figures of docs/results.md (hours)"

.PHONY: build deps install test demo pictures asan ubsan tsan clang clang-ubsan aarch64 fuzz bench soak soak-train results format check clean help
