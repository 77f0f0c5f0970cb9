/* The origin of the benchmarks: is it ever what limits them? Made so that it is not.
 *
 * Any path gets 200 with 1024 bytes, or N where it begins with `/N/`, and max-age=3600 over kept connections;
 * `/__count` gets the number of requests for anything else so far. Prints its port. One thread, epoll; requests
 * have no bodies. support.py compiles it into a temporary folder. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 1024, BODY_MAX = 16 << 20, HEAD = 1024, IN = 16384, MAX_FD = 65536 };

struct conn { char in[IN]; size_t have; };
static struct conn *conns[MAX_FD];
static unsigned long long count;

static char out[HEAD + BODY_MAX];

/* Puts the answer to a request into `out`; its length. */
static int answer(const char *request, int is_count)
{
    static time_t last;
    static char date[64];
    size_t room = sizeof out;
    time_t now = time(NULL);
    if (now != last) {
        struct tm tm;
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
        last = now;
    }
    if (is_count) {
        char n[32];
        int len = snprintf(n, sizeof n, "%llu", count);
        return snprintf(out, room, "HTTP/1.1 200 OK\r\nDate: %s\r\nCache-Control: no-store\r\n"
                        "Content-Length: %d\r\n\r\n%s", date, len, n);
    }
    char *end;
    long bytes = strncmp(request, "GET /", 5) ? -1 : strtol(request + 5, &end, 10);
    if (bytes < 0 || bytes > BODY_MAX || end == request + 5 || *end != '/') bytes = BODY;
    count++;
    int len = snprintf(out, HEAD, "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                       "ETag: \"bench\"\r\nCache-Control: max-age=3600\r\nContent-Length: %ld\r\n\r\n", date, bytes);
    memset(out + len, 'x', bytes);
    return len + bytes;
}

/* A small answer fits the socket's buffer. For a large one the client is waited for: it reads, here. */
static int send_all(int fd, int len)
{
    for (int sent = 0; sent < len;) {
        ssize_t n = send(fd, out + sent, len - sent, MSG_NOSIGNAL);
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        if (n >= 0) sent += n;
        else if (errno != EAGAIN || poll(&wait, 1, 10000) != 1) return 0;
    }
    return 1;
}

/* Answers every complete request in the buffer; 0 when the connection is to be closed. */
static int serve(int fd, struct conn *c)
{
    ssize_t n = read(fd, c->in + c->have, IN - c->have);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (n <= 0) return 0;
    c->have += n;
    char *at = c->in, *end;
    while ((end = memmem(at, c->in + c->have - at, "\r\n\r\n", 4))) {
        if (!send_all(fd, answer(at, !strncmp(at, "GET /__count ", 13)))) return 0;
        at = end + 4;
    }
    c->have -= at - c->in;
    memmove(c->in, at, c->have);
    return c->have < IN;
}

int main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
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
        int n = epoll_wait(ep, evs, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd != l) {
                if (!serve(fd, conns[fd])) close(fd);
                continue;
            }
            while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FD || (!conns[fd] && !(conns[fd] = malloc(sizeof *conns[fd])))) {
                    close(fd);
                    continue;
                }
                conns[fd]->have = 0;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                ev.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
            }
        }
    }
}
