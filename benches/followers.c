/* Both ends of followers.py: an origin that sends one long body at a steady rate, and clients that read it, each
 * at its own pace. Neither is what limits the server between them: what clients read is discarded in the kernel,
 * but for a sample.
 *
 * usage: followers origin BYTES RATE
 *          any path gets BYTES at RATE bytes per second (0: as fast as it is taken); prints its port, then
 *          `sent NUMBER SECONDS` for each body; `/__count` gets the number of other requests so far
 *        followers clients PORT BYTES FAST SLOW SLOW_RATE GAP_MS
 *          one connection each, begun GAP_MS apart; ends when the FAST have everything, and prints one line of JSON
 *
 * The body is made of blocks of 4096 bytes, each of which begins with its number. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, CHUNK = 1 << 20, SAMPLE_EVERY = 16 * BLOCK, TICK_MS = 10 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_s(double s)
{
    struct timespec t = { (time_t)s, (long)((s - (time_t)s) * 1e9) };
    nanosleep(&t, NULL);
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the origin: a thread for each connection ---- */

static uint64_t body_bytes;
static double rate;
static unsigned count;

static int send_all(int fd, const char *from, size_t bytes)
{
    while (bytes) {
        ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        from += n;
        bytes -= n;
    }
    return 1;
}

static int send_body(int fd, unsigned number)
{
    char *chunk = calloc(1, CHUNK);
    double begun = now();
    uint64_t sent = 0;
    int good = chunk != NULL;
    while (good && sent < body_bytes) {
        double due = rate ? begun + sent / rate : 0, early = due - now();
        if (early > 0) pause_s(early);
        for (uint64_t at = 0; at < CHUNK; at += BLOCK) {
            uint64_t block = (sent + at) / BLOCK;
            memcpy(chunk + at, &block, sizeof block);
        }
        uint64_t left = body_bytes - sent, bytes = left < CHUNK ? left : CHUNK;
        good = send_all(fd, chunk, bytes);
        sent += bytes;
    }
    free(chunk);
    printf("sent %u %.2f%s\n", number, now() - begun, good ? "" : " broken");
    fflush(stdout);
    return good;
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[16384], out[512];
    size_t have = 0;
    for (;;) {
        char *end = have ? memmem(in, have, "\r\n\r\n", 4) : NULL;
        if (!end) {
            ssize_t n = have < sizeof in ? read(fd, in + have, sizeof in - have) : 0;
            if (n <= 0) break;
            have += n;
            continue;
        }
        int is_count = !strncmp(in, "GET /__count ", 13);
        have -= end + 4 - in;
        memmove(in, end + 4, have);
        if (is_count) {
            char text[16];
            int bytes = snprintf(text, sizeof text, "%u", __atomic_load_n(&count, __ATOMIC_SEQ_CST));
            int len = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", bytes, text);
            if (!send_all(fd, out, len)) break;
            continue;
        }
        unsigned number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
        int len = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\n"
                           "Content-Length: %llu\r\n\r\n", (unsigned long long)body_bytes);
        if (!send_all(fd, out, len) || !send_body(fd, number)) break;
    }
    close(fd);
    return NULL;
}

static void origin(void)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t al = sizeof a;
    if (bind(l, (void *)&a, al) || listen(l, 4096) || getsockname(l, (void *)&a, &al)) die("origin");
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(l, NULL, NULL);
        pthread_t thread;
        if (fd < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd)) close(fd);
        else pthread_detach(thread);
    }
}

/* ---- the clients: one thread, epoll for the fast, ticks for the slow ---- */

struct client {
    int fd, slow, done, failed;
    double began, took;
    uint64_t at;          /* of the body */
    size_t head;          /* bytes of the head so far */
    char head_bytes[4096];
};

static unsigned errors, wrong;

static void finish(struct client *c, int failed)
{
    c->done = 1;
    c->failed = failed;
    c->took = now() - c->began;
    errors += failed;
    close(c->fd);
}

/* Looks at the head before it takes it, so that nothing of the body is taken with it. */
static int read_head(struct client *c)
{
    ssize_t n = recv(c->fd, c->head_bytes, sizeof c->head_bytes - 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) { finish(c, 1); return 0; }
    c->head_bytes[n] = 0;
    char *end = strstr(c->head_bytes, "\r\n\r\n");
    if (!end) {
        if (n == sizeof c->head_bytes - 1) finish(c, 1);
        return 0;
    }
    n = recv(c->fd, c->head_bytes, end + 4 - c->head_bytes, 0);
    if (strncmp(c->head_bytes, "HTTP/1.1 200", 12)) { finish(c, 1); return 0; }
    c->head = n;
    return 1;
}

