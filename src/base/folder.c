/* folder.c: folders made beside their place and moved there by a rename, over an older one by an exchange. Owns the way
 * where that is impossible (a mount, a folder with other files in it, a file system without exchange): files move in
 * one by one, and at no time do old and new ones stand together under the name that makes them readable. */
#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/temporary.h"

#define INSIDE "innerloop" /* what a temporary in the folder itself is called after */

static il_status no_memory(const char *path, il_error *error) {
    return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
}

/* ---- what a folder holds ---- */

static int is_one_of(const char *name, const char *const *names) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, IL_LOCK_NAME) == 0) return 1;
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return 1;
    return 0;
}

int il_folder_holds_only(const char *path, const char *const *names) {
    struct stat info;
    int only = 1;
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (struct dirent *entry; only && (entry = readdir(dir));)
        only = is_one_of(entry->d_name, names) &&
               (entry->d_name[0] == '.' ||
                (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(info.st_mode)));
    closedir(dir);
    return only;
}

void il_folder_remove(const char *path, const char *const *names) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    il_files_remove(fd, names);
    close(fd);
    if (!il_file_allowed("rmdir", path)) rmdir(path);
}

/* ---- beginning ---- */

/* A folder that must stay the one it is: others see it by more than its name. */
static int must_stay(const char *path) {
    struct stat here, there;
    struct statx mount;
    if (stat(".", &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino)
        return 1;
    return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &mount) == 0 &&
           (mount.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* Makes the temporary folder, called after `base`. Why not, or 0; ENOMEM too. */
static int make_temporary(il_folder *f, const char *base) {
    for (int attempt = 0; attempt < 1000; attempt++) {
        f->temporary = il_temporary_name(f->allocator, base);
        if (!f->temporary) return ENOMEM;
        if (!il_file_allowed("mkdir", f->temporary) && mkdir(f->temporary, f->is_new ? 0777 : 0700) == 0) {
            f->fd = open(f->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
            f->watch = il_temporary_watch(f->temporary, f->names, f->is_new ? f->existed : strlen(f->path));
            if (f->fd >= 0) il_temporary_hold(f->fd);
            return 0;
        }
        int why = errno;
        il_free(f->allocator, f->temporary);
        f->temporary = NULL;
        if (why != EEXIST) return why;
    }
    return EEXIST;
}

static il_status begin(il_folder *f, const char *parent, il_error *error) {
    struct stat info;
    int exists = stat(f->path, &info) == 0;
    f->is_new = !exists;
    f->mode = exists ? info.st_mode & 07777 : 0;
    if (exists) il_temporary_clean(f->path, INSIDE, f->names);
    for (size_t i = 0; exists && f->names[i]; i++) il_temporary_clean(f->path, f->names[i], NULL);
    f->is_inside = exists && (!il_folder_holds_only(f->path, f->names) || must_stay(f->path));
    il_temporary_clean(parent, strrchr(f->path, '/') ? strrchr(f->path, '/') + 1 : f->path, f->names);
    int why = f->is_inside ? 0 : make_temporary(f, f->path);
    if (why && why != ENOMEM && exists) f->is_inside = 1; /* nothing may be made beside it */
    if (f->is_inside) {
        char *base = il_path_join(f->allocator, f->path, INSIDE);
        if (!base) return no_memory(f->path, error);
        why = make_temporary(f, base);
        il_free(f->allocator, base);
    }
    if (why == ENOMEM) return no_memory(f->path, error);
    errno = why;
    if (why) return il_fail_errno(error, IL_ERR_IO, "%s: cannot make the folder", f->path);
    return IL_OK;
}

/* In the folder, or beside it while it is not there. */
static il_status take_lock(il_folder *f, il_error *error) {
    struct stat info;
    size_t n = strlen(f->path);
    char *inside = il_path_join(f->allocator, f->path, IL_LOCK_NAME);
    char *beside = il_alloc(f->allocator, n + sizeof IL_LOCK_NAME, 1);
    il_status status = inside && beside ? IL_OK : no_memory(f->path, error);
    if (status == IL_OK) {
        int exists = stat(f->path, &info) == 0;
        memcpy(beside, f->path, n);
        memcpy(beside + n, IL_LOCK_NAME, sizeof IL_LOCK_NAME);
        if (exists && lstat(beside, &info) == 0) { /* of a process killed when it had just made the folder */
            if (il_lock_take(f->allocator, beside, f->path, &f->lock, NULL) == IL_OK) il_lock_release(&f->lock);
        }
        status = il_lock_take(f->allocator, exists ? inside : beside, f->path, &f->lock, error);
    }
    il_free(f->allocator, inside);
    il_free(f->allocator, beside);
    return status;
}

/* The path with links resolved, or as it is without slashes at its end. */
static il_status resolve(il_folder *f, const char *path, il_error *error) {
    struct stat info;
    char real[PATH_MAX];
    if (!*path) return il_fail(error, IL_ERR_ARG, "a folder needs a name");
    int exists = stat(path, &info) == 0;
    if (exists && !S_ISDIR(info.st_mode)) return il_fail(error, IL_ERR_IO, "%s: exists and is not a folder", path);
    if (exists && !realpath(path, real)) return il_fail_errno(error, IL_ERR_IO, "%s: cannot resolve", path);
    f->path = il_strdup(f->allocator, exists ? real : path);
    if (!f->path) return no_memory(path, error);
    for (size_t n = strlen(f->path); n > 1 && f->path[n - 1] == '/';) f->path[--n] = 0;
    return IL_OK;
}

il_status il_folder_open(const il_allocator *allocator, const char *path, const char *const *names, int locked,
                         il_folder *folder, il_error *error) {
    *folder = (il_folder){.allocator = allocator, .names = names, .fd = -1};
    IL_TRY(resolve(folder, path, error));
    char *parent = il_path_parent(allocator, folder->path);
    if (!parent) return no_memory(path, error);
    folder->existed = strlen(folder->path);
    il_status status = il_dir_make(allocator, parent, &folder->existed, error);
    if (status == IL_OK && locked) status = take_lock(folder, error);
    if (status == IL_OK) status = begin(folder, parent, error);
    il_free(allocator, parent);
    return status;
}

/* ---- ending ---- */

static void close_temporary(il_folder *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
    il_temporary_unwatch(f->watch);
    f->watch = 0;
    il_free(f->allocator, f->temporary);
    f->temporary = NULL;
}

/* A rename replaces nothing, or an empty folder. */
static int place_new(il_folder *f, const char *path) {
    if (il_file_allowed("rename", path) || rename(f->temporary, path) != 0) return errno;
    close_temporary(f);
    return 0;
}

/* Until here nobody else could look into the temporary folder. Why not, or 0. */
static int keep_modes(il_folder *f) {
    struct stat info;
    for (size_t i = 0; !f->is_new && f->names[i]; i++) {
        char *from = il_path_join(f->allocator, f->path, f->names[i]);
        char *to = il_path_join(f->allocator, f->temporary, f->names[i]);
        int why = from && to ? 0 : ENOMEM;
        if (!why && stat(from, &info) == 0 && S_ISREG(info.st_mode) && chmod(to, info.st_mode & 07777) != 0 &&
            errno != ENOENT)
            why = errno;
        il_free(f->allocator, from);
        il_free(f->allocator, to);
        if (why) return why;
    }
    return !f->is_new && !f->is_inside && chmod(f->temporary, f->mode) != 0 ? errno : 0;
}

int il_folder_place(il_folder *f, const char *path) {
    struct stat info;
    int why = keep_modes(f);
    if (!why) why = place_new(f, path);
    if (why == ENOTDIR && lstat(path, &info) == 0) return EEXIST; /* a file, or a link, wherever it leads */
    if (why != EEXIST && why != ENOTEMPTY) return why;
    if (!il_folder_holds_only(path, f->names) || il_file_allowed("renameat2", path) ||
        renameat2(AT_FDCWD, f->temporary, AT_FDCWD, path, RENAME_EXCHANGE) != 0)
        return EEXIST;
    il_folder_remove(f->temporary, f->names);
    close_temporary(f);
    return 0;
}

/* What one file of the folder is, by both its names. */
typedef struct place {
    char *from, *to;
} place;

static void free_places(const il_allocator *allocator, place *places, size_t n) {
    for (size_t i = 0; places && i < n; i++) {
        il_free(allocator, places[i].from);
        il_free(allocator, places[i].to);
    }
    il_free(allocator, places);
}

static il_status move_files(place *places, size_t n, il_error *error) {
    struct stat info;
    for (size_t i = 0; i < n; i++)
        if (lstat(places[i].to, &info) == 0 && S_ISDIR(info.st_mode))
            return il_fail(error, IL_ERR_IO, "%s: a folder, not a file", places[i].to);
    for (size_t i = n; i-- > 0;) { /* the last first */
        int moves = i < n - 1 && il_path_exists(places[i].from);
        if (moves) continue; /* a rename replaces it */
        if ((il_file_allowed("unlink", places[i].to) || unlink(places[i].to) != 0) && errno != ENOENT)
            return il_fail_errno(error, IL_ERR_IO, "%s: cannot replace", places[i].to);
    }
    for (size_t i = 0; i < n; i++)
        if ((il_file_allowed("rename", places[i].to) || rename(places[i].from, places[i].to) != 0) &&
            (errno != ENOENT || i == n - 1))
            return il_fail_errno(error, IL_ERR_IO, "%s: cannot replace", places[i].to);
    return IL_OK;
}

static il_status move_in(il_folder *f, il_error *error) {
    size_t n = 0;
    while (f->names[n]) n++;
    place *places = il_alloc(f->allocator, n, sizeof *places);
    il_status status = places ? IL_OK : no_memory(f->path, error);
    for (size_t i = 0; i < n && status == IL_OK; i++) {
        places[i].from = il_path_join(f->allocator, f->temporary, f->names[i]);
        places[i].to = il_path_join(f->allocator, f->path, f->names[i]);
        if (!places[i].from || !places[i].to) status = no_memory(f->path, error);
    }
    if (status == IL_OK) status = move_files(places, n, error);
    free_places(f->allocator, places, n);
    return status;
}

il_status il_folder_finish(il_folder *f, il_error *error) {
    IL_TRY(il_dir_sync(f->temporary, error));
    int kept = f->is_inside ? keep_modes(f) : 0;
    if (kept == ENOMEM) return no_memory(f->path, error);
    errno = kept;
    if (kept) return il_fail_errno(error, IL_ERR_IO, "%s: cannot set modes", f->temporary);
    int why = f->is_inside ? EEXIST : f->is_new ? place_new(f, f->path) : il_folder_place(f, f->path);
    if (f->is_new && (why == EEXIST || why == ENOTEMPTY))
        return il_fail(error, IL_ERR_IO, "%s: another process has made it meanwhile", f->path);
    if (why == ENOMEM) return no_memory(f->path, error);
    errno = why;
    if (why && why != EEXIST) return il_fail_errno(error, IL_ERR_IO, "%s: cannot make the folder", f->path);
    if (why) {
        IL_TRY(move_in(f, error));
        IL_TRY(il_dir_sync(f->path, error));
    } else {
        char *parent = il_path_parent(f->allocator, f->path);
        il_status status = parent ? il_dir_sync(parent, error) : no_memory(f->path, error);
        il_free(f->allocator, parent);
        IL_TRY(status);
    }
    f->existed = strlen(f->path); /* nothing is to be unmade */
    il_folder_abandon(f);
    return IL_OK;
}

void il_folder_abandon(il_folder *f) {
    if (f->temporary) il_folder_remove(f->temporary, f->names);
    close_temporary(f);
    il_lock_release(&f->lock);
    if (f->path && f->existed < strlen(f->path)) {
        char *parent = il_path_parent(f->allocator, f->path);
        if (parent && f->existed < strlen(parent)) il_dir_unmake(f->allocator, parent, f->existed);
        il_free(f->allocator, parent);
    }
    il_free(f->allocator, f->path);
    *f = (il_folder){.fd = -1, .allocator = f->allocator};
}
