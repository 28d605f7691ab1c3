/* store_sqlite.h: an index of sessions in a file of SQLite's, of one server. */
#ifndef SERVER_STORE_SQLITE_H
#define SERVER_STORE_SQLITE_H

#include "sessions/store.h"

/* Opens or makes it; it shows the sessions of the model with this fingerprint. 0: why. */
int store_sqlite_open(const char *path, const char *model, store_index *index, store_why *why);

#endif
