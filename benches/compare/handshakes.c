/* How many full TLS handshakes does a server make? wrk cannot tell: it offers the session of its last connection.
 *
 * usage: handshakes PORT CONNECTIONS SECONDS PATH BYTES
 *
 * Each connection: connect, a handshake without a session to resume, one request, its answer with status 200 and so
 * many bytes of body, close, and the next one. Prints {"requests", "errors", "resumed", "old", "seconds", "p50_us",
 * "p99_us"}: `old` are handshakes of another version than TLS 1.3, the percentiles are from connect to the last byte.
 * One thread, epoll. OpenSSL's headers are not needed: run links it with the library that wrk uses. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
const SSL_METHOD *TLS_client_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *);
SSL *SSL_new(SSL_CTX *);
void SSL_free(SSL *);
int SSL_set_fd(SSL *, int);
int SSL_connect(SSL *);
int SSL_read(SSL *, void *, int);
int SSL_write(SSL *, const void *, int);
int SSL_get_error(const SSL *, int);
int SSL_session_reused(const SSL *);
int SSL_version(const SSL *);
void ERR_clear_error(void);
enum { WANT_READ = 2, WANT_WRITE = 3, TLS1_3 = 0x0304, HEAD_MAX = 4096, TIMES_MAX = 10 << 20 };

struct client { int fd, events, asked, in_body, status; SSL *ssl; long body; size_t have; char head[HEAD_MAX + 1]; double begun; };

static SSL_CTX *tls;
static struct sockaddr_in to = { .sin_family = AF_INET };
static char request[1024];
static int request_len, ep;
static long bytes, done, errors, resumed, old;
static float *times;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void begin(struct client *c)
{
    int one = 1;
    memset(c, 0, sizeof *c);
    c->begun = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) {
        perror("handshakes");
        exit(1);
    }
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    struct epoll_event ev = { .events = c->events = EPOLLOUT, .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}

/* Goes on as far as it can: 1 when the answer is whole, -1 when there is none to come. */
static int step(struct client *c)
{
    static char rest[65536];
    int n;
    if (!c->asked) {
        if ((n = SSL_connect(c->ssl)) <= 0) goto wait;
        resumed += SSL_session_reused(c->ssl);
        old += SSL_version(c->ssl) != TLS1_3;
        if ((n = SSL_write(c->ssl, request, request_len)) <= 0) goto wait;
        c->asked = 1;
    }
    for (;;) {
        n = c->in_body ? SSL_read(c->ssl, rest, sizeof rest)
                       : SSL_read(c->ssl, c->head + c->have, HEAD_MAX - c->have);
        if (n <= 0) goto wait;
        if (c->in_body) {
            c->body += n;
        } else {
            c->head[c->have += n] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end && c->have == HEAD_MAX) return -1;
            if (!end) continue;
            c->in_body = 1;
            c->status = atoi(c->head + 9);
            c->body = c->have - (end + 4 - c->head);
        }
        if (c->body >= bytes) return c->status == 200 && c->body == bytes ? 1 : -1;
    }
wait:
    n = SSL_get_error(c->ssl, n);
    if (n != WANT_READ && n != WANT_WRITE) return -1;
    int events = n == WANT_READ ? EPOLLIN : EPOLLOUT;
    if (events != c->events) {
        struct epoll_event ev = { .events = c->events = events, .data.ptr = c };
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
    }
    return 0;
}

static int smaller(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 6) return 2;
    signal(SIGPIPE, SIG_IGN);
    int port = atoi(argv[1]), connections = atoi(argv[2]);
    double seconds = atof(argv[3]);
    bytes = atol(argv[5]);
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    request_len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n",
                           argv[4], port);
    tls = SSL_CTX_new(TLS_client_method());
    ep = epoll_create1(0);
    times = malloc(TIMES_MAX * sizeof *times);
    struct client *all = calloc(connections, sizeof *all);
    double start = now();
    for (int i = 0; i < connections; i++) begin(&all[i]);
    while (now() - start < seconds) {
        struct epoll_event evs[256];
        int n = epoll_wait(ep, evs, 256, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = evs[i].data.ptr;
            ERR_clear_error();
            int is_done = step(c);
            if (!is_done) continue;
            if (is_done < 0) errors++;
            else if (done < TIMES_MAX) times[done++] = now() - c->begun;
            SSL_free(c->ssl);
            close(c->fd);
            begin(c);
        }
    }
    double took = now() - start;
    qsort(times, done, sizeof *times, smaller);
    printf("{\"requests\": %ld, \"errors\": %ld, \"resumed\": %ld, \"old\": %ld, \"seconds\": %.6f, \"p50_us\": %.0f, "
           "\"p99_us\": %.0f}\n", done, errors, resumed, old, took, done ? times[done / 2] * 1e6 : 0,
           done ? times[done * 99 / 100] * 1e6 : 0);
    return 0;
}
