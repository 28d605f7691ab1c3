"""native.py: writes the C source of the extension innerloop._native, by cffi from the library's header.

usage: native.py HEADER OUTPUT.c

What cffi is told about the library is the header itself, without comments and preprocessor, so that it cannot differ
from it; and the C compiler checks every struct and prototype against the header once more.
"""

import re
import sys
from pathlib import Path

import cffi

CALLBACKS = """
extern "Python+C" int il_py_progress(void *user, uint64_t done, uint64_t total);
extern "Python+C" int il_py_write(void *user, const void *data, size_t bytes);
extern "Python+C" void il_py_log(void *user, il_log_level level, const char *line);
void free(void *);
"""


def declarations(header: str) -> str:
    """The declarations of a header as cffi takes them."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    text = text.replace("\\\n", " ")
    versions = re.findall(r"^#define (IL_VERSION_\w+) (\d+)$", text, flags=re.M)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    text = text.replace('extern "C" {', "").replace("IL_API ", "")
    if text.rstrip().endswith("}"):  # the end of extern "C"
        text = text.rstrip()[:-1]
    return "".join(f"#define {name} {value}\n" for name, value in versions) + text


def main() -> None:
    header, output = map(Path, sys.argv[1:])
    ffi = cffi.FFI()
    ffi.cdef(declarations(header.read_text(encoding="utf-8")))
    ffi.cdef(CALLBACKS.replace('"Python+C"', '"Python"'))
    # An enum may be of an unsigned type; the warning is about cffi's own checks.
    ffi.set_source("innerloop._native", '#include <stdlib.h>\n#include "innerloop.h"\n', py_limited_api=True)
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    main()
