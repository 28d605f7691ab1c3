/* data.h: what a checkpoint remembers of il_data, to know them again. */
#ifndef IL_TEXT_DATA_H
#define IL_TEXT_DATA_H

#include "innerloop.h"

/* Some of the tokens are not in memory. */
int il_data_on_disk(const il_data *data);
/* 32 hex digits, of the tokens or of what their files say of them (il_corpus_fingerprint). */
il_status il_data_fingerprint(il_data *data, int of_tokens, char hex[33], il_error *error);
/* "7000 3000": the shares of sources that are mixed, of 10,000; "": one stream. NULL: no memory. Released by free. */
char *il_data_mixture(const il_data *data);

#endif
