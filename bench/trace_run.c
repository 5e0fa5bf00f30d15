/* SPDX-License-Identifier: Apache-2.0 */
/* A cache trace against a real cache: look up; on a miss, insert.
 *
 *   trace_run --cache forebay|redis|memcached [--arena PATH --size BYTES | --socket PATH]
 *             [--value BYTES | --sizes FILE] [--limit REQUESTS] [--fill COUNT] < packed records
 *
 * Records on stdin: 20 bytes, little-endian: u32 time, u64 key, u32 size, u32 ttl.
 * --value    every value has so many bytes
 * --sizes    a key's value has the size that its hash picks from a file of u32
 * (neither)  the record's own size
 * --fill     no trace: insert so many different keys, to see how many stay
 * Prints {"requests", "misses", "entries", "entries_most", "entries_mean"} as
 * JSON; entries are looked at every 256 requests, the mean is of the looks while
 * it evicted, and all are 0 for servers. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench_file.h"

#define TRACE_RECORD 20u
#define NAME_LENGTH 16u /* a key is 16 hexadecimal digits for every cache: memcached takes no others */
#define LOOK_EVERY 256u /* requests; forebay_len() sums the counters of all rows */
#define REPLY_ROOM (1u << 16)
#define VALUE_MOST (64u << 20)

typedef struct request {
    char name[NAME_LENGTH + 1];
    uint32_t size;
} request;

typedef struct target target;
struct target {
    bool (*get)(target *, const request *);  /* true: a hit */
    void (*set)(target *, const request *);
    uint64_t (*entries)(target *);
    forebay_arena *arena;
    forebay_cache *cache;
    int socket;
    char reply[REPLY_ROOM];
    size_t reply_begin, reply_end;
    char *value;      /* VALUE_MOST zero bytes */
    char *scratch;    /* where values are read to */
};

/* ---- the arena */

static bool arena_get(target *t, const request *r)
{
    size_t length;
    forebay_kind kind;
    forebay_status status = forebay_get_into(t->cache, r->name, NAME_LENGTH, t->scratch, VALUE_MOST, &length, &kind);
    if (status == FOREBAY_MISS)
        return false;
    bench_check("get", status);
    if (length != r->size)
        bench_fail("get", "another value's length");
    return true;
}

static void arena_set(target *t, const request *r)
{
    forebay_status status = forebay_set(t->cache, r->name, NAME_LENGTH, t->value, r->size, FOREBAY_KIND_BYTES,
                                        FOREBAY_TTL_FOREVER, FOREBAY_SET);
    if (status != FOREBAY_TOOBIG && status != FOREBAY_FULL) /* then it is a miss again, as it should be */
        bench_check("set", status);
}

static uint64_t arena_entries(target *t)
{
    return forebay_len(t->cache);
}

static void arena_target(target *t, const char *path, uint64_t size)
{
    forebay_error error = { 0 };
    const forebay_arena_options options = { .size = size, .create_only = true };
    if (forebay_arena_open(path, &options, &t->arena, &error) != FOREBAY_OK)
        bench_fail("open", error.message);
    if (forebay_cache_open(t->arena, "trace", &(forebay_cache_options){ .codec = "none" }, &t->cache, &error) != FOREBAY_OK)
        bench_fail("cache", error.message);
    t->get = arena_get;
    t->set = arena_set;
    t->entries = arena_entries;
}

/* ---- a server on a unix socket */

static void send_all(target *t, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(t->socket, bytes, length, MSG_NOSIGNAL);
        if (sent < 0)
            bench_fail("send", strerror(errno));
        bytes += sent;
        length -= (size_t)sent;
    }
}

/* A command's head, its value and its end in one system call where they fit. */
static void send_value(target *t, const char *head, size_t head_length, size_t value_length)
{
    char together[4096];
    if (head_length + value_length + 2 > sizeof together) {
        send_all(t, head, head_length);
        send_all(t, t->value, value_length);
        send_all(t, "\r\n", 2);
        return;
    }
    memcpy(together, head, head_length);
    memcpy(together + head_length, t->value, value_length);
    memcpy(together + head_length + value_length, "\r\n", 2);
    send_all(t, together, head_length + value_length + 2);
}

