/* What a program in C or C++ may import from lunatic.
 *
 * Made by `lunatic imports --c-header` from the tables that bind the functions; a test compares. A
 * function is called lunatic_, its interface and its own name: `send` of `lunatic::message` is
 * lunatic_message_send. Only those that a program uses become imports of it. WASI's functions come
 * with the C library. docs/abi.md has the conventions; in short:
 *
 * - a length counts bytes unless a text says otherwise, and a text needs no zero at its end;
 * - an address outside of memory, an unknown id, a missing message end the process that calls;
 * - an answer of 1 with an id where a result would be is an error: lunatic_error_to_string tells it;
 * - what waits suspends its process, and no other.
 *
 * For wasm32: addresses have 32 bits.
 */
#ifndef LUNATIC_H
#define LUNATIC_H

#include <stdint.h>

#define LUNATIC_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* Where an id of a module or a configuration is asked for: the caller's own. */
#define LUNATIC_OWN (-1)

/* A timeout in milliseconds, or a limit: none. */
#define LUNATIC_NO_LIMIT UINT64_MAX

/* What calls with a timeout answer when it has passed. */
#define LUNATIC_TIMED_OUT 9027

/* What lunatic_message_receive answers for a notice: a link has failed; a monitored process has ended. */
#define LUNATIC_LINK_DIED 1
#define LUNATIC_PROCESS_DIED 2

/* How a process ended: see lunatic_message_get_exit_reason. */
enum lunatic_exit_kind {
    LUNATIC_EXIT_RETURNED = 0,
    LUNATIC_EXIT_CODE = 1,
    LUNATIC_EXIT_TRAP = 2,
    LUNATIC_EXIT_HOST_CALL = 3,
    LUNATIC_EXIT_KILLED = 4,
    LUNATIC_EXIT_LINKED = 5,
    LUNATIC_EXIT_OUT_OF_MEMORY = 6,
    LUNATIC_EXIT_OUT_OF_FUEL = 7,
    LUNATIC_EXIT_STACK_OVERFLOW = 8,
    LUNATIC_EXIT_MAILBOX_FULL = 9,
    LUNATIC_EXIT_BUG_OF_THE_RUNTIME = 10,
    LUNATIC_EXIT_ASKED_TO_END = 11,
    LUNATIC_EXIT_COULD_NOT_START = 12,
    LUNATIC_EXIT_NO_PROCESS = 13
};

/* What lunatic_message_get_exit_reason writes. */
struct lunatic_exit {
    uint32_t kind;          /* enum lunatic_exit_kind */
    uint32_t first_kind;    /* of the first end in a chain of links */
    uint64_t process;       /* that ended */
    uint64_t first_process; /* that ended first */
    uint64_t value;         /* belongs to the first end: see its kind */
    uint64_t link;          /* the process whose end it died of, or 0 */
};

/* A parameter of a function that is spawned; params_len is 17 for each. */
struct lunatic_parameter {
    uint8_t type; /* 0x7F: i32. 0x7E: i64. 0x7B: v128. */
    uint8_t value[16];
};

/* Bytes that are to be written. */
struct lunatic_buffer {
    const void *data;
    uint32_t length;
};

/* See lunatic_config_set_limit. */
enum lunatic_limit {
    LUNATIC_LIMIT_MEMORY = 0,
    LUNATIC_LIMIT_FUEL = 1,
    LUNATIC_LIMIT_CHILDREN = 2,
    LUNATIC_LIMIT_RESOURCES = 3,
    LUNATIC_LIMIT_MESSAGE = 4,
    LUNATIC_LIMIT_DESCRIPTORS = 5,
    LUNATIC_LIMIT_STACK = 6,
    LUNATIC_LIMIT_MAILBOX = 7,
    LUNATIC_LIMIT_MAILBOX_BYTES = 8
};

/* See lunatic_config_set_overflow. */
enum lunatic_overflow { LUNATIC_OVERFLOW_BLOCK = 0, LUNATIC_OVERFLOW_DROP = 1, LUNATIC_OVERFLOW_KILL = 2 };

/* See lunatic_config_set_right. */
enum lunatic_right {
    LUNATIC_RIGHT_SPAWN = 0,
    LUNATIC_RIGHT_COMPILE = 1,
    LUNATIC_RIGHT_CONFIGS = 2,
    LUNATIC_RIGHT_KILL = 3,
    LUNATIC_RIGHT_NAMES = 4
};

#ifdef __cplusplus
extern "C" {
#endif
