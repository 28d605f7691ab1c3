# Thin front of CMake. `make help` lists the targets.
PRESET = release
build: ; @cmake --preset $(PRESET) $(QUIET) >/dev/null && cmake --build --preset $(PRESET) -j2
test: build ; @ctest --preset $(PRESET) -j2
.PHONY: build test
