/*
 * Drives a milter as Postfix does, cheaply enough to share two cores with it.
 *
 *     load SCRIPT unix:PATH|inet:HOST:PORT CONNECTIONS MESSAGES_PER_SESSION SECONDS MESSAGES
 *
 * Every connection is a thread that runs sessions one after the other: negotiate, greet, pass
 * MESSAGES_PER_SESSION messages, quit. It stops after SECONDS, or after MESSAGES messages in all
 * where that is not 0. What is sent stands in SCRIPT (written by benchmarks/script.py): macro
 * packet and event of every step of several messages, which are taken in turn.
 *
 * As in Postfix (src/milter/milter8.c): what needs no answer waits in a buffer until an answer is
 * read, smtpd hands the connection to cleanup after DATA, the bits of the negotiation and SMFIR_SKIP
 * are obeyed, and macros go ahead of an event even where the event itself is not wanted, but for
 * header and body, which then are not looked at.
 *
 * A wrong answer ends the run with status 1: a verdict other than to go on or to accept, a number of
 * added recipients or of header fields that get a value other than the script says, another
 * address, another value. Figures go to stdout as JSON.
 */
#define _GNU_SOURCE /* memmem */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNK = 65535,          /* MILTER_CHUNK_SIZE */
    UNIX_BUFFER = 4096,     /* VSTREAM_BUFSIZE */
    TCP_BUFFER = 65536 * 2, /* vstream_tweak_tcp on loopback */
    ANSWER_SECONDS = 30,
    STALL_US = 35000, /* a delayed acknowledgement takes 40 ms */
};

/* Bits of the negotiation (libmilter/mfdef.h). */
enum { SKIP_BIT = 0x400, LEADING_SPACE_BIT = 0x100000 };

struct kind {
    char command;
    uint32_t unwanted, unanswered;
    bool macros_always;
};

static const struct kind kinds[] = {
    {'C', 0x01, 0x1000, true},   {'H', 0x02, 0x2000, true},    {'M', 0x04, 0x4000, true},
    {'R', 0x08, 0x8000, true},   {'T', 0x200, 0x10000, true},  {'L', 0x20, 0x80, false},
    {'N', 0x40, 0x40000, false}, {'B', 0x10, 0x80000, false},  {'E', 0, 0, true},
};

struct step {
    const struct kind *kind;
    uint32_t macros_size, payload_size;
    const char *macros, *payload;
};

struct message {
    uint32_t added, changed; /* what the milter has to ask for */
    const char *added_text, *changed_text;
    uint32_t steps_count;
    struct step *steps;
};

static struct {
    uint32_t body_size, greeting_count, messages_count;
    struct step *greeting;
    struct message *messages;
} script;

static struct {
    struct sockaddr_storage address;
    socklen_t size;
    size_t buffer;
} target;

struct worker {
    pthread_t thread;
    unsigned number;
    int fd;
    uint32_t protocol;
    char skipped;
    char *out;
    size_t out_used;
    char in[65536];
    size_t in_start, in_end;
    /* of the message under way */
    uint32_t added, changed;
    /* figures */
    uint64_t messages, sessions, packets, bytes, waits, deletions, stalls;
    uint32_t *latencies;
    size_t latencies_room;
    double ended;
};

static unsigned per_session, connections;
static uint64_t messages_limit;
static double deadline;
static atomic_uint_fast64_t begun;
static char body_line[] = "The quick brown fox jumps over the lazy dog, and does so again and again and again.\r\n";
static char *body_chunk;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "load: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* -- the script -------------------------------------------------------------------------- */

static const char *script_at, *script_end;

static const char *script_bytes(size_t size)
{
    const char *found = script_at;
    if ((size_t)(script_end - script_at) < size)
        fail("the script is cut off", NULL);
    script_at += size;
    return found;
}

static uint32_t script_number(void)
{
    uint32_t value;
    memcpy(&value, script_bytes(4), 4);
    return ntohl(value);
}