static void receive_more(target *t)
{
    if (t->reply_begin == t->reply_end)
        t->reply_begin = t->reply_end = 0;
    if (t->reply_end == REPLY_ROOM) {
        memmove(t->reply, t->reply + t->reply_begin, t->reply_end - t->reply_begin);
        t->reply_end -= t->reply_begin;
        t->reply_begin = 0;
    }
    ssize_t got = recv(t->socket, t->reply + t->reply_end, REPLY_ROOM - t->reply_end, 0);
    if (got <= 0)
        bench_fail("recv", got ? strerror(errno) : "the server went away");
    t->reply_end += (size_t)got;
}

/* One line without its end, copied; lines longer than the room are cut. */
static void receive_line(target *t, char *line, size_t room)
{
    char *end;
    while ((end = memchr(t->reply + t->reply_begin, '\n', t->reply_end - t->reply_begin)) == NULL)
        receive_more(t);
    size_t length = (size_t)(end - (t->reply + t->reply_begin));
    size_t kept = length < room ? length : room - 1;
    memcpy(line, t->reply + t->reply_begin, kept);
    line[kept] = 0;
    t->reply_begin += length + 1;
}

static void skip_bytes(target *t, size_t length)
{
    while (length > 0) {
        if (t->reply_begin == t->reply_end)
            receive_more(t);
        size_t here = t->reply_end - t->reply_begin;
        size_t part = here < length ? here : length;
        t->reply_begin += part;
        length -= part;
    }
}

static bool redis_get(target *t, const request *r)
{
    char command[64], line[64];
    int length_sent = snprintf(command, sizeof command, "*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n", r->name);
    send_all(t, command, (size_t)length_sent);
    receive_line(t, line, sizeof line);
    if (line[0] != '$')
        bench_fail("redis", line);
    long length = strtol(line + 1, NULL, 10);
    if (length < 0)
        return false;
    if ((size_t)length != r->size)
        bench_fail("redis", "another value's length");
    skip_bytes(t, (size_t)length + 2);
    return true;
}

static void redis_set(target *t, const request *r)
{
    char command[96], line[128];
    int head = snprintf(command, sizeof command, "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%u\r\n", r->name, r->size);
    send_value(t, command, (size_t)head, r->size);
    receive_line(t, line, sizeof line);
    if (line[0] != '+' && strncmp(line, "-OOM", 4) != 0) /* no room: a miss again next time */
        bench_fail("redis", line);
}

static bool memcached_get(target *t, const request *r)
{
    char command[64], line[128];
    int length = snprintf(command, sizeof command, "get %s\r\n", r->name);
    send_all(t, command, (size_t)length);
    receive_line(t, line, sizeof line);
    if (strncmp(line, "END", 3) == 0)
        return false;
    const char *size = strrchr(line, ' ');
    if (strncmp(line, "VALUE", 5) != 0 || size == NULL || strtoul(size, NULL, 10) != r->size)
        bench_fail("memcached", line);
    skip_bytes(t, (size_t)r->size + 2);
    receive_line(t, line, sizeof line);
    return true;
}

static void memcached_set(target *t, const request *r)
{
    char command[64], line[128];
    int head = snprintf(command, sizeof command, "set %s 0 0 %u\r\n", r->name, r->size);
    send_value(t, command, (size_t)head, r->size);
    receive_line(t, line, sizeof line);
    if (strncmp(line, "STORED", 6) != 0 && strncmp(line, "SERVER_ERROR", 12) != 0) /* too large, or no room */
        bench_fail("memcached", line);
}

static uint64_t no_entries(target *t)
{
    (void)t;
    return 0;
}

static void server_target(target *t, const char *kind, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path)
        bench_fail(path, "too long for a socket");
    strcpy(address.sun_path, path);
    t->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->socket < 0 || connect(t->socket, (struct sockaddr *)&address, sizeof address) != 0)
        bench_fail(path, strerror(errno));
    bool redis = strcmp(kind, "redis") == 0;
    t->get = redis ? redis_get : memcached_get;
    t->set = redis ? redis_set : memcached_set;
    t->entries = no_entries;
}

/* ---- the run */

