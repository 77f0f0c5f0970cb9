/* The origin of the benchmarks: is it ever what limits them? Made so that it is not.
 *
 * Any path gets 200 with 1024 bytes, or N (up to 100 MiB) where it begins with `/N/`, and max-age=3600 over kept
 * connections. Words before that change the answer, in any order, each a segment of the path:
 *   etag      ETag, Last-Modified and Accept-Ranges (ranges are not made here); a request with If-None-Match or
 *             If-Modified-Since gets 304
 *   age=S     max-age=S
 *   no-store  Cache-Control: no-store
 *   delay=MS  after so many milliseconds
 * `/__count` gets the number of requests for anything else so far, `/__stats` also how many of them got 304. Prints
 * its port. One thread, epoll; requests have no bodies. support.py compiles it into a temporary folder. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 1024, BODY_MAX = 100 << 20, HEAD = 512, IN = 16384, MAX_FD = 65536, BLOCK = 64 << 10, BLOCKS = 16 };

struct conn {
    int fd, waits;          /* waits: for room in the socket */
    char in[IN];
    size_t have;
    char head[HEAD];
    long head_at, head_len; /* what is sent of the head */
    long body;              /* bytes of the body still to send */
    long long due;          /* ms; not to be sent before, 0: at once */
    struct conn *next;      /* of those with a due time */
};

static struct conn *conns[MAX_FD], *delayed;
static unsigned long long count, not_modified;
static char block[BLOCK];
static int ep;

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static const char *date(void)
{
    static time_t last;
    static char text[64];
    time_t now = time(NULL);
    if (now != last) {
        struct tm tm;
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
        last = now;
    }
    return text;
}

static void count_answer(struct conn *c, int both)
{
    char n[96];
    int len = both ? snprintf(n, sizeof n, "{\"requests\": %llu, \"not_modified\": %llu}", count, not_modified)
                   : snprintf(n, sizeof n, "%llu", count);
    c->head_len = snprintf(c->head, HEAD, "HTTP/1.1 200 OK\r\nDate: %s\r\nCache-Control: no-store\r\n"
                           "Content-Length: %d\r\n\r\n%s", date(), len, n);
    c->body = 0;
}

