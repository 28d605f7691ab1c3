/* temporary.h: what is written before it takes its place, NAME.tmp-PID-N beside what it will become, and what is left
 * of it when a process is killed. */
#ifndef IL_BASE_TEMPORARY_H
#define IL_BASE_TEMPORARY_H

#include "innerloop.h"

enum { IL_TEMPORARY_BYTES = 40 /* that a temporary's name has more than its base, at most */ };

/* A name that this process has not used before; NULL when short. Whoever makes it locks it (il_temporary_hold), so that
 * a process elsewhere that sees no such PID lets it be. Of a file name that would become too long only the beginning is
 * taken. */
char *il_temporary_name(const il_allocator *allocator, const char *path);
void il_temporary_hold(int fd);
/* Removes from dir what killed processes left of `base`, or of all names that begin so when it ends in '*': entries
 * called as above whose process is gone and whose lock nobody holds. Of folders only the files in `names` (closed by
 * NULL); `names` NULL: no folders. */
void il_temporary_clean(const char *dir, const char *base, const char *const *names);
/* Whether name is that of a temporary of base. */
int il_temporary_is(const char *name, const char *base);
/* Removes from an open folder the files of these names, closed by NULL, their temporaries, and a lock. */
#define IL_LOCK_NAME ".innerloop-lock"
void il_files_remove(int folder, const char *const *names);

/* What il_temporaries_remove removes: from now on also `path`, a file, or with `names` a folder of such files; and then
 * the folders that it is in, as far as they are empty and not among the first `existed` bytes of the path. Returns what
 * ends it; where too many are watched that is 0 and this one is left to the next run. */
int il_temporary_watch(const char *path, const char *const *names, size_t existed);
void il_temporary_unwatch(int watch); /* 0 allowed */

#endif
