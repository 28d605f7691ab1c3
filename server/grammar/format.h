/* format.h: response_format, and text.format of Responses: that an answer is any text, a JSON object, or a JSON
 * document that satisfies a schema. */
#ifndef SERVER_FORMAT_H
#define SERVER_FORMAT_H

#include "grammar/schema.h"

/* value: what the field `field` of a request holds, NULL: nothing. *found [grammar] is what answers must be, released
 * by format_free; NULL: any text. */
int format_parse(const json_t *value, const char *field, grammar **found, problem *p);
void format_free(grammar *g); /* NULL allowed */

#endif
