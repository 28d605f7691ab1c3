/* folder.h: folders of files that appear whole or not at all. */
#ifndef IL_BASE_FOLDER_H
#define IL_BASE_FOLDER_H

#include "base/lock.h"

/* A folder being made: write its files into `temporary`, then finish, or abandon. Where a folder is there already, it
 * is exchanged for the new one if it holds nothing but `names` and the file system can; else the files move into it one
 * by one, the last of `names`, without which the others are nothing, gone first and back last. Other files in it are
 * never touched. Folder and files keep the modes that they have. */
typedef struct il_folder {
    const il_allocator *allocator;
    const char *const *names; /* what it may hold, closed by NULL */
    char *path;               /* where it will be; links resolved */
    char *temporary;
    size_t existed; /* of path, for il_dir_unmake */
    int is_new;     /* there was nothing at path */
    int is_inside;  /* temporary is in path: it cannot be beside it, or path must stay the folder that it is */
    unsigned mode;  /* of the folder that is there */
    int fd;         /* of temporary, holding its lock */
    int watch;      /* il_temporary_watch */
    il_lock lock;
} il_folder;

/* Takes the folder's lock if `locked`: IL_LOCK_NAME in it, or beside a folder that is not there yet, its name before
 * it. That it is unsupported is the caller's to report. After a failed call abandon must still be called. */
il_status il_folder_open(const il_allocator *allocator, const char *path, const char *const *names, int locked,
                         il_folder *folder, il_error *error);
il_status il_folder_finish(il_folder *folder, il_error *error);
void il_folder_abandon(il_folder *folder);
/* Moves a finished folder to `path`, beside its own, in one step: 0, or why not. EEXIST: there is a folder that holds
 * something else, or this file system cannot exchange. What was exchanged is removed. */
int il_folder_place(il_folder *folder, const char *path);

/* Whether path is a folder that holds files of these names only. */
int il_folder_holds_only(const char *path, const char *const *names);
/* Removes the files of these names in the folder, and the folder if nothing else is in it. */
void il_folder_remove(const char *path, const char *const *names);

#endif
