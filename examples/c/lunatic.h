/* What the examples in C and C++ need of lunatic's functions. `lunatic imports --markdown` lists all. */
#ifndef LUNATIC_H
#define LUNATIC_H

#include <stdint.h>

#define LUNATIC_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* `lunatic_spawn`: the caller's own configuration, or module. */
#define LUNATIC_OWN (-1)

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a process that runs an exported function; the current message becomes its first one.
 * 0: its id is at `id`. */
LUNATIC_IMPORT("lunatic::process", "spawn_with_message")
int32_t lunatic_spawn(int64_t link, int64_t config, int64_t module, const char *function,
                      uint32_t function_length, const void *parameters, uint32_t parameters_length,
                      uint64_t *id);

/* The same, and the caller is told of the new process's end, by a notice with the tag `monitor` (not 0). */
LUNATIC_IMPORT("lunatic::process", "spawn_monitored")
int32_t lunatic_spawn_monitored(int64_t link, int64_t monitor, int64_t config, int64_t module,
                                const char *function, uint32_t function_length,
                                const void *parameters, uint32_t parameters_length, uint64_t *id);

/* The id of the process that calls. */
LUNATIC_IMPORT("lunatic::process", "process_id") uint64_t lunatic_self(void);

/* Makes an empty message current. */
LUNATIC_IMPORT("lunatic::message", "create_data")
void lunatic_message_create(int64_t tag, uint64_t capacity);

/* Appends to the current message. */
LUNATIC_IMPORT("lunatic::message", "write_data")
uint32_t lunatic_message_write(const void *data, uint32_t length);

/* Reads from the current message. */
LUNATIC_IMPORT("lunatic::message", "read_data")
uint32_t lunatic_message_read(void *data, uint32_t length);

/* Sends the current message to a process. */
LUNATIC_IMPORT("lunatic::message", "send") int32_t lunatic_message_send(uint64_t process);

/* Copies the reason, in words, of the end that the current message is the notice of. Answers its length. */
LUNATIC_IMPORT("lunatic::message", "get_exit_text")
uint32_t lunatic_exit_text(char *text, uint32_t length);

/* Waits for a message, for ever if `timeout_ms` is UINT64_MAX, and makes it current. 0: there it is. 2: it is the notice
 * of a monitored process's end. */
LUNATIC_IMPORT("lunatic::message", "receive")
int32_t lunatic_message_receive(const int64_t *tags, uint32_t tag_count, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