typedef struct sizing {
    uint32_t fixed;           /* bytes; 0: not fixed */
    const uint32_t *from;     /* NULL: the record's own */
    size_t count;
} sizing;

/* The finalizer of MurmurHash3: every bit of the key counts. */
static uint64_t mix(uint64_t key)
{
    key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    key = (key ^ (key >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return key ^ (key >> 33);
}

static uint32_t size_of(const sizing *sizes, uint64_t key, uint32_t own)
{
    uint32_t size = sizes->fixed ? sizes->fixed : sizes->from ? sizes->from[mix(key) % sizes->count] : own;
    if (size > VALUE_MOST)
        bench_fail("trace", "a value of more than 64 MiB");
    return size;
}

typedef struct outcome {
    uint64_t requests, misses, entries_most;
    uint64_t full_looks, full_entries; /* while it evicts: looks, and the entries they saw */
} outcome;

static request make_request(const sizing *sizes, uint64_t key, uint32_t own_size)
{
    request r = { .size = size_of(sizes, key, own_size) };
    snprintf(r.name, sizeof r.name, "%016lx", (unsigned long)key);
    return r;
}

static void serve(target *t, const request *r, outcome *o)
{
    if (!t->get(t, r)) {
        o->misses++;
        t->set(t, r);
    }
    if (++o->requests % LOOK_EVERY == 0) {
        uint64_t entries = t->entries(t);
        if (entries > o->entries_most)
            o->entries_most = entries;
        if (o->misses > entries) { /* more came in than are there */
            o->full_looks++;
            o->full_entries += entries;
        }
    }
}

static void serve_trace(target *t, const sizing *sizes, uint64_t limit, outcome *o)
{
    unsigned char record[TRACE_RECORD];
    while (o->requests < limit && fread(record, 1, sizeof record, stdin) == sizeof record) {
        uint64_t key;
        uint32_t own_size;
        memcpy(&key, record + 4, sizeof key);
        memcpy(&own_size, record + 12, sizeof own_size);
        const request r = make_request(sizes, key, own_size);
        serve(t, &r, o);
    }
}

static void serve_fill(target *t, const sizing *sizes, uint64_t keys, outcome *o)
{
    for (uint64_t i = 1; i <= keys; i++) {
        const request r = make_request(sizes, mix(i), 1);
        serve(t, &r, o);
    }
}

int main(int count, char **words)
{
    target *t = bench_allocate(sizeof *t);
    *t = (target){ .socket = -1, .value = calloc(1, VALUE_MOST), .scratch = bench_allocate(VALUE_MOST) };
    if (t->value == NULL)
        bench_fail("calloc", strerror(errno));
    sizing sizes = { .fixed = (uint32_t)bench_number(count, words, "--value", 0) };
    const char *file = bench_option(count, words, "--sizes"), *kind = bench_need(count, words, "--cache");
    if (file != NULL) {
        size_t bytes;
        sizes.from = (const uint32_t *)(void *)bench_read(file, &bytes);
        sizes.count = bytes / sizeof *sizes.from;
    }
    if (strcmp(kind, "forebay") == 0)
        arena_target(t, bench_need(count, words, "--arena"), bench_number(count, words, "--size", 0));
    else
        server_target(t, kind, bench_need(count, words, "--socket"));

    outcome o = { 0 };
    uint64_t keys = bench_number(count, words, "--fill", 0);
    if (keys > 0)
        serve_fill(t, &sizes, keys, &o);
    else
        serve_trace(t, &sizes, bench_number(count, words, "--limit", UINT64_MAX), &o);
    uint64_t entries = t->entries(t);
    printf("{\"requests\": %lu, \"misses\": %lu, \"entries\": %lu, \"entries_most\": %lu, \"entries_mean\": %.1f}\n",
           (unsigned long)o.requests, (unsigned long)o.misses, (unsigned long)entries,
           (unsigned long)(entries > o.entries_most ? entries : o.entries_most),
           o.full_looks ? (double)o.full_entries / (double)o.full_looks : 0.0);
    if (t->arena != NULL) {
        forebay_cache_close(t->cache);
        forebay_arena_close(t->arena);
    }
    return 0;
}
