/* support_redis.h: a Redis of its own for a test, where redis-server is installed. */
#ifndef IL_SUPPORT_REDIS_H
#define IL_SUPPORT_REDIS_H

#include <sys/types.h>

typedef struct support_redis {
    pid_t child;
    int port;
} support_redis;

/* 0, and says why, where there is no redis-server, or the server was built without it: then the test is to be skipped.
 * It keeps its data in the working folder, and is told to write each change to the disk. */
int support_redis_start(support_redis *redis);
void support_redis_end(support_redis *redis, int signal); /* once; again it does nothing */

#endif
