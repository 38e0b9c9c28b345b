/* A server with a C library that overflows its buffer: see ../README.md.
 *
 *   clang --target=wasm32-wasi -O2 overflow.c -o overflow.wasm     (or: zig cc -target wasm32-wasi …)
 *   lunatic run overflow.wasm
 *
 * The library unpacks run lengths and believes whatever its input says. The server gives each request to a process of its
 * own. A request that is made to overflow overwrites what lies behind the buffer there: a function pointer in one case,
 * all the rest of the memory in the other. That process dies, the server is told why, and answers the next.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lunatic.h"

/* ---- the library: old, fast, and wrong ---- */

struct unpacker {
    char text[32];
    /* What becomes of the text. */
    void (*done)(const char *text);
};

/* Pairs of a count and a byte. Nobody looks whether `text` has room. */
__attribute__((noinline)) static void unpack(struct unpacker *to, const unsigned char *packed, size_t length) {
    volatile char *at = to->text;
    for (size_t i = 0; i + 1 < length; i += 2)
        for (unsigned count = packed[i]; count > 0; count--)
            *at++ = (char)packed[i + 1];
    *at = 0;
    to->done(to->text);
}

/* ---- the process of one request ---- */

static uint64_t server;

static void answer(const char *text) {
    lunatic_message_create_data(0, strlen(text));
    lunatic_message_write_data(text, (uint32_t)strlen(text));
    lunatic_message_send(server);
}

static int serve_request(void) {
    static unsigned char request[1 << 16];
    lunatic_message_read_data(&server, sizeof server);
    size_t length = lunatic_message_read_data(request, sizeof request);
    struct unpacker *unpacker = calloc(1, sizeof *unpacker);
    unpacker->done = answer;
    unpack(unpacker, request, length);
    return 0;
}

/* ---- the server ---- */

/* Gives the request away and waits until its process has ended: with an answer, or without. */
static void handle(int number, const unsigned char *packed, size_t length) {
    static const char entry[] = "_start";
    uint64_t id, me = lunatic_process_process_id();
    char text[256] = {0};
    lunatic_message_create_data(0, sizeof me + length);
    lunatic_message_write_data(&me, sizeof me);
    lunatic_message_write_data(packed, (uint32_t)length);
    if (lunatic_process_spawn_monitored(0, number, LUNATIC_OWN, LUNATIC_OWN, entry, sizeof entry - 1, NULL, 0,
                                        &id)) {
        printf("request %d: no room for another process\n", number);
        return;
    }
    while (lunatic_message_receive(NULL, 0, UINT64_MAX) != LUNATIC_PROCESS_DIED) {
        uint32_t read = lunatic_message_read_data(text, sizeof text - 1);
        printf("request %d: %.*s\n", number, (int)read, text);
        return (void)lunatic_message_receive(NULL, 0, UINT64_MAX); /* its end */
    }
    /* Where it was is on the lines behind the first. */
    lunatic_message_get_exit_text(text, sizeof text - 1);
    text[strcspn(text, "\n")] = 0;
    printf("request %d: its process %s\n", number, text);
}

static int serve(void) {
    static const unsigned char good[] = {3, 'h', 1, 'i'};
    /* 32 bytes fill the buffer, four more the pointer behind it: to no function. */
    static const unsigned char pointer[] = {32, 'x', 4, 0x7f};
    /* 255 bytes, so often that no memory holds them. */
    static unsigned char flood[1 << 15];
    memset(flood, 0xff, sizeof flood);
    handle(1, good, sizeof good);
    handle(2, pointer, sizeof pointer);
    handle(3, good, sizeof good);
    handle(4, flood, sizeof flood);
    handle(5, good, sizeof good);
    return 0;
}

int main(void) {
    /* Only the process of a request is born with a message. */
    return lunatic_message_receive(NULL, 0, 0) == 0 ? serve_request() : serve();
}
