/* json_scan.h: finds a few string fields of one JSON object after another without building anything of the rest.
 * Memory is that of the strings that were asked for; the object comes in pieces of any size.
 *
 * What is asked for is read strictly: UTF-8, no control characters, no field twice; a lone surrogate becomes U+FFFD.
 * What is skipped needs only brackets and quotes that match: numbers of any size, unknown words, broken escapes and
 * bytes that are not UTF-8 are nobody's business. */
#ifndef IL_TEXT_JSON_SCAN_H
#define IL_TEXT_JSON_SCAN_H

#include "innerloop.h"

enum { IL_JSON_DEPTH_MAX = 1024, IL_JSON_FIELDS_MAX = 3, IL_JSON_KEY_MAX = 255, IL_JSON_SEEN = 160 };

typedef enum il_json_result { IL_JSON_MORE, IL_JSON_DONE, IL_JSON_BAD, IL_JSON_NOMEM } il_json_result;

typedef struct il_json_string {
    char *text; /* [bytes] */
    size_t bytes, capacity;
    int found;
} il_json_string;

typedef struct il_json_scan {
    const il_allocator *allocator;
    const char *fields[IL_JSON_FIELDS_MAX]; /* NULL: not asked for */
    size_t bytes_max;                       /* of all strings together */
    const char *why;                        /* after IL_JSON_BAD */
    /* Of the last object: what was found, and the names of its strings, for messages. */
    il_json_string strings[IL_JSON_FIELDS_MAX];
    char seen[IL_JSON_SEEN];
    /* where it stands */
    int state, depth, bare;
    int is_key, target; /* of the string being read: its field; -1: the key; -2: skipped */
    unsigned is_array[(IL_JSON_DEPTH_MAX + 31) / 32];
    char key[IL_JSON_KEY_MAX + 1]; /* of the outermost object */
    size_t key_bytes;              /* more than IL_JSON_KEY_MAX: too long to be one of ours */
    unsigned code, high;           /* of \uXXXX; the first of a pair, 0: none */
    int digits;
    size_t bytes;
} il_json_scan;

/* The scan must be zeroed and its first three fields set. Forgets the object before; bare: 1 where a string may stand
 * instead of an object, whose text is then that of the first field. */
void il_json_begin(il_json_scan *scan, int bare);
/* Takes the next bytes up to the end of the object, at most; *taken: how many. IL_JSON_DONE when it is whole. */
il_json_result il_json_feed(il_json_scan *scan, const char *data, size_t bytes, size_t *taken);
void il_json_free(il_json_scan *scan);

#endif
