/* support_scene.c: see support_scene.h. */
#include "support_test.h"

#include "support_scene.h"

#include "support_engine.h"
#include "support_files.h"

support_scene scene;

int support_scene_begin(void **state) {
    (void)state;
    scene.engine = support_engine(2, &scene.alloc);
    scene.folder = support_folder_make();
    return 0;
}

int support_scene_end(void **state) {
    (void)state;
    support_folder_remove(scene.folder);
    support_engine_close(scene.engine, &scene.alloc);
    return 0;
}

int support_scene_begin_memory(void **state) {
    (void)state;
    support_alloc_begin(&scene.alloc);
    return 0;
}

int support_scene_end_memory(void **state) {
    (void)state;
    assert_int_equal(scene.alloc.live, 0);
    return 0;
}
