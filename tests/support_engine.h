/* support_engine.h: engines on a counting allocator (support_alloc.h). */
#ifndef IL_SUPPORT_ENGINE_H
#define IL_SUPPORT_ENGINE_H

#include "support_alloc.h"

/* Begins alloc and opens an engine on it; fails the running test when it cannot. */
il_engine *support_engine(int threads, support_alloc *alloc);
/* Closes that engine; fails the running test when a block of it is still out. */
void support_engine_close(il_engine *engine, const support_alloc *alloc);
/* For what support_alloc_fail_each calls: may fail. */
il_status support_engine_open(int threads, const il_allocator *allocator, il_engine **engine, il_error *error);

#endif
