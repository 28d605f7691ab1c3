/* support_scene.h: what tests of files work with: a counting allocator, an engine on it, and a folder of their own. */
#ifndef IL_SUPPORT_SCENE_H
#define IL_SUPPORT_SCENE_H

#include "support_alloc.h"

typedef struct support_scene {
    support_alloc alloc;
    il_engine *engine; /* of 2 threads */
    char *folder;
} support_scene;
extern support_scene scene;

/* For cmocka, before and after a test or a group of them. The ends fail where a block is still out. */
int support_scene_begin(void **state);
int support_scene_end(void **state);
/* The same of the allocator alone. */
int support_scene_begin_memory(void **state);
int support_scene_end_memory(void **state);

#endif
