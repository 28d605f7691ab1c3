/* support_bench.h: the rows of `innerloop bench --json`. */
#ifndef IL_SUPPORT_BENCH_H
#define IL_SUPPORT_BENCH_H

#include "support_cli.h"

/* Row i, and whether it is of this work and mixer (NULL: none). */
static inline const json_t *row_at(const json_t *object, size_t i, const char *work, const char *mixer) {
    const json_t *row = json_array_get(json_object_get(object, "rows"), i);
    assert_non_null(row);
    assert_string_equal(support_string(row, "work"), work);
    if (mixer)
        assert_string_equal(support_string(row, "mixer"), mixer);
    else
        assert_true(json_is_null(json_object_get(row, "mixer")));
    return row;
}

#endif
