# Thin front of CMake (CMakePresets.json does the work). `make help` lists the targets.
BUILD_PACKAGES = gcc g++ cmake pkg-config libjansson-dev libzstd-dev libxxhash-dev libsentencepiece-dev
TEST_PACKAGES  = $(BUILD_PACKAGES) libcmocka-dev libsimde-dev
DEMO_PACKAGES  = $(BUILD_PACKAGES) bible-kjv bible-kjv-text xz-utils bzip2
BENCH_PACKAGES = $(BUILD_PACKAGES) libdnnl-dev p7zip-full
FUZZ_PACKAGES  = $(TEST_PACKAGES) clang libclang-rt-14-dev
CROSS_PACKAGES = gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static cmake pkg-config
ARM64_PACKAGES = libjansson4 libjansson-dev libzstd1 libzstd-dev libxxhash0 libxxhash-dev libsentencepiece0 libsentencepiece-dev \
                 libcmocka0 libcmocka-dev
JOBS = $(shell nproc)
SECONDS_EACH = 60

# $(call cmake,PRESET): configures and builds a preset; what it prints is kept for when it fails.
cmake = cmake --preset $(1) >build-$(1).log 2>&1 || { cat build-$(1).log; exit 1; }; rm -f build-$(1).log; \
        cmake --build --preset $(1) -j$(JOBS)

build: packages-build
	@$(call cmake,release)
test: packages-test
	@$(call cmake,release)
	@ctest --preset release -j$(JOBS)
demo: build packages-demo
	@demo/run $(if $(TEXT),"$(TEXT)")
asan ubsan tsan clang: packages-test
	@$(call cmake,$@)
	@ctest --preset $@ -j$(JOBS)
aarch64: packages-cross
	@tools/sysroot arm64 build-aarch64/sysroot $(ARM64_PACKAGES)
	@$(call cmake,aarch64)
	@ctest --preset aarch64 -j$(JOBS)
fuzz: packages-fuzz
	@$(call cmake,fuzz)
	@for f in build-fuzz/fuzz/fuzz_*; do [ -x $$f ] && [ -f $$f ] || continue; name=$${f##*/fuzz_}; \
	  mkdir -p fuzz/findings/$$name; echo "== $$name, $(SECONDS_EACH) s"; \
	  $$f -max_total_time=$(SECONDS_EACH) -artifact_prefix=fuzz/findings/ fuzz/findings/$$name fuzz/corpus/$$name || exit 1; done
bench: packages-bench build
	@build/innerloop bench
results: packages-bench packages-demo build
	@bench/results
format: packages-format
	@git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i
check: packages-format packages-build
	@tools/check
clean:
	@rm -rf build build-*
help:
	@echo "make            build build/innerloop and the libraries"
	@echo "make test       build and run the tests"
	@echo "make demo       train and compare two small models on a real text (TEXT=file for yours)"
	@echo "make asan|ubsan|tsan|clang   the tests under a sanitizer, or built by clang"
	@echo "make aarch64    the tests of kernels and of one answer, cross-compiled, run by QEMU (minutes)"
	@echo "make fuzz       every fuzzer for SECONDS_EACH=60 seconds"
	@echo "make bench      speed of this machine: limits and fractions"
	@echo "make results    the figures of docs/results.md (hours)"
	@echo "make format     lay out the sources with clang-format; make check: the cheap checks of CI"

packages-build:  ; @tools/packages $(BUILD_PACKAGES)
packages-test:   ; @tools/packages $(TEST_PACKAGES)
packages-demo:   ; @tools/packages $(DEMO_PACKAGES)
packages-bench:  ; @tools/packages $(BENCH_PACKAGES)
packages-cross:  ; @tools/packages $(CROSS_PACKAGES)
packages-fuzz:   ; @tools/packages $(FUZZ_PACKAGES)
packages-format: ; @tools/packages clang-format

.PHONY: build test demo asan ubsan tsan clang aarch64 fuzz bench results format check clean help packages-build packages-test packages-demo \
        packages-bench packages-cross packages-fuzz packages-format