/* A text ends in a NUL that its size counts. */
static const char *script_text(void)
{
    uint32_t size = script_number();
    return script_bytes(size);
}

static struct step *script_steps(uint32_t *count)
{
    struct step *steps;
    *count = script_number();
    steps = calloc(*count ? *count : 1, sizeof *steps);
    for (uint32_t i = 0; i < *count; i++) {
        char command = *script_bytes(1);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (kinds[k].command == command)
                steps[i].kind = &kinds[k];
        if (!steps[i].kind)
            fail("the script has a step of no known kind", NULL);
        steps[i].macros_size = script_number();
        steps[i].macros = script_bytes(steps[i].macros_size);
        steps[i].payload_size = script_number();
        steps[i].payload = script_bytes(steps[i].payload_size);
    }
    return steps;
}

static void read_script(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;
    char *text;
    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 4 || fseek(file, 0, SEEK_SET))
        fail("cannot read the script", path);
    text = malloc((size_t)size);
    if (fread(text, 1, (size_t)size, file) != (size_t)size || memcmp(text, "LMB1", 4) != 0)
        fail("this is no script", path);
    fclose(file);
    script_at = text + 4;
    script_end = text + size;
    script.body_size = script_number();
    script.greeting = script_steps(&script.greeting_count);
    script.messages_count = script_number();
    script.messages = calloc(script.messages_count, sizeof *script.messages);
    for (uint32_t i = 0; i < script.messages_count; i++) {
        struct message *message = &script.messages[i];
        message->added = script_number();
        message->added_text = script_text();
        message->changed = script_number();
        message->changed_text = script_text();
        message->steps = script_steps(&message->steps_count);
    }
}

/* -- packets ----------------------------------------------------------------------------- */

