/* Counts the words of files, each in a process of its own: see ../README.md.
 *
 *   clang --target=wasm32-wasi -O2 tally.c -o tally.wasm     (or: zig cc -target wasm32-wasi …)
 *   lunatic run tally.wasm --dir some/directory::/data -- /data/a /data/b
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lunatic.h"

/* To a child: who asks, and which argument is its file. Back: which one, and how many. */
struct message {
    uint64_t who;
    int64_t number;
};

static void put(struct message message) {
    lunatic_message_create_data(0, sizeof message);
    lunatic_message_write_data(&message, sizeof message);
}

static struct message current(void) {
    struct message message;
    lunatic_message_read_data(&message, sizeof message);
    return message;
}

/* -1 if the file cannot be read. */
static int64_t count(const char *path) {
    const char *unit = getenv("TALLY_UNIT");
    int lines = unit && !strcmp(unit, "lines"), bytes = unit && !strcmp(unit, "bytes");
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    int64_t total = 0;
    int inside = 0;
    for (int c; (c = getc(file)) != EOF;) {
        int space = c == ' ' || (c >= '\t' && c <= '\r');
        if (bytes || (lines ? c == '\n' : !space && !inside))
            total++;
        inside = !space;
    }
    if (ferror(file))
        total = -1;
    fclose(file);
    return total;
}

static void wait_a_little(void) {
    const char *delay = getenv("TALLY_DELAY_MS");
    long milliseconds = delay ? atol(delay) : 1;
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static int child(char **argv) {
    struct message task = current();
    wait_a_little();
    put((struct message){task.number, count(argv[task.number])});
    lunatic_message_send(task.who);
    return 0;
}

static int parent(int argc, char **argv) {
    static const char entry[] = "_start";
    if (argc < 2) {
        fprintf(stderr, "tally: name the files\n");
        return 2;
    }
    for (int at = 1; at < argc; at++) {
        uint64_t id;
        put((struct message){lunatic_process_process_id(), at});
        if (lunatic_process_spawn_with_message(0, LUNATIC_OWN, LUNATIC_OWN, entry, sizeof entry - 1, NULL,
                                               0, &id)) {
            fprintf(stderr, "tally: no room for another process\n");
            return 3;
        }
    }
    int64_t *counts = calloc(argc, sizeof *counts), total = 0;
    for (int left = argc - 1; left > 0; left--) {
        lunatic_message_receive(NULL, 0, UINT64_MAX);
        struct message answer = current();
        counts[answer.who] = answer.number;
    }
    int code = 0;
    for (int at = 1; at < argc; at++) {
        if (counts[at] < 0) {
            fprintf(stderr, "tally: cannot read %s\n", argv[at]);
            code = 1;
            continue;
        }
        printf("%lld %s\n", (long long)counts[at], argv[at]);
        total += counts[at];
    }
    printf("%lld in all\n", (long long)total);
    return code;
}

int main(int argc, char **argv) {
    /* Only a child is born with a message. */
    return lunatic_message_receive(NULL, 0, 0) == 0 ? child(argv) : parent(argc, argv);
}
