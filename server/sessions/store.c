/* store.c: see store.h. The files, and which index it is. */
#include "sessions/store.h"

#include "common/fail.h"
#include "sessions/store_redis.h"
#include "sessions/store_sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ORPHAN_SECONDS = 3600, HEX = STORE_HASH_BYTES - 1 };
static const char SUFFIX[] = ".ilstate", TEMPORARY[] = ".tmp-"; /* of a file that was being written in a crash */

struct store {
    char *dir;
    int lock; /* an open file, locked while the server lives */
    store_index index;
    pthread_mutex_t files; /* from when a file is written until the index names it none is removed */
};

static void sync_folder(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd); /* some file systems cannot */
    close(fd);
}

const store_index *store_index_of(const store *s) { return &s->index; }

void store_close(store *s) {
    if (!s) return;
    if (s->index.self) s->index.close(s->index.self);
    if (s->lock >= 0) close(s->lock);
    pthread_mutex_destroy(&s->files);
    free(s->dir);
    free(s);
}

static il_status make_own_folder(store *s, il_error *error) {
    if (mkdir(s->dir, 0700) && errno != EEXIST)
        return server_fail(error, IL_ERR_IO, "%s: cannot make the folder of sessions: %s", s->dir, strerror(errno));
    if (access(s->dir, W_OK | X_OK))
        return server_fail(error, IL_ERR_IO, "%s: cannot write into the folder of sessions: %s", s->dir,
                           strerror(errno));
    return IL_OK;
}

/* Of a server that has the folder alone. */
static il_status lock_folder(store *s, il_error *error) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", s->dir);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return server_fail(error, IL_ERR_IO, "%s: cannot write into the folder of sessions: %s", s->dir,
                           strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB))
        return server_fail(error, IL_ERR_IO, "%s: another server keeps its sessions there", s->dir);
    return IL_OK;
}

il_status store_open(const char *where, const il_model *model, store **opened, il_error *error) {
    store_why why;
    store_redis_address redis;
    char hex[STORE_HASH_BYTES], path[PATH_MAX];
    int shared = store_redis_is(where);
    *opened = NULL;
    if (shared && !store_redis_parse(where, &redis, &why)) return server_fail(error, IL_ERR_ARG, "%s", why.text);
    const char *dir = shared ? redis.dir : where;
    if (strlen(dir) + 256 > PATH_MAX)
        return server_fail(error, IL_ERR_IO, "the name of the folder of sessions is too long");
    store *s = calloc(1, sizeof *s);
    if (!s) return server_fail(error, IL_ERR_NOMEM, "no memory for the store of sessions");
    s->lock = -1;
    pthread_mutex_init(&s->files, NULL);
    s->dir = strdup(dir);
    il_status status = s->dir ? make_own_folder(s, error) : server_fail(error, IL_ERR_NOMEM, "no memory for the store");
    if (!status && !shared) status = lock_folder(s, error);
    il_model_fingerprint(model, hex);
    snprintf(path, sizeof path, "%s/sessions.db", dir);
    if (!status &&
        !(shared ? store_redis_open(&redis, hex, &s->index, &why) : store_sqlite_open(path, hex, &s->index, &why)))
        status = server_fail(error, IL_ERR_IO, "%s", why.text);
    if (status)
        store_close(s);
    else
        *opened = s;
    return status;
}

/* ---- files ---- */

/* path [PATH_MAX] */
static void name_file(const store *s, const char *fingerprint, char *path) {
    snprintf(path, PATH_MAX, "%s/%.2s/%s%s", s->dir, fingerprint, fingerprint, SUFFIX);
}

static int make_folder(const store *s, const char *fingerprint) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%.2s", s->dir, fingerprint);
    if (!mkdir(path, 0700)) {
        sync_folder(s->dir);
        return 1;
    }
    return errno == EEXIST;
}

/* With the lock of files. One that is there is as young as a new one, so that it is no orphan before it is named. */
static int write_file(store *s, const il_session *session, const char *fingerprint, store_why *why) {
    char path[PATH_MAX];
    il_error error;
    name_file(s, fingerprint, path);
    if (!utimensat(AT_FDCWD, path, NULL, 0)) return 1;
    if (!make_folder(s, fingerprint)) {
        snprintf(why->text, sizeof why->text, "cannot make a folder for a session's state: %s", strerror(errno));
        return 0;
    }
    if (!il_session_save(session, path, &error)) return 1;
    snprintf(why->text, sizeof why->text, "a session's state cannot be written: %.240s", error.message);
    return 0;
}

/* Where other servers share the files only age says that none of them needs it. */
static void forget(store *s, const char *fingerprint) {
    char path[PATH_MAX];
    if (s->lock < 0 || !fingerprint[0] || s->index.refers(s->index.self, fingerprint)) return;
    name_file(s, fingerprint, path);
    unlink(path);
}

store_result store_put(store *s, const il_session *session, const store_record *record, uint64_t before,
                       const char *old, store_why *why) {
    pthread_mutex_lock(&s->files);
    store_result result = write_file(s, session, record->fingerprint, why)
                              ? s->index.put(s->index.self, record, before, why)
                              : STORE_FAILED;
    if (result == STORE_DONE && strcmp(old, record->fingerprint)) forget(s, old);
    pthread_mutex_unlock(&s->files);
    return result;
}

store_result store_remove(store *s, const store_record *record, store_why *why) {
    pthread_mutex_lock(&s->files);
    store_result result = s->index.remove(s->index.self, record->id, why);
    if (result == STORE_DONE) forget(s, record->fingerprint);
    pthread_mutex_unlock(&s->files);
    return result;
}

int store_file(store *s, const il_session *session, const char *fingerprint, char *path) {
    store_why why;
    name_file(s, fingerprint, path);
    pthread_mutex_lock(&s->files);
    int fd = session && !write_file(s, session, fingerprint, &why) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    pthread_mutex_unlock(&s->files);
    return fd;
}

void store_unlink(store *s, const char *fingerprint) {
    char path[PATH_MAX];
    name_file(s, fingerprint, path);
    pthread_mutex_lock(&s->files);
    unlink(path);
    pthread_mutex_unlock(&s->files);
}

int store_scratch(const store *s) { return open(s->dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600); }

/* ---- what is not needed any more ---- */

static void sweep_file(store *s, const char *name, int64_t now) {
    char fingerprint[STORE_HASH_BYTES], path[PATH_MAX];
    struct stat info;
    if (strlen(name) < HEX || strncmp(name + HEX, SUFFIX, sizeof SUFFIX - 1)) return;
    const char *more = name + HEX + sizeof SUFFIX - 1;
    int temporary = !strncmp(more, TEMPORARY, sizeof TEMPORARY - 1);
    if (*more && !temporary) return;
    memcpy(fingerprint, name, HEX);
    fingerprint[HEX] = 0;
    snprintf(path, sizeof path, "%s/%.2s/%.200s", s->dir, fingerprint, name);
    pthread_mutex_lock(&s->files);
    if (!stat(path, &info) && now - info.st_mtime >= ORPHAN_SECONDS &&
        (temporary || !s->index.refers(s->index.self, fingerprint)))
        unlink(path);
    pthread_mutex_unlock(&s->files);
}

void store_sweep(store *s, int64_t now) {
    for (int i = 0; i < 256; i++) {
        char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "%s/%02x", s->dir, (unsigned)i);
        DIR *dir = opendir(folder);
        for (struct dirent *entry; dir && (entry = readdir(dir));) sweep_file(s, entry->d_name, now);
        if (dir) closedir(dir);
    }
}
