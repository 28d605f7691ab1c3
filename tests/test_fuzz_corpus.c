/* test_fuzz_corpus.c: every file of every fuzzer's corpus through that fuzzer, as an ordinary test. The
 * fuzzers are compiled in; fuzz_targets.h, which the build writes, has a line FUZZ_TARGET(NAME) for each. */
#include "support_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_files.h"

#define FUZZ_TARGET(name) int fuzz_##name##_one(const uint8_t *data, size_t bytes);
#include "fuzz_targets.h"
#undef FUZZ_TARGET

static void replay(const char *name, int (*one)(const uint8_t *data, size_t bytes)) {
    char folder[4096];
    size_t bytes;
    int files = 0;
    snprintf(folder, sizeof folder, "%s/%s", CORPUS, name);
    DIR *dir = opendir(folder);
    if (!dir) fail_msg("%s: a fuzzer without a corpus", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        char *text = support_read(support_path(folder, entry->d_name), &bytes);
        unsigned char *data = malloc(bytes ? bytes : 1); /* to the byte, so that a sanitizer sees a read past the end */
        assert_non_null(data);
        memcpy(data, text, bytes);
        assert_int_equal(one(data, bytes), 0);
        free(data);
        free(text);
        files++;
    }
    closedir(dir);
    if (files == 0) fail_msg("%s: an empty corpus", folder);
    assert_int_equal(one((const uint8_t *)"", 0), 0);
}

#define FUZZ_TARGET(name)                                                                                              \
    static void corpus_of_##name(void **state) {                                                                       \
        (void)state;                                                                                                   \
        replay(#name, fuzz_##name##_one);                                                                              \
    }
#include "fuzz_targets.h"
#undef FUZZ_TARGET

int main(void) {
#define FUZZ_TARGET(name) cmocka_unit_test(corpus_of_##name),
    const struct CMUnitTest tests[] = {
#include "fuzz_targets.h"
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
