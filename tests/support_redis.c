/* support_redis.c: see support_redis.h. */
#include "support_redis.h"
#include "support_cli.h"
#include "support_server.h"
#include "support_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that is free now. */
static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, bytes) || getsockname(fd, (struct sockaddr *)&address, &bytes))
        fail_msg("no port is free");
    close(fd);
    return ntohs(address.sin_port);
}

static int answers(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char said[8] = "";
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int there = fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address) &&
                send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, said, sizeof said - 1, 0) > 0;
    if (fd >= 0) close(fd);
    return there && said[0] == '+';
}

int support_redis_start(support_redis *redis) {
    char port[16];
    if (system("command -v redis-server >/dev/null 2>&1")) {
        print_message("skipped: there is no redis-server here (make soak installs it)\n");
        return 0;
    }
    support_run run = support_cli(NULL, "serve --port 0 --store redis://127.0.0.1:1/0?dir=none");
    int without = strstr(run.err, "without hiredis") != NULL;
    support_run_free(&run);
    if (without) {
        print_message("skipped: the server was built without hiredis (libhiredis-dev)\n");
        return 0;
    }
    redis->port = free_port();
    snprintf(port, sizeof port, "%d", redis->port);
    redis->child = fork();
    if (!redis->child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("redis.out", "w", stdout))
            execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly",
                   "yes", "--appendfsync", "always", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) {
        if (answers(redis->port)) return 1;
        usleep(10000);
    }
    fail_msg("redis-server does not answer");
    return 0;
}

void support_redis_end(support_redis *redis, int number) {
    if (redis->child <= 0) return;
    kill(redis->child, number);
    waitpid(redis->child, NULL, 0);
    redis->child = 0;
}