/* Reads at most so many bytes of the body; the number of the block is looked at once in SAMPLE_EVERY. */
static void take(struct client *c, uint64_t allowed, uint64_t total)
{
    if (!c->head && !read_head(c)) return;
    while (allowed > 0 && c->at < total) {
        ssize_t n;
        if (c->at % SAMPLE_EVERY == 0) {
            uint64_t block;
            n = recv(c->fd, &block, sizeof block, MSG_PEEK | MSG_DONTWAIT);
            if (n > 0 && n < (ssize_t)sizeof block) return;
            if (n > 0) {
                n = recv(c->fd, &block, sizeof block, 0);
                wrong += block != c->at / BLOCK;
            }
        } else {
            uint64_t to = SAMPLE_EVERY - c->at % SAMPLE_EVERY;
            n = recv(c->fd, NULL, to < allowed ? to : allowed, MSG_TRUNC | MSG_DONTWAIT);
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) { finish(c, 1); return; }
        c->at += n;
        allowed -= (uint64_t)n < allowed ? (uint64_t)n : allowed;
    }
    if (c->at == total) finish(c, 0);
}

static void begin(struct client *c, int port, int slow)
{
    static const char request[] = "GET /large HTTP/1.1\r\nHost: bench\r\n\r\n";
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int small = 256 << 10;
    c->slow = slow;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) die("socket");
    /* What lies in its socket has left the server: a slow client must not have room for much. */
    if (slow) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    c->began = now();
    if (connect(c->fd, (void *)&a, sizeof a)) die("connect");
    if (!send_all(c->fd, request, sizeof request - 1)) die("send");
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int clients(int port, uint64_t total, unsigned fast, unsigned slow, double slow_rate, double gap_s)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    unsigned all = fast + slow;
    struct client *c = calloc(all, sizeof *c);
    double *took = calloc(all, sizeof *took), begun = now(), ticked = 0;
    int ep = epoll_create1(0);
    for (unsigned i = 0; i < all; i++) {
        /* The slow ones are spread evenly, and the first client is one of them if there are any. */
        begin(&c[i], port, slow && i % (all / slow) == 0 && i / (all / slow) < slow);
        struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
        if (!c[i].slow && epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &ev)) die("epoll");
        if (gap_s > 0) pause_s(gap_s);
    }
    unsigned left = 0;
    for (unsigned i = 0; i < all; i++) left += !c[i].slow;
    while (left) {
        struct epoll_event evs[256];
        int n = epoll_wait(ep, evs, 256, TICK_MS);
        for (int i = 0; i < n; i++) {
            struct client *one = &c[evs[i].data.u32];
            take(one, CHUNK, total);
            left -= one->done;
        }
        double at = now();
        if (at - ticked < TICK_MS / 1e3) continue;
        ticked = at;
        for (unsigned i = 0; i < all; i++) {
            if (!c[i].slow || c[i].done) continue;
            uint64_t due = (uint64_t)((at - c[i].began) * slow_rate);
            if (due > c[i].at) take(&c[i], due - c[i].at, total);
        }
    }
    double last = now() - begun;
    unsigned good = 0, behind = 0;
    uint64_t bytes = 0, slowest = UINT64_MAX, quickest = 0;
    for (unsigned i = 0; i < all; i++) {
        bytes += c[i].at;
        if (!c[i].slow && !c[i].failed) took[good++] = c[i].took;
        if (c[i].slow && c[i].at < slowest) slowest = c[i].at;
        if (c[i].slow && c[i].at > quickest) quickest = c[i].at;
        double due = (now() - c[i].began) * slow_rate;
        behind += c[i].slow && c[i].at < (due < total ? due : total) / 2;
    }
    qsort(took, good, sizeof *took, by_time);
    printf("{\"fast\": %u, \"median_s\": %.2f, \"last_s\": %.2f, \"all_s\": %.2f, \"errors\": %u, \"wrong\": %u, "
           "\"bytes\": %llu, \"slow_least\": %llu, \"slow_most\": %llu, \"slow_behind\": %u}\n",
           good, good ? took[good / 2] : 0, good ? took[good - 1] : 0, last, errors, wrong,
           (unsigned long long)bytes, (unsigned long long)(slow ? slowest : 0), (unsigned long long)quickest, behind);
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && !strcmp(argv[1], "origin")) {
        body_bytes = strtoull(argv[2], NULL, 10);
        rate = strtod(argv[3], NULL);
        origin(); /* until it is killed */
    }
    if (argc == 8 && !strcmp(argv[1], "clients"))
        return clients(atoi(argv[2]), strtoull(argv[3], NULL, 10), atoi(argv[4]), atoi(argv[5]),
                       strtod(argv[6], NULL), strtod(argv[7], NULL) / 1e3);
    fprintf(stderr, "usage: followers origin BYTES RATE | followers clients PORT BYTES FAST SLOW SLOW_RATE GAP_MS\n");
    return 2;
}