/* Prepares the answer to the request, which ends with a NUL. */
static void answer(struct conn *c, const char *request)
{
    c->head_at = c->due = 0;
    if (!strncmp(request, "GET /__count ", 13)) { count_answer(c, 0); return; }
    if (!strncmp(request, "GET /__stats ", 13)) { count_answer(c, 1); return; }
    count++;
    long bytes = BODY, age = 3600, delay = 0;
    int etag = 0, no_store = 0;
    const char *at = strchr(request, '/');
    for (const char *end; at && (end = strpbrk(at + 1, "/ ?")) && *end == '/'; at = end) {
        const char *word = at + 1;
        size_t len = end - word;
        if (len == 4 && !strncmp(word, "etag", 4)) etag = 1;
        else if (len == 8 && !strncmp(word, "no-store", 8)) no_store = 1;
        else if (len > 4 && !strncmp(word, "age=", 4)) age = atol(word + 4);
        else if (len > 6 && !strncmp(word, "delay=", 6)) delay = atol(word + 6);
        else {
            char *digits_end;
            long n = strtol(word, &digits_end, 10);
            if (digits_end == end && n >= 0 && n <= BODY_MAX) bytes = n;
            break;
        }
    }
    char control[64], validators[128] = "";
    if (no_store) snprintf(control, sizeof control, "no-store");
    else snprintf(control, sizeof control, "max-age=%ld", age);
    if (etag) snprintf(validators, sizeof validators, "ETag: \"bench-%ld\"\r\n"
                       "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n", bytes);
    if (etag && (strcasestr(request, "\nif-none-match:") || strcasestr(request, "\nif-modified-since:"))) {
        not_modified++;
        c->body = 0;
        c->head_len = snprintf(c->head, HEAD, "HTTP/1.1 304 Not Modified\r\nDate: %s\r\nCache-Control: %s\r\n%s\r\n",
                               date(), control, validators);
    } else {
        c->body = strncmp(request, "HEAD ", 5) ? bytes : 0;
        c->head_len = snprintf(c->head, HEAD, "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                               "Cache-Control: %s\r\n%sContent-Length: %ld\r\n\r\n", date(), control, validators, bytes);
    }
    if (delay > 0) c->due = now_ms() + delay;
}

/* Sends as much of the answer as the socket takes: 1 when all is sent, 0 when it takes no more, -1 when it is gone. */
static int send_answer(struct conn *c)
{
    while (c->head_at < c->head_len || c->body > 0) {
        struct iovec parts[1 + BLOCKS];
        int n = 0;
        if (c->head_at < c->head_len)
            parts[n++] = (struct iovec){ c->head + c->head_at, c->head_len - c->head_at };
        /* Every block is the same, so a large body needs no buffer of its size. */
        for (long left = c->body; left > 0 && n < 1 + BLOCKS; left -= BLOCK)
            parts[n++] = (struct iovec){ block, left < BLOCK ? left : BLOCK };
        ssize_t sent = writev(c->fd, parts, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        long of_head = c->head_len - c->head_at;
        if (of_head > sent) of_head = sent;
        c->head_at += of_head;
        c->body -= sent - of_head;
    }
    return 1;
}

static int watch(struct conn *c, int room)
{
    if (c->waits == room) return 0;
    c->waits = room;
    struct epoll_event ev = { .events = room ? EPOLLOUT : EPOLLIN, .data.fd = c->fd };
    return epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Answers the complete requests in the buffer, one after the other; -1 when the connection is to be closed. */
static int serve(struct conn *c)
{
    char *end;
    for (;;) {
        if (c->due) return 0;
        if (c->head_len) {
            int sent = send_answer(c);
            if (sent < 0) return -1;
            if (!sent) return watch(c, 1);
            c->head_len = 0;
        }
        if (!(end = memmem(c->in, c->have, "\r\n\r\n", 4))) break;
        end[3] = 0;
        answer(c, c->in);
        c->have -= end + 4 - c->in;
        memmove(c->in, end + 4, c->have);
        if (c->due) {
            c->next = delayed;
            delayed = c;
        }
    }
    return watch(c, 0) || c->have == IN ? -1 : 0;
}

static int receive(struct conn *c)
{
    ssize_t n = read(c->fd, c->in + c->have, IN - c->have);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) return -1;
    c->have += n;
    return serve(c);
}

static void end(struct conn *c)
{
    for (struct conn **at = &delayed; c->due && *at; at = &(*at)->next)
        if (*at == c) { *at = c->next; break; }
    c->due = 0;
    close(c->fd);
}

/* Sends what is due; milliseconds until the next is, -1: nothing waits. */
static int send_due(void)
{
    if (!delayed) return -1;
    long long now = now_ms(), first = -1;
    struct conn *todo = delayed;
    delayed = NULL;
    while (todo) {
        struct conn *c = todo;
        todo = c->next;
        if (c->due > now) {
            if (first < 0 || c->due < first) first = c->due;
            c->next = delayed;
            delayed = c;
            continue;
        }
        c->due = 0;
        if (serve(c) < 0) end(c);
    }
    return delayed ? first < 0 ? 0 : (int)(first - now) : -1;
}

static void accept_all(int l)
{
    int one = 1, fd;
    while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD || (!conns[fd] && !(conns[fd] = malloc(sizeof *conns[fd])))) {
            close(fd);
            continue;
        }
        struct conn *c = conns[fd];
        c->fd = fd;
        c->have = c->head_len = c->head_at = c->body = c->due = c->waits = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
}

int main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    memset(block, 'x', sizeof block);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ep = epoll_create1(0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t al = sizeof a;
    if (bind(l, (void *)&a, al) || listen(l, 4096) || getsockname(l, (void *)&a, &al)) {
        perror("origin");
        return 1;
    }
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = l }, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, evs, 256, send_due());
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd == l) accept_all(l);
            else if ((conns[fd]->waits ? serve(conns[fd]) : receive(conns[fd])) < 0) end(conns[fd]);
        }
    }
}