static void flush(struct worker *worker)
{
    size_t done = 0;
    while (done < worker->out_used) {
        ssize_t count = write(worker->fd, worker->out + done, worker->out_used - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            fail("the milter does not take what it is sent", strerror(errno));
        done += (size_t)count;
    }
    worker->out_used = 0;
}

static void put(struct worker *worker, const void *data, size_t size)
{
    const char *from = data;
    while (size > 0) {
        size_t room = target.buffer - worker->out_used, part = size < room ? size : room;
        memcpy(worker->out + worker->out_used, from, part);
        worker->out_used += part;
        from += part;
        size -= part;
        if (worker->out_used == target.buffer)
            flush(worker);
    }
}

/* Queue one packet; `prefix` is put in front of the payload. */
static void send_packet(struct worker *worker, char command, const char *prefix, size_t prefix_size,
                        const char *payload, size_t size)
{
    uint32_t length = htonl((uint32_t)(1 + prefix_size + size));
    put(worker, &length, 4);
    put(worker, &command, 1);
    put(worker, prefix, prefix_size);
    put(worker, payload, size);
    worker->packets++;
    worker->bytes += 5 + prefix_size + size;
}

static void fill(struct worker *worker, size_t wanted)
{
    if (wanted > sizeof worker->in)
        fail("a packet of the milter is absurdly large", NULL);
    if (worker->in_start > 0 && sizeof worker->in - worker->in_start < wanted) {
        memmove(worker->in, worker->in + worker->in_start, worker->in_end - worker->in_start);
        worker->in_end -= worker->in_start;
        worker->in_start = 0;
    }
    while (worker->in_end - worker->in_start < wanted) {
        ssize_t count = read(worker->fd, worker->in + worker->in_end, sizeof worker->in - worker->in_end);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            fail("no answer of the milter", strerror(errno));
        if (count == 0)
            fail("the milter closed the connection instead of answering", NULL);
        worker->in_end += (size_t)count;
    }
}

/* Return the command of the next packet, and its payload, which stands until the next call. */
static char receive(struct worker *worker, const char **payload, size_t *size)
{
    uint32_t length;
    if (worker->in_start == worker->in_end)
        worker->in_start = worker->in_end = 0;
    fill(worker, 4);
    memcpy(&length, worker->in + worker->in_start, 4);
    length = ntohl(length);
    if (length < 1)
        fail("a packet of the milter is empty", NULL);
    fill(worker, 4 + (size_t)length);
    *payload = worker->in + worker->in_start + 5;
    *size = length - 1;
    worker->in_start += 4 + (size_t)length;
    return (*payload)[-1];
}

/* -- one session ------------------------------------------------------------------------- */

static void check(bool right, const char *what, const char *payload, size_t size)
{
    char shown[200];
    size_t count = 0;
    if (right)
        return;
    for (; count < size && count < sizeof shown - 1; count++)
        shown[count] = payload[count] >= ' ' && payload[count] < 127 ? payload[count] : '.';
    shown[count] = '\0';
    fail(what, shown);
}

/* Read packets until the answer to an event is there; return it: 'c', 's' or 'a'. */
static char answer(struct worker *worker, char event, const struct message *message)
{
    worker->waits++;
    flush(worker);
    for (;;) {
        const char *payload;
        size_t size;
        char command = receive(worker, &payload, &size);
        switch (command) {
        case 'c':
        case 's':
        case 'a':
            return command;
        case 'p': /* SMFIR_PROGRESS */
            continue;
        case '+':
        case '2': /* SMFIR_ADDRCPT, SMFIR_ADDRCPT_PAR */
            check(event == 'E' && message, "a recipient is added before the end of the message", payload, size);
            check(memmem(payload, size, message->added_text, strlen(message->added_text)) != NULL,
                  "an unexpected recipient is added", payload, size);
            worker->added++;
            continue;
        case 'm':
        case 'i':
        case 'h': { /* SMFIR_CHGHEADER, SMFIR_INSHEADER, SMFIR_ADDHEADER */
            size_t skip = command == 'h' ? 0 : 4;
            const char *value;
            check(event == 'E' && message && size > skip, "a header is changed before the end of the message", payload,
                  size);
            value = memchr(payload + skip, 0, size - skip);
            check(value != NULL, "a header change is malformed", payload, size);
            if (value[1] == '\0') {
                worker->deletions++;
                continue;
            }
            check(memmem(payload, size, message->changed_text, strlen(message->changed_text)) != NULL,
                  "a header gets an unexpected value", payload + skip, size - skip);
            worker->changed++;
            continue;
        }
        default: {
            char what[80];
            snprintf(what, sizeof what, "unexpected answer '%c' to event '%c'", command, event);
            check(false, what, payload, size);
        }
        }
    }
}

static char pass(struct worker *worker, const struct kind *kind, const char *macros, size_t macros_size,
                 const char *payload, size_t size, const struct message *message)
{
    bool wanted = !(worker->protocol & kind->unwanted);
    char got;
    if (worker->skipped == kind->command)
        return 'c';
    worker->skipped = 0;
    if (wanted || kind->macros_always)
        send_packet(worker, 'D', &kind->command, 1, macros, macros_size);
    if (!wanted)
        return 'c';
    send_packet(worker, kind->command, NULL, 0, payload, size);
    if (worker->protocol & kind->unanswered)
        return 'c';
    got = answer(worker, kind->command, message);
    if (got == 's') {
        worker->skipped = kind->command;
        got = 'c';
    }
    return got;
}

static char pass_step(struct worker *worker, const struct step *step, const struct message *message)
{
    return pass(worker, step->kind, step->macros, step->macros_size, step->payload, step->payload_size, message);
}

static char pass_body(struct worker *worker, const struct step *end, const struct message *message)
{
    const struct kind *body = &kinds[7];
    if (worker->protocol & body->unwanted)
        return 'c';
    for (uint32_t sent = 0; sent < script.body_size && worker->skipped != 'B';) {
        uint32_t left = script.body_size - sent, part = left < CHUNK ? left : CHUNK;
        if (pass(worker, body, end->macros, end->macros_size, body_chunk, part, message) == 'a')
            return 'a';
        sent += part;
    }
    return 'c';
}

static void pass_message(struct worker *worker, const struct message *message)
{
    worker->added = worker->changed = 0;
    worker->skipped = 0;
    for (uint32_t i = 0; i < message->steps_count; i++) {
        const struct step *step = &message->steps[i];
        if (step->kind->command == 'E' && pass_body(worker, step, message) == 'a')
            break;
        if (pass_step(worker, step, message) == 'a')
            break;
        if (step->kind->command == 'T')
            flush(worker); /* the content is sent by another process, cleanup */
    }
    if (worker->added != message->added || worker->changed != message->changed) {
        char text[120];
        snprintf(text, sizeof text, "%u recipients added instead of %u, %u header fields set instead of %u",
                 worker->added, message->added, worker->changed, message->changed);
        fail(text, NULL);
    }
    send_packet(worker, 'A', NULL, 0, NULL, 0);
}

static void open_session(struct worker *worker)
{
    static const uint32_t offered[] = {6, 0x1ff, 0x1fffff};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    uint32_t words[3];
    const char *payload;
    size_t size;
    worker->fd = socket(target.address.ss_family, SOCK_STREAM, 0);
    setsockopt(worker->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(worker->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (connect(worker->fd, (struct sockaddr *)&target.address, target.size) != 0)
        if (errno != EINTR)
            fail("cannot connect", strerror(errno));
    worker->in_start = worker->in_end = worker->out_used = 0;
    for (int i = 0; i < 3; i++)
        words[i] = htonl(offered[i]);
    send_packet(worker, 'O', NULL, 0, (char *)words, sizeof words);
    worker->waits++;
    flush(worker);
    if (receive(worker, &payload, &size) != 'O' || size < sizeof words)
        fail("the milter does not negotiate", NULL);
    memcpy(words, payload, sizeof words);
    worker->protocol = ntohl(words[2]);
    if (worker->protocol & LEADING_SPACE_BIT)
        fail("the milter wants the blank after the colon, which the script leaves out", NULL);
    worker->skipped = 0;
    for (uint32_t i = 0; i < script.greeting_count; i++)
        if (pass_step(worker, &script.greeting[i], NULL) != 'c')
            fail("the milter accepts the whole session", NULL);
    worker->sessions++;
}

static void close_session(struct worker *worker)
{
    send_packet(worker, 'A', NULL, 0, NULL, 0); /* smtpd resets at QUIT, even after a message */
    send_packet(worker, 'Q', NULL, 0, NULL, 0);
    flush(worker);
    close(worker->fd);
}

static void note_latency(struct worker *worker, double seconds)
{
    uint32_t us = (uint32_t)(seconds * 1e6);
    if (worker->messages == worker->latencies_room) {
        worker->latencies_room = worker->latencies_room ? 2 * worker->latencies_room : 4096;
        worker->latencies = realloc(worker->latencies, worker->latencies_room * sizeof *worker->latencies);
        if (!worker->latencies)
            fail("out of memory", NULL);
    }
    worker->latencies[worker->messages++] = us;
    worker->stalls += us >= STALL_US;
}

static bool goes_on(void)
{
    if (now() >= deadline)
        return false;
    return !messages_limit || atomic_fetch_add(&begun, 1) < messages_limit;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    uint64_t turn = (uint64_t)script.messages_count * worker->number / connections;
    bool more = goes_on();
    worker->out = malloc(target.buffer);
    while (more) {
        double began = now();
        open_session(worker);
        for (unsigned i = 0; i < per_session && more; i++) {
            double ended;
            pass_message(worker, &script.messages[turn++ % script.messages_count]);
            ended = now();
            note_latency(worker, ended - began);
            began = ended;
            more = goes_on();
        }
        close_session(worker);
    }
    worker->ended = now();
    return NULL;
}

/* -- main -------------------------------------------------------------------------------- */

static void read_target(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *address = (struct sockaddr_un *)&target.address;
        if (strlen(text + 5) >= sizeof address->sun_path)
            fail("the path is too long", text);
        address->sun_family = AF_UNIX;
        strcpy(address->sun_path, text + 5);
        target.size = sizeof *address;
        target.buffer = UNIX_BUFFER;
    } else {
        struct sockaddr_in *address = (struct sockaddr_in *)&target.address;
        char host[64];
        unsigned port;
        if (sscanf(text, "inet:%63[0-9.]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &address->sin_addr) != 1)
            fail("neither unix:PATH nor inet:HOST:PORT", text);
        address->sin_family = AF_INET;
        address->sin_port = htons((uint16_t)port);
        target.size = sizeof *address;
        target.buffer = TCP_BUFFER;
    }
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void report(struct worker *workers, double began)
{
    struct worker sum = {0};
    struct rusage usage;
    uint32_t *all;
    size_t count = 0;
    double last = began, seconds;
    for (unsigned i = 0; i < connections; i++) {
        sum.messages += workers[i].messages;
        sum.sessions += workers[i].sessions;
        sum.packets += workers[i].packets;
        sum.bytes += workers[i].bytes;
        sum.waits += workers[i].waits;
        sum.deletions += workers[i].deletions;
        sum.stalls += workers[i].stalls;
        last = workers[i].ended > last ? workers[i].ended : last;
    }
    if (!sum.messages)
        fail("no message went through", NULL);
    all = malloc(sum.messages * sizeof *all);
    for (unsigned i = 0; i < connections; i++) {
        if (workers[i].messages)
            memcpy(all + count, workers[i].latencies, workers[i].messages * sizeof *all);
        count += workers[i].messages;
    }
    qsort(all, count, sizeof *all, by_size);
    getrusage(RUSAGE_SELF, &usage);
    seconds = last - began;
    printf("{\"messages\": %llu, \"sessions\": %llu, \"seconds\": %.6f, \"packets\": %llu, \"bytes\": %llu, "
           "\"waits\": %llu, \"deletions\": %llu, \"stalls\": %llu, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, "
           "\"driver_cpu_seconds\": %.6f}\n",
           (unsigned long long)sum.messages, (unsigned long long)sum.sessions, seconds,
           (unsigned long long)sum.packets, (unsigned long long)sum.bytes, (unsigned long long)sum.waits,
           (unsigned long long)sum.deletions, (unsigned long long)sum.stalls, all[count / 2], all[count * 99 / 100],
           all[count - 1],
           (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
               1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
}

int main(int argc, char **argv)
{
    struct worker *workers;
    double began;
    if (argc != 7) {
        fprintf(stderr, "usage: load SCRIPT unix:PATH|inet:HOST:PORT CONNECTIONS PER_SESSION SECONDS MESSAGES\n");
        return 2;
    }
    read_script(argv[1]);
    read_target(argv[2]);
    connections = (unsigned)strtoul(argv[3], NULL, 10);
    per_session = (unsigned)strtoul(argv[4], NULL, 10);
    messages_limit = strtoull(argv[6], NULL, 10);
    if (connections < 1 || per_session < 1 || script.messages_count < 1)
        fail("connections, messages per session and messages of the script have to be one at least", NULL);
    body_chunk = malloc(CHUNK);
    for (size_t i = 0; i < CHUNK; i++)
        body_chunk[i] = body_line[i % (sizeof body_line - 1)];
    workers = calloc(connections, sizeof *workers);
    began = now();
    deadline = began + strtod(argv[5], NULL);
    for (unsigned i = 0; i < connections; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("cannot start a thread", NULL);
    }
    for (unsigned i = 0; i < connections; i++)
        pthread_join(workers[i].thread, NULL);
    report(workers, began);
    return 0;
}
