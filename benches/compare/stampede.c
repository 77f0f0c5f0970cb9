/* When a crowd asks for one URL at one moment, when has the last of them its answer?
 *
 * usage: stampede PORT CLIENTS PATH BYTES
 *
 * Connects all clients first, then sends all requests, then reads until every client has an answer with status 200
 * and so many bytes of body, or none comes for 30 s. Prints {"first_s", "last_s", "good", "clients"}, times since the
 * first request was sent. One thread, epoll; run compiles it into a temporary folder. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 4096 };

struct client { int fd, in_body, status; long body; size_t have; char head[HEAD_MAX + 1]; };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Takes what has come: 1 when the answer is whole, -1 when there is none to come. */
static int receive(struct client *c, long bytes)
{
    static char rest[65536];
    ssize_t n = c->in_body ? read(c->fd, rest, sizeof rest) : read(c->fd, c->head + c->have, HEAD_MAX - c->have);
    if (n < 0 && errno == EINTR) return 0;
    if (n <= 0) return -1;
    if (c->in_body) {
        c->body += n;
    } else {
        c->have += n;
        c->head[c->have] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (end) {
            c->in_body = 1;
            c->status = atoi(c->head + 9);
            c->body = c->have - (end + 4 - c->head);
        } else if (c->have == HEAD_MAX) {
            return -1;
        }
    }
    if (!c->in_body || c->body < bytes) return 0;
    return c->status == 200 && c->body == bytes ? 1 : -1;
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    int port = atoi(argv[1]), clients = atoi(argv[2]), ep = epoll_create1(0);
    long bytes = atol(argv[4]);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct client *all = calloc(clients, sizeof *all);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < clients; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &all[i] };
        if (connect(all[i].fd, (void *)&to, sizeof to) || epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &ev)) {
            perror("stampede");
            return 1;
        }
    }
    char request[1024];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", argv[3], port);
    double start = now(), first = 0, last = 0;
    int good = 0, open = 0;
    for (int i = 0; i < clients; i++) open += write(all[i].fd, request, len) == len;
    while (open > 0) {
        struct epoll_event evs[256];
        int n = epoll_wait(ep, evs, 256, 30000);
        if (n <= 0) break;
        for (int i = 0; i < n; i++) {
            struct client *c = evs[i].data.ptr;
            int is_done = receive(c, bytes);
            if (!is_done) continue;
            if (is_done > 0) {
                good++;
                last = now() - start;
                if (!first) first = last;
            }
            open--;
            close(c->fd);
        }
    }
    printf("{\"first_s\": %.4f, \"last_s\": %.4f, \"good\": %d, \"clients\": %d}\n", first, last, good, clients);
    return 0;
}
