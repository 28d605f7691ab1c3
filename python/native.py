"""native.py: writes the C source of the extension innerloop._native, by cffi from the library's header.

usage: native.py HEADER OUTPUT.c

What cffi is told about the library is the header itself, without comments and preprocessor, so that it cannot differ
from it; and the C compiler checks every struct and prototype against the header once more.
"""

import re
import sys
from pathlib import Path

import cffi

# A token more of a text in one call, so that a small model does not wait for Python between drawing and reading.
DRAWING = """
typedef struct il_py_drawing {
    il_sample_options options;
    int vocab_size;        /* tokens that are drawn from */
    float *logits;         /* [the model's] */
    const int32_t *stops;  /* [n_stops] ascending */
    size_t n_stops, n_recent;
    int32_t recent[64];    /* [n_recent] the last tokens, for repeat_penalty */
    int32_t token;         /* out */
    int stopped;           /* out: it is one of the stops, and was not read */
} il_py_drawing;
"""

DRAW = """
static il_status il_py_draw(il_session *session, il_py_drawing *d, il_error *error) {
    enum { RECENT = sizeof d->recent / sizeof d->recent[0] };
    size_t low = 0, high = d->n_stops;
    il_status status = il_session_logits(session, d->logits, error);
    if (!status)
        status = il_sample(&d->options, d->logits, d->vocab_size, il_session_position(session), d->recent, d->n_recent,
                           &d->token, error);
    if (status) return status;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->stops[middle] < d->token)
            low = middle + 1;
        else
            high = middle;
    }
    d->stopped = low < d->n_stops && d->stops[low] == d->token;
    if (d->stopped) return IL_OK;
    if (d->n_recent == RECENT) memmove(d->recent, d->recent + 1, (RECENT - 1) * sizeof d->recent[0]);
    d->n_recent -= d->n_recent == RECENT;
    d->recent[d->n_recent++] = d->token;
    return il_session_feed(session, &d->token, 1, NULL, NULL, error);
}
"""

CALLBACKS = """
extern "Python+C" int il_py_progress(void *user, uint64_t done, uint64_t total);
extern "Python+C" int il_py_write(void *user, const void *data, size_t bytes);
extern "Python+C" void il_py_taken(void *user, const char *name, il_tensor_fate fate);
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
    ffi.cdef(DRAWING + "il_status il_py_draw(il_session *session, il_py_drawing *drawing, il_error *error);")
    ffi.cdef(CALLBACKS.replace('"Python+C"', '"Python"'))
    # An enum may be of an unsigned type; the warning is about cffi's own checks.
    source = '#include <stdlib.h>\n#include <string.h>\n#include "innerloop.h"\n' + DRAWING + DRAW
    ffi.set_source("innerloop._native", source, py_limited_api=True)
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    main()
