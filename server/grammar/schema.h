/* schema.h: a JSON Schema as a grammar. A subset: whatever else would bind a document is refused by its name, so that
 * every document of the grammar satisfies the schema. Not every one that satisfies it is of the grammar: properties
 * come in the order of the schema, and words of an enum in one spelling. */
#ifndef SERVER_SCHEMA_H
#define SERVER_SCHEMA_H

#include "common/json.h"
#include "grammar/grammar.h"

/* field: what the request calls the schema; problems name FIELD.KEYWORD. Free the grammar also after a problem. */
int schema_compile(const json_t *schema, const char *field, grammar *g, problem *p);
/* Any JSON object. */
int schema_any_object(grammar *g, problem *p);

#endif
