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

/* ==== lunatic::process ====
 *
 * Processes: instances of a module, each with its own memory, stack and mailbox. */

/* Compiles a module (binary or text) for `spawn`, while others run. 0: its id (u64) is at
 * `id_ptr`. 1: an error id is there: the module is not valid, imports what lunatic does not
 * provide, or is too large. -1: the process may not compile modules. At most 64 MiB. A module
 * that takes longer than a minute is given up. What the compiler holds, as estimated, and the module
 * then, count as what the host holds for the process (`--max-host-memory`). */
LUNATIC_IMPORT("lunatic::process", "compile_module")
int32_t lunatic_process_compile_module(const void *module_data_ptr, uint32_t module_data_len,
    uint64_t *id_ptr);

/* Forgets a module. Processes that run it go on. Traps if there is no such module. */
LUNATIC_IMPORT("lunatic::process", "drop_module")
void lunatic_process_drop_module(uint64_t module_id);

/* Makes a process that runs the exported function `func_str` with the parameters. They are
 * records of 17 bytes: the type (0x7F i32, 0x7E i64, 0x7B v128), then 16 bytes of the value,
 * little-endian. `config_id` (see `create_config`) and `module_id` -1 mean the caller's own. `link`
 * other than 0 links the caller with the new process, before that can run; it is the link's tag
 * for the caller (see `link`), the new process has none. 0:
 * the process id (u64) is at `id_ptr`. 1: an error id is there. A function that is missing or of
 * another type is found out by the new process, which then ends at once. */
LUNATIC_IMPORT("lunatic::process", "spawn")
uint32_t lunatic_process_spawn(int64_t link, int64_t config_id, int64_t module_id,
    const char *func_str_ptr, uint32_t func_str_len, const struct lunatic_parameter *params_ptr,
    uint32_t params_len, uint64_t *id_ptr);

/* Like `spawn`, and the caller's current message (see `lunatic::message`) becomes the first
 * one of the new process, before anybody can send to it. On an error the message stays. */
LUNATIC_IMPORT("lunatic::process", "spawn_with_message")
uint32_t lunatic_process_spawn_with_message(int64_t link, int64_t config_id, int64_t module_id,
    const char *func_str_ptr, uint32_t func_str_len, const struct lunatic_parameter *params_ptr,
    uint32_t params_len, uint64_t *id_ptr);

/* Like `spawn_with_message`, and the caller monitors the new process before that can run: the
 * notice of its end has the tag `monitor`, which must not be 0. */
LUNATIC_IMPORT("lunatic::process", "spawn_monitored")
uint32_t lunatic_process_spawn_monitored(int64_t link, int64_t monitor, int64_t config_id,
    int64_t module_id, const char *func_str_ptr, uint32_t func_str_len,
    const struct lunatic_parameter *params_ptr, uint32_t params_len, uint64_t *id_ptr);

/* Finds the living process of a name (see `lunatic::registry`) or, if there is none, spawns one
 * as `spawn` does and gives it the name. Nobody else can take the name in between. 0: spawned; 2:
 * found; then the node (u64, always 0) is at `node_id_ptr` and the process id (u64) at `id_ptr`.
 * 1: an error id is at `id_ptr`. */
LUNATIC_IMPORT("lunatic::process", "get_or_spawn")
uint32_t lunatic_process_get_or_spawn(const char *name_ptr, uint32_t name_len, int64_t link,
    int64_t config_id, int64_t module_id, const char *func_str_ptr, uint32_t func_str_len,
    const struct lunatic_parameter *params_ptr, uint32_t params_len, uint64_t *node_id_ptr,
    uint64_t *id_ptr);

/* Waits for so many milliseconds. 0 lets others run. */
LUNATIC_IMPORT("lunatic::process", "sleep_ms")
void lunatic_process_sleep_ms(uint64_t millis);

/* Answers the id of the process that calls. No other process, dead or alive, has the same one
 * for as long as a slot's generations last (2^32 reuses). */
LUNATIC_IMPORT("lunatic::process", "process_id")
uint64_t lunatic_process_process_id(void);

/* 1 if the process lives, else 0. It may end the next moment. */
LUNATIC_IMPORT("lunatic::process", "exists")
uint32_t lunatic_process_exists(uint64_t process_id);

/* Ends a process at its next scheduling point, whatever it does; it cannot refuse. Its links
 * fail. Nothing happens if there is no such process. */
LUNATIC_IMPORT("lunatic::process", "kill")
void lunatic_process_kill(uint64_t process_id);

/* Links the caller with a process: when one of them fails (it traps, exits with a code other than
 * 0, is killed, …), the other dies too, or is told, as `die_when_link_dies` says. When one ends
 * normally, it is unlinked. `tag` (0: none) comes back to the caller with the notice; to the other
 * too, unless that has linked itself with a tag of its own. Linking again changes the tag. A
 * process that does not exist, or has ended, is a link that fails at once. A link with oneself is
 * none. Who may not kill others does not end them in this way either: of a link that it makes the
 * other process notices nothing, and the log is told. Traps beyond a million links and monitors. */
LUNATIC_IMPORT("lunatic::process", "link")
void lunatic_process_link(int64_t tag, uint64_t process_id);

/* Takes the link between the caller and a process away. From then on its end does nothing to the
 * caller; a notice of it may wait in the mailbox already. Nothing happens if there is no link. */
LUNATIC_IMPORT("lunatic::process", "unlink")
void lunatic_process_unlink(uint64_t process_id);

/* Has the caller told when a process ends, however it ends: `lunatic::message::receive` answers
 * 2. At once, if it does not exist or has ended. There is one notice, however often it is
 * monitored. Traps beyond a million links and monitors. */
LUNATIC_IMPORT("lunatic::process", "monitor")
void lunatic_process_monitor(uint64_t process_id);

/* Takes `monitor` back. A notice may wait in the mailbox already. */
LUNATIC_IMPORT("lunatic::process", "stop_monitoring")
void lunatic_process_stop_monitoring(uint64_t process_id);

/* As `monitor`, with a notice of its own that has this tag, so that it can be waited for: one more
 * for each call. At most 1000 for one process. */
LUNATIC_IMPORT("lunatic::process", "monitor_with_tag")
void lunatic_process_monitor_with_tag(int64_t tag, uint64_t process_id);

/* Takes one `monitor_with_tag` with this tag back. A notice may wait in the mailbox already. */
LUNATIC_IMPORT("lunatic::process", "stop_monitoring_with_tag")
void lunatic_process_stop_monitoring_with_tag(int64_t tag, uint64_t process_id);

/* Asks a process to end, in the way that a failing link does: it is killed, unless it has called
 * `die_when_link_dies` with 0. Then `lunatic::message::receive` answers 1 in it, the notice is of
 * kind 11 (see `get_exit_reason`) and names the caller, and it may end when it has finished what
 * it does. Nothing happens if there is no such process. */
LUNATIC_IMPORT("lunatic::process", "send_exit")
void lunatic_process_send_exit(uint64_t process_id);

/* Whether the caller dies when a link of its fails: not 0, as it is at first; or is told: 0. Then
 * `lunatic::message::receive` answers 1 and the message has the link's tag. */
LUNATIC_IMPORT("lunatic::process", "die_when_link_dies")
void lunatic_process_die_when_link_dies(uint32_t trap);

/* A number for all the processes that can know of each other. A run has one such environment. */
LUNATIC_IMPORT("lunatic::process", "environment_id")
uint64_t lunatic_process_environment_id(void);

/* Configurations: what a process that is spawned may do and have. `create_config` makes one, the
 * others change it, `spawn` takes its id; `lunatic::config` has more of them. A configuration is
 * at most what its maker has: where more is asked for, the most that may be had is set. */

/* Makes a configuration and answers its id, or -1 if the caller may not make any. It grants the
 * standard streams, and the network as the caller may use it; its limits are the caller's. */
LUNATIC_IMPORT("lunatic::process", "create_config")
int64_t lunatic_process_create_config(void);

/* Forgets a configuration. Processes that were spawned with it keep it. Traps if there is none
 * with this id. */
LUNATIC_IMPORT("lunatic::process", "drop_config")
void lunatic_process_drop_config(uint64_t config_id);

/* Sets the most bytes of linear memory. */
LUNATIC_IMPORT("lunatic::process", "config_set_max_memory")
void lunatic_process_config_set_max_memory(uint64_t config_id, uint64_t max_memory);

/* The most bytes of linear memory that its processes may have. */
LUNATIC_IMPORT("lunatic::process", "config_get_max_memory")
uint64_t lunatic_process_config_get_max_memory(uint64_t config_id);

/* Sets the fuel that a process may use, in units of 100,000 instructions; 0 means any amount.
 * Who has used it up ends. */
LUNATIC_IMPORT("lunatic::process", "config_set_max_fuel")
void lunatic_process_config_set_max_fuel(uint64_t config_id, uint64_t max_fuel);

/* The fuel that a process may use, 0 for any amount. */
LUNATIC_IMPORT("lunatic::process", "config_get_max_fuel")
uint64_t lunatic_process_config_get_max_fuel(uint64_t config_id);

/* 1 if a process may compile modules, else 0. */
LUNATIC_IMPORT("lunatic::process", "config_can_compile_modules")
uint32_t lunatic_process_config_can_compile_modules(uint64_t config_id);

/* Allows it to compile modules, unless `can` is 0. */
LUNATIC_IMPORT("lunatic::process", "config_set_can_compile_modules")
void lunatic_process_config_set_can_compile_modules(uint64_t config_id, uint32_t can);

/* 1 if a process may make configurations, else 0. */
LUNATIC_IMPORT("lunatic::process", "config_can_create_configs")
uint32_t lunatic_process_config_can_create_configs(uint64_t config_id);

/* Allows it to make configurations, unless `can` is 0. */
LUNATIC_IMPORT("lunatic::process", "config_set_can_create_configs")
void lunatic_process_config_set_can_create_configs(uint64_t config_id, uint32_t can);

/* 1 if a process may spawn others, else 0. */
LUNATIC_IMPORT("lunatic::process", "config_can_spawn_processes")
uint32_t lunatic_process_config_can_spawn_processes(uint64_t config_id);

/* Allows it to spawn others, unless `can` is 0. */
LUNATIC_IMPORT("lunatic::process", "config_set_can_spawn_processes")
void lunatic_process_config_set_can_spawn_processes(uint64_t config_id, uint32_t can);

/* ==== lunatic::wasi ====
 *
 * What a configuration (see `lunatic::process::create_config`) grants of WASI. */

/* Adds an environment variable; one of the same name is replaced. Traps beyond 64 KiB of
 * arguments, variables and names of directories, and if a text is not UTF-8 or has a zero byte in it. */
LUNATIC_IMPORT("lunatic::wasi", "config_add_environment_variable")
void lunatic_wasi_config_add_environment_variable(uint64_t config_id, const char *key_ptr,
    uint32_t key_len, const char *value_ptr, uint32_t value_len);

/* Adds an argument; the first one is the program's name. Traps as
 * `config_add_environment_variable` does. */
LUNATIC_IMPORT("lunatic::wasi", "config_add_command_line_argument")
void lunatic_wasi_config_add_command_line_argument(uint64_t config_id, const char *argument_ptr,
    uint32_t argument_len);

/* Grants a directory under the name `dir`, which is a path as the caller knows it: in a
 * directory that it was given itself, and not out of it. Any other is not granted, and the log
 * says so. */
LUNATIC_IMPORT("lunatic::wasi", "config_preopen_dir")
void lunatic_wasi_config_preopen_dir(uint64_t config_id, const char *dir_ptr, uint32_t dir_len);

/* ==== lunatic::config ====
 *
 * More about configurations (see `lunatic::process::create_config`, whose ids these are). Nothing
 * can be granted that the caller has not itself: such a call answers 1, with an error id (u64) at
 * `id_ptr`, and sets the most that may be had. An unknown configuration is a trap. */

/* Makes a configuration that grants the standard streams and nothing else, within the caller's
 * limits. Answers its id, or -1 if the caller may not make any. */
LUNATIC_IMPORT("lunatic::config", "create")
int64_t lunatic_config_create(void);

/* Makes a configuration that grants what the caller has, to take something away from. Answers
 * its id, or -1 if the caller may not make any. */
LUNATIC_IMPORT("lunatic::config", "copy_own")
int64_t lunatic_config_copy_own(void);

/* Sets a limit; 2^64-1 is none. 0: bytes of linear memory, and of tables. 1: fuel, in units of 100,000
 * instructions. 2: living children. 3: open resources. 4: bytes of a message. 5: open
 * descriptors. 6: bytes of the stack, between 16 KiB and 8 MiB. 7: messages that wait (see
 * `set_overflow`). 8: bytes that they take; no more come while there are so many. Traps if there is no such limit. */
LUNATIC_IMPORT("lunatic::config", "set_limit")
uint32_t lunatic_config_set_limit(uint64_t config_id, uint32_t limit, uint64_t value,
    uint64_t *id_ptr);

/* A limit of a configuration, by the number that `set_limit` gives it. */
LUNATIC_IMPORT("lunatic::config", "get_limit")
uint64_t lunatic_config_get_limit(uint64_t config_id, uint32_t limit);

/* Sets what becomes of a message that finds the mailbox full. 0: its sender waits. 1: it is
 * dropped. 2: it is dropped, and the receiver ends. Traps if there is no such choice. */
LUNATIC_IMPORT("lunatic::config", "set_overflow")
void lunatic_config_set_overflow(uint64_t config_id, uint32_t overflow);

/* Gives a right, or takes it if `has` is 0. 0: to spawn processes. 1: to compile modules. 2: to
 * make configurations. 3: to kill other processes. 4: to give names to processes, and take them
 * away. Traps if there is no such right. */
LUNATIC_IMPORT("lunatic::config", "set_right")
uint32_t lunatic_config_set_right(uint64_t config_id, uint32_t right, uint32_t has,
    uint64_t *id_ptr);

/* 1 if a configuration grants the right of this number (see `set_right`), else 0; -1 is the
 * caller's own. */
LUNATIC_IMPORT("lunatic::config", "has_right")
uint32_t lunatic_config_has_right(uint64_t config_id, uint32_t right);

/* Grants a directory. `path` is a path as the caller knows it, in a directory that it was given
 * itself; the child calls it `name`, and may only read there unless `writes` is not 0. */
LUNATIC_IMPORT("lunatic::config", "add_dir")
uint32_t lunatic_config_add_dir(uint64_t config_id, const char *path_ptr, uint32_t path_len,
    const char *name_ptr, uint32_t name_len, uint32_t writes, uint64_t *id_ptr);

/* Allows what a rule says: `[listen:|connect:]HOST:PORT`. HOST is an address (IPv6 in brackets),
 * a net (`10.0.0.0/8`, `[fd00::/8]`), a name, `*.NAME` or `*`; PORT is a number, a range
 * (`8000-9000`) or `*`. Without `listen:` or `connect:` it is about both. A rule by name is about
 * what the runtime finds for that name when the process asks for it. */
LUNATIC_IMPORT("lunatic::config", "add_network_rule")
uint32_t lunatic_config_add_network_rule(uint64_t config_id, const char *rule_ptr,
    uint32_t rule_len, uint64_t *id_ptr);

/* Takes all network rules away: the network is closed. */
LUNATIC_IMPORT("lunatic::config", "clear_network_rules")
void lunatic_config_clear_network_rules(uint64_t config_id);

/* What the processes that were spawned with a configuration have used, all together and up to
 * their last wait or slice. 0: fuel, in units of 100,000 instructions, rounded up. 1: bytes of
 * linear memory at present. 2: the most that this was. 3: processes spawned. 4: processes that
 * live. Traps if there is no such number. */
LUNATIC_IMPORT("lunatic::config", "usage")
uint64_t lunatic_config_usage(uint64_t config_id, uint32_t what);

/* ==== lunatic::message ====
 *
 * Messages are bytes with a tag, and resources. Each process has *one* current message (the
 * scratch area): `create_data` replaces it, sending consumes it, receiving fills it. All other
 * functions act on it and trap if there is none. */

/* Makes an empty message current. `tag` 0 means none. `capacity` is a hint and allocates
 * nothing beyond the largest message. */
LUNATIC_IMPORT("lunatic::message", "create_data")
void lunatic_message_create_data(int64_t tag, uint64_t capacity);

/* Appends bytes to the message. Answers how many: all of them, or fewer when the message has
 * reached the largest size (`--max-message`). */
LUNATIC_IMPORT("lunatic::message", "write_data")
uint32_t lunatic_message_write_data(const void *data_ptr, uint32_t data_len);

/* Copies bytes from the read position to `data_ptr` and moves the position. Answers how many:
 * fewer than asked for at the end of the message. */
LUNATIC_IMPORT("lunatic::message", "read_data")
uint32_t lunatic_message_read_data(void *data_ptr, uint32_t data_len);

/* Sets the read position, in bytes from the beginning. Traps beyond the end. */
LUNATIC_IMPORT("lunatic::message", "seek_data")
void lunatic_message_seek_data(uint64_t index);

/* The message's tag, 0 if it has none. */
LUNATIC_IMPORT("lunatic::message", "get_tag")
int64_t lunatic_message_get_tag(void);

/* The message's length in bytes. */
LUNATIC_IMPORT("lunatic::message", "data_size")
uint64_t lunatic_message_data_size(void);

/* Attaches a channel to the message; the process keeps its handle. Answers the attachment's
 * index, for `take_channel`. Traps if the handle is unknown. */
LUNATIC_IMPORT("lunatic::message", "push_channel")
uint64_t lunatic_message_push_channel(uint64_t channel);

/* Takes a channel out of the message. Answers a handle of this process. Traps if there is no
 * channel at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_channel")
uint64_t lunatic_message_take_channel(uint64_t index);

/* Attaches a TCP listener to the message and takes the id away from the process. Answers the
 * attachment's index. Traps if the id is unknown. */
LUNATIC_IMPORT("lunatic::message", "push_tcp_listener")
uint64_t lunatic_message_push_tcp_listener(uint64_t listener_id);

/* Takes a TCP listener out of the message. Answers its id in this process. Traps if there is no
 * TCP listener at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_tcp_listener")
uint64_t lunatic_message_take_tcp_listener(uint64_t index);

/* Attaches a TCP stream to the message and takes the id away from the process, which may have
 * others of the same stream (`clone_tcp_stream`). Answers the attachment's index. Traps if the
 * id is unknown. A stream in a message that nobody receives is closed with it. */
LUNATIC_IMPORT("lunatic::message", "push_tcp_stream")
uint64_t lunatic_message_push_tcp_stream(uint64_t stream_id);

/* Takes a TCP stream out of the message. Answers its id in this process. Traps if there is no
 * TCP stream at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_tcp_stream")
uint64_t lunatic_message_take_tcp_stream(uint64_t index);

/* Attaches a TLS stream to the message and takes the id away from the process, which may have
 * others of the same stream (`clone_tls_stream`). Answers the attachment's index. Traps if the
 * id is unknown. A stream in a message that nobody receives is closed with it. */
LUNATIC_IMPORT("lunatic::message", "push_tls_stream")
uint64_t lunatic_message_push_tls_stream(uint64_t stream_id);

/* Takes a TLS stream out of the message. Answers its id in this process. Traps if there is no
 * TLS stream at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_tls_stream")
uint64_t lunatic_message_take_tls_stream(uint64_t index);

/* Attaches a UDP socket to the message and takes the id away from the process. Answers the
 * attachment's index. Traps if the id is unknown. */
LUNATIC_IMPORT("lunatic::message", "push_udp_socket")
uint64_t lunatic_message_push_udp_socket(uint64_t socket_id);

/* Takes a UDP socket out of the message. Answers its id in this process. Traps if there is no
 * UDP socket at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_udp_socket")
uint64_t lunatic_message_take_udp_socket(uint64_t index);

/* Attaches a compiled module to the message; the process keeps its own. Answers the attachment's
 * index, for `take_module`. Traps if the id is unknown. */
LUNATIC_IMPORT("lunatic::message", "push_module")
uint64_t lunatic_message_push_module(uint64_t module_id);

/* Takes a compiled module out of the message. Answers an id of this process. Traps if there is
 * no module at this index, or it was taken before. */
LUNATIC_IMPORT("lunatic::message", "take_module")
uint64_t lunatic_message_take_module(uint64_t index);

/* What lies at this index of the message, for who does not trust the sender: the functions that
 * take something trap where it is not there. 0: nothing, or it was taken. 1: a channel. 2: a TCP
 * listener. 3: a TCP stream. 4: a TLS stream. 5: a UDP socket. 6: a compiled module. 7: something
 * else, which only functions of older versions take. Not of Lunatic. */
LUNATIC_IMPORT("lunatic::message", "attachment_kind")
uint32_t lunatic_message_attachment_kind(uint64_t index);

/* Sends the message to a process's mailbox. Always 0: a message to a process that does not
 * exist is dropped. */
LUNATIC_IMPORT("lunatic::message", "send")
uint32_t lunatic_message_send(uint64_t process_id);

/* The same, but waits at most `timeout` milliseconds (0: not at all) for room in a mailbox whose
 * senders are to wait. 0: it was sent, or the process does not exist. 9027: there was no room;
 * the message stays current. */
LUNATIC_IMPORT("lunatic::message", "send_timeout")
uint32_t lunatic_message_send_timeout(uint64_t process_id, uint64_t timeout);

/* The id of the monitored process whose end the current message is the notice of (`receive` has
 * answered 2); 0 for any other message. */
LUNATIC_IMPORT("lunatic::message", "get_process_id")
uint64_t lunatic_message_get_process_id(void);

/* Writes 40 bytes, little-endian, about the end that the current message is the notice of
 * (`receive` has answered 1 or 2; else it traps):
 *
 * | at | type | what |
 * | --- | --- | --- |
 * | 0 | u32 | kind of the end (below) |
 * | 4 | u32 | kind of the first end in a chain of links; the same if it is no chain |
 * | 8 | u64 | the process that ended |
 * | 16 | u64 | the process that ended first; the same if it is no chain |
 * | 24 | u64 | a number that belongs to the first end: see its kind |
 * | 32 | u64 | the process whose end the process died of; 0 if it is no chain |
 *
 * Kinds, and their numbers: 0 returned; 1 exited (the code, not 0: an exit with 0 is also of this
 * kind); 2 trapped (the code of the trap); 3 trapped in a host call; 4 killed (by this process,
 * 0: by none); 5 died with a link; 6 out of memory (bytes that it, or all processes together, may have the host hold); 7 out of fuel (units it
 * had); 8 stack overflow (bytes of the stack); 9 too many messages waited (how many may); 10 a
 * bug in the runtime; 11 nobody has ended, the process is asked to end (`send_exit`); 12 could not start; 13 no such process. The first is
 * the only one to be normal, with an exit with 0. */
LUNATIC_IMPORT("lunatic::message", "get_exit_reason")
void lunatic_message_get_exit_reason(struct lunatic_exit *record_ptr);

/* Copies the reason of the end that the current message is the notice of, in words (UTF-8), to
 * `text_ptr`: as much as fits `text_len` bytes. Answers the length of the whole text. Traps as
 * `get_exit_reason` does. */
LUNATIC_IMPORT("lunatic::message", "get_exit_text")
uint32_t lunatic_message_get_exit_text(char *text_ptr, uint32_t text_len);

/* Sends the message, then waits for one with the tag `wait_on_tag` and makes it current. What
 * was in the mailbox before is not looked at: for an answer whose tag nobody can have used yet.
 * 0: there it is. 9027: `timeout` milliseconds have passed (`u64::MAX`: no limit). */
LUNATIC_IMPORT("lunatic::message", "send_receive_skip_search")
uint32_t lunatic_message_send_receive_skip_search(uint64_t process_id, int64_t wait_on_tag,
    uint64_t timeout);

/* Waits for a message with one of the tags (64-bit little-endian at `tag_ptr`, `tag_len` of
 * them; none: any message) and makes it current. 0: there it is. 1: it is the notice that a link
 * has failed; its tag is that of the link. 2: it is the notice that a monitored process has
 * ended; it has no tag, unless it was asked for with one. 9027: `timeout` milliseconds have passed (`u64::MAX`: no limit). Others
 * stay in the mailbox, in order. */
LUNATIC_IMPORT("lunatic::message", "receive")
uint32_t lunatic_message_receive(const int64_t *tag_ptr, uint32_t tag_len, uint64_t timeout);

/* ==== lunatic::timer ====
 *
 * Messages that are sent when their time has come. They survive the process that sends them. */

/* Sends the current message to a process in `delay` milliseconds, without waiting. Answers an
 * id for `cancel_timer`. The receiver is looked up when the time has come: if it does not exist
 * then, the message is dropped. If its mailbox has a limit and is full, what its configuration says
 * becomes of the message; where senders are to wait, it tries again, later and later, up to once a
 * second. Traps if the process has too many resources, pending timers among them, if 100,000
 * messages of this process wait, or if too many wait on this node. When the node is short of memory,
 * messages whose senders have ended are dropped first. */
LUNATIC_IMPORT("lunatic::timer", "send_after")
uint64_t lunatic_timer_send_after(uint64_t process_id, uint64_t delay);

/* Forgets a message that was to be sent. 1: it will not be. 0: it has been, or there is no such
 * timer of this process. */
LUNATIC_IMPORT("lunatic::timer", "cancel_timer")
uint32_t lunatic_timer_cancel_timer(uint64_t timer_id);

/* ==== lunatic::channel ====
 *
 * Channels: queues of messages with any number of senders and receivers. A handle belongs to
 * one process; `lunatic::message::push_channel` sends a channel to others. A channel is closed
 * when nobody can ever take the other side of it again; what it still holds can be received. */

/* Makes a channel that holds at most `bound` messages (0: any number). Answers a handle. */
LUNATIC_IMPORT("lunatic::channel", "open")
uint64_t lunatic_channel_open(uint64_t bound);

/* Another handle of the same channel. Traps if the handle is unknown. */
LUNATIC_IMPORT("lunatic::channel", "clone_handle")
uint64_t lunatic_channel_clone_handle(uint64_t channel);

/* Gives up a handle. Traps if it is unknown. */
LUNATIC_IMPORT("lunatic::channel", "close")
void lunatic_channel_close(uint64_t channel);

/* Sends the current message (see `lunatic::message`), waiting up to `timeout` milliseconds
 * (`u64::MAX`: without limit, 0: not at all) while the channel is full. 0: sent. 1: closed, as
 * nobody can ever receive. 9027: the time has passed. Unless it was sent, the message stays
 * current. */
LUNATIC_IMPORT("lunatic::channel", "send")
uint32_t lunatic_channel_send(uint64_t channel, uint64_t timeout);

/* Receives a message and makes it current, waiting up to `timeout` milliseconds (`u64::MAX`:
 * without limit, 0: not at all). 0: there it is. 1: closed and empty, as nobody can ever send.
 * 9027: the time has passed. */
LUNATIC_IMPORT("lunatic::channel", "receive")
uint32_t lunatic_channel_receive(uint64_t channel, uint64_t timeout);

/* ==== lunatic::registry ====
 *
 * Names of processes, the same for all processes of a run. A name leads to one process and
 * vanishes when that ends. Names are UTF-8, of 4096 bytes at most. Who may not name processes
 * finds them; what changes names does nothing then but tell the log. */

/* Makes a name lead to a process, which it takes away from another that had it; if the process
 * has ended, the name leads to nobody. `node_id` must be 0. Traps if there is no room: for the
 * names of all processes 256 MiB, for one process 1000 names. */
LUNATIC_IMPORT("lunatic::registry", "put")
void lunatic_registry_put(const char *name_ptr, uint32_t name_len, uint64_t node_id,
    uint64_t process_id);

/* As `put`, unless the name leads to another process that lives. 0: it leads to this one. 1: it
 * leads to the other, as before. -1: the caller may not name processes. */
LUNATIC_IMPORT("lunatic::registry", "put_if_free")
int32_t lunatic_registry_put_if_free(const char *name_ptr, uint32_t name_len, uint64_t process_id);

/* Finds the living process of a name. 0: its node (u64, always 0) is at `node_id_ptr` and its
 * id (u64) at `process_id_ptr`. 1: there is none. */
LUNATIC_IMPORT("lunatic::registry", "get")
uint32_t lunatic_registry_get(const char *name_ptr, uint32_t name_len, uint64_t *node_id_ptr,
    uint64_t *process_id_ptr);

/* Makes a name lead to nobody. Nothing happens if it does already. */
LUNATIC_IMPORT("lunatic::registry", "remove")
void lunatic_registry_remove(const char *name_ptr, uint32_t name_len);

/* ==== lunatic::networking ====
 *
 * Sockets. Ids belong to one process; what is not dropped is closed when it ends. A function
 * answers 0 for success, 1 with an error id (see `lunatic::error`), 9027 when its time has
 * passed; timeouts are milliseconds, `u64::MAX` for none, and are about all that a call does.
 *
 * An address is passed as its type (4 or 6), a pointer to its 4 or 16 bytes in network order, a
 * port, and for type 6 flow info and scope id. It is returned as an id of a *DNS iterator*, which
 * `resolve_next` reads and `drop_dns_iterator` forgets.
 *
 * What a process may connect to and listen on its configuration says (`--allow-net`); other
 * attempts are answered with an error. */

/* Looks a name up, as `HOST:PORT`; an address in the place of the host needs no looking up. 0: the
 * id of an iterator over the addresses is at `id_u64_ptr`. 1 and 9027: an error id is there. */
LUNATIC_IMPORT("lunatic::networking", "resolve")
uint32_t lunatic_networking_resolve(const char *name_str_ptr, uint32_t name_str_len,
    uint64_t timeout, uint64_t *id_u64_ptr);

/* Forgets an iterator. Traps if there is none with this id. */
LUNATIC_IMPORT("lunatic::networking", "drop_dns_iterator")
void lunatic_networking_drop_dns_iterator(uint64_t dns_iter_id);

/* Takes the next address out of an iterator. 0: its type (u32: 4 or 6), its bytes (room for 16),
 * its port (u16), and for type 6 flow info and scope id (u32) are written. 1: there is none left.
 * Traps if there is no iterator with this id. */
LUNATIC_IMPORT("lunatic::networking", "resolve_next")
uint32_t lunatic_networking_resolve_next(uint64_t dns_iter_id, uint32_t *addr_type_u32_ptr,
    uint8_t *addr_u8_ptr, uint16_t *port_u16_ptr, uint32_t *flow_info_u32_ptr,
    uint32_t *scope_id_u32_ptr);

/* TCP. Streams are shared by all who hold an id of them, in any process, with their timeouts.
 * What is written goes out at once (`TCP_NODELAY` is set), unless the other side does not read:
 * then the writer waits. Another side that has vanished without a farewell is found out after two
 * minutes without a word (`SO_KEEPALIVE` is set), and is an error then. */

/* Listens on an address; port 0 lets the system choose one, which `tcp_local_addr` tells. At `[::]` it
 * hears from IPv4, too, by mapped addresses, if the process may listen at `0.0.0.0` and that port. 0:
 * the listener's id is at `id_u64_ptr`. 1: an error id is. */
LUNATIC_IMPORT("lunatic::networking", "tcp_bind")
uint32_t lunatic_networking_tcp_bind(uint32_t addr_type, const uint8_t *addr_u8_ptr, uint32_t port,
    uint32_t flow_info, uint32_t scope_id, uint64_t *id_u64_ptr);

/* Gives up a listener; the last who does closes it. Traps if there is none with this id. */
LUNATIC_IMPORT("lunatic::networking", "drop_tcp_listener")
void lunatic_networking_drop_tcp_listener(uint64_t tcp_listener_id);

/* Another id of the same listener. Several processes may accept from one, and each connection goes
 * to one of them. */
LUNATIC_IMPORT("lunatic::networking", "clone_tcp_listener")
uint64_t lunatic_networking_clone_tcp_listener(uint64_t tcp_listener_id);

/* Where a listener listens. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an
 * error id is. */
LUNATIC_IMPORT("lunatic::networking", "tcp_local_addr")
uint32_t lunatic_networking_tcp_local_addr(uint64_t tcp_listener_id, uint64_t *id_u64_ptr);

/* Waits for a connection. 0: the stream's id is at `id_u64_ptr`, that of an iterator over the other
 * side's address at `socket_addr_id_ptr`. 1: an error id is at `id_u64_ptr`; the listener goes on
 * listening. */
LUNATIC_IMPORT("lunatic::networking", "tcp_accept")
uint32_t lunatic_networking_tcp_accept(uint64_t listener_id, uint64_t *id_u64_ptr,
    uint64_t *socket_addr_id_ptr);

/* The same, with a limit to the time. 9027: it has passed. */
LUNATIC_IMPORT("lunatic::networking", "tcp_accept_timeout")
uint32_t lunatic_networking_tcp_accept_timeout(uint64_t listener_id, uint64_t timeout,
    uint64_t *id_u64_ptr, uint64_t *socket_addr_id_ptr);

/* Connects to an address. 0: the stream's id is at `id_u64_ptr`. 1 and 9027: an error id is. */
LUNATIC_IMPORT("lunatic::networking", "tcp_connect")
uint32_t lunatic_networking_tcp_connect(uint32_t addr_type, const uint8_t *addr_u8_ptr,
    uint32_t port, uint32_t flow_info, uint32_t scope_id, uint64_t timeout, uint64_t *id_u64_ptr);

/* The address of the other side. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an
 * error id is, as there is nobody any more. */
LUNATIC_IMPORT("lunatic::networking", "tcp_peer_addr")
uint32_t lunatic_networking_tcp_peer_addr(uint64_t tcp_stream_id, uint64_t *id_u64_ptr);

/* The address of this side, as `tcp_peer_addr`. */
LUNATIC_IMPORT("lunatic::networking", "tcp_stream_local_addr")
uint32_t lunatic_networking_tcp_stream_local_addr(uint64_t tcp_stream_id, uint64_t *id_u64_ptr);

/* Gives up an id of a stream; the last who does closes it. Traps if there is none with this id. */
LUNATIC_IMPORT("lunatic::networking", "drop_tcp_stream")
void lunatic_networking_drop_tcp_stream(uint64_t tcp_stream_id);

/* Another id of the same stream. */
LUNATIC_IMPORT("lunatic::networking", "clone_tcp_stream")
uint64_t lunatic_networking_clone_tcp_stream(uint64_t tcp_stream_id);

/* Writes what is in `ciovec_array_len` buffers, records of an address and a length (u32 each), and
 * waits until there is room for a part of it. 0: how many bytes were taken (u64) is at
 * `opaque_ptr`; up to 64 KiB of the first 1024 buffers, perhaps fewer than there are. 1: an error id is. 9027: the stream's
 * time for writing has passed, and nothing was taken. */
LUNATIC_IMPORT("lunatic::networking", "tcp_write_vectored")
uint32_t lunatic_networking_tcp_write_vectored(uint64_t stream_id,
    const struct lunatic_buffer *ciovec_array_ptr, uint32_t ciovec_array_len, uint64_t *opaque_ptr);

/* Reads what there is, up to 64 KiB, waiting for at least a byte. 0: how many bytes (u64) is at
 * `opaque_ptr`; none: the other side has ended. 1: an error id is. 9027: the stream's time for
 * reading has passed. */
LUNATIC_IMPORT("lunatic::networking", "tcp_read")
uint32_t lunatic_networking_tcp_read(uint64_t stream_id, void *buffer_ptr, uint32_t buffer_len,
    uint64_t *opaque_ptr);

/* The same, but what was read is left for the next one. The time is that for peeking. */
LUNATIC_IMPORT("lunatic::networking", "tcp_peek")
uint32_t lunatic_networking_tcp_peek(uint64_t stream_id, void *buffer_ptr, uint32_t buffer_len,
    uint64_t *opaque_ptr);

/* Always 0: what was written is with the system already. */
LUNATIC_IMPORT("lunatic::networking", "tcp_flush")
uint32_t lunatic_networking_tcp_flush(uint64_t stream_id, uint64_t *error_id_ptr);

/* Ends reading (1), writing (2: the other side reads to the end) or both (3) for all who hold the
 * stream. 0: done. 1: an error id is at `error_id_ptr`. */
LUNATIC_IMPORT("lunatic::networking", "tcp_shutdown")
uint32_t lunatic_networking_tcp_shutdown(uint64_t stream_id, uint32_t how, uint64_t *error_id_ptr);

/* 1 if small pieces are sent at once, as they are from the beginning; 0 if they wait for an answer
 * to those before. */
LUNATIC_IMPORT("lunatic::networking", "get_nodelay")
uint32_t lunatic_networking_get_nodelay(uint64_t stream_id);

/* Sets that. On a connection that has ended nothing happens. */
LUNATIC_IMPORT("lunatic::networking", "set_nodelay")
void lunatic_networking_set_nodelay(uint64_t stream_id, uint32_t nodelay);

/* Sets the stream's time for reading, for all who hold it. */
LUNATIC_IMPORT("lunatic::networking", "set_read_timeout")
void lunatic_networking_set_read_timeout(uint64_t stream_id, uint64_t duration);

/* The stream's time for reading; at first there is no limit. */
LUNATIC_IMPORT("lunatic::networking", "get_read_timeout")
uint64_t lunatic_networking_get_read_timeout(uint64_t stream_id);

/* Sets the stream's time for writing, for all who hold it. */
LUNATIC_IMPORT("lunatic::networking", "set_write_timeout")
void lunatic_networking_set_write_timeout(uint64_t stream_id, uint64_t duration);

/* The stream's time for writing; at first there is no limit. */
LUNATIC_IMPORT("lunatic::networking", "get_write_timeout")
uint64_t lunatic_networking_get_write_timeout(uint64_t stream_id);

/* Sets the stream's time for peeking, for all who hold it. */
LUNATIC_IMPORT("lunatic::networking", "set_peek_timeout")
void lunatic_networking_set_peek_timeout(uint64_t stream_id, uint64_t duration);

/* The stream's time for peeking; at first there is no limit. */
LUNATIC_IMPORT("lunatic::networking", "get_peek_timeout")
uint64_t lunatic_networking_get_peek_timeout(uint64_t stream_id);

/* TLS 1.2 and 1.3 over TCP. Certificates and keys are PEM; of one certificate or key also the bytes
 * that PEM stands for (DER). A handshake that fails is an error like others, and the listener goes
 * on listening. */

/* As `tcp_bind`, with `certs_array_len` bytes of certificates and `keys_array_len` bytes of private
 * keys (PKCS#8, PKCS#1 or SEC1), a megabyte of each at most. One key: its certificate, and the others of the chain. Several:
 * each certificate with its chain behind it; a client gets the one for the name it asks for, else
 * the first. */
LUNATIC_IMPORT("lunatic::networking", "tls_bind")
uint32_t lunatic_networking_tls_bind(uint32_t addr_type, const uint8_t *addr_u8_ptr, uint32_t port,
    uint32_t flow_info, uint32_t scope_id, uint64_t *id_u64_ptr, const void *certs_array_ptr,
    uint32_t certs_array_len, const void *keys_array_ptr, uint32_t keys_array_len);

/* Closes a listener. Traps if there is none with this id. */
LUNATIC_IMPORT("lunatic::networking", "drop_tls_listener")
void lunatic_networking_drop_tls_listener(uint64_t tls_listener_id);

/* As `tcp_local_addr`. */
LUNATIC_IMPORT("lunatic::networking", "tls_local_addr")
uint32_t lunatic_networking_tls_local_addr(uint64_t tls_listener_id, uint64_t *id_u64_ptr);

/* Waits for a connection and its handshake. 0: the stream's id is at `id_u64_ptr`, that of an iterator
 * over the other side's address at `socket_addr_id_ptr`. 1: an error id is at `id_u64_ptr`, perhaps
 * of a handshake that failed; ask again. Several clients shake hands at the same time, for 10
 * seconds at most. */
LUNATIC_IMPORT("lunatic::networking", "tls_accept")
uint32_t lunatic_networking_tls_accept(uint64_t listener_id, uint64_t *id_u64_ptr,
    uint64_t *socket_addr_id_ptr);

/* The same, with a limit to the time. 9027: it has passed. */
LUNATIC_IMPORT("lunatic::networking", "tls_accept_timeout")
uint32_t lunatic_networking_tls_accept_timeout(uint64_t listener_id, uint64_t timeout,
    uint64_t *id_u64_ptr, uint64_t *socket_addr_id_ptr);

/* Looks a host up, connects to it and shakes hands; the timeout is for all of that. Trusted are the
 * certificates of `certs_array_len` records of an address and a length (u32 each), one of which may
 * also be the server's own; without records, those that browsers trust. 0: the stream's id is at
 * `id_u64_ptr`. 1 and 9027: an error id is. */
LUNATIC_IMPORT("lunatic::networking", "tls_connect")
uint32_t lunatic_networking_tls_connect(const char *addr_str_ptr, uint32_t addr_str_len,
    uint32_t port, uint64_t timeout, uint64_t *id_u64_ptr,
    const struct lunatic_buffer *certs_array_ptr, uint32_t certs_array_len);

/* Gives up an id of a stream; the last who does ends and closes it. Traps if there is none with this
 * id. */
LUNATIC_IMPORT("lunatic::networking", "drop_tls_stream")
void lunatic_networking_drop_tls_stream(uint64_t tls_stream_id);

/* Another id of the same stream. */
LUNATIC_IMPORT("lunatic::networking", "clone_tls_stream")
uint64_t lunatic_networking_clone_tls_stream(uint64_t tls_stream_id);

/* As `tcp_peer_addr`. */
LUNATIC_IMPORT("lunatic::networking", "tls_peer_addr")
uint32_t lunatic_networking_tls_peer_addr(uint64_t tls_stream_id, uint64_t *id_u64_ptr);

/* As `tcp_write_vectored`. When the time for writing has passed after bytes were taken, they count as
 * written, and go out with the next call. */
LUNATIC_IMPORT("lunatic::networking", "tls_write_vectored")
uint32_t lunatic_networking_tls_write_vectored(uint64_t stream_id,
    const struct lunatic_buffer *ciovec_array_ptr, uint32_t ciovec_array_len, uint64_t *opaque_ptr);

/* As `tcp_read`. The end is an error if the other side has not said that it is. */
LUNATIC_IMPORT("lunatic::networking", "tls_read")
uint32_t lunatic_networking_tls_read(uint64_t stream_id, void *buffer_ptr, uint32_t buffer_len,
    uint64_t *opaque_ptr);

/* Waits until all that was written is with the system, up to the stream's time for writing. 0: it
 * is. 1 and 9027: an error id is at `error_id_ptr`. */
LUNATIC_IMPORT("lunatic::networking", "tls_flush")
uint32_t lunatic_networking_tls_flush(uint64_t stream_id, uint64_t *error_id_ptr);

/* Sets the stream's time for reading, for all who hold it. */
LUNATIC_IMPORT("lunatic::networking", "set_tls_read_timeout")
void lunatic_networking_set_tls_read_timeout(uint64_t stream_id, uint64_t duration);

/* The stream's time for reading; at first there is no limit. */
LUNATIC_IMPORT("lunatic::networking", "get_tls_read_timeout")
uint64_t lunatic_networking_get_tls_read_timeout(uint64_t stream_id);

/* Sets the stream's time for writing, for all who hold it. */
LUNATIC_IMPORT("lunatic::networking", "set_tls_write_timeout")
void lunatic_networking_set_tls_write_timeout(uint64_t stream_id, uint64_t duration);

/* The stream's time for writing; at first there is no limit. */
LUNATIC_IMPORT("lunatic::networking", "get_tls_write_timeout")
uint64_t lunatic_networking_get_tls_write_timeout(uint64_t stream_id);

/* UDP. A datagram that is longer than the buffer for it is cut off there. */

/* Makes a socket that receives at an address; port 0 lets the system choose one. 0: the socket's id
 * is at `id_u64_ptr`. 1: an error id is. If the process may connect, and not listen there, datagrams
 * reach it from those only to whom it may send. One that listens at `[::]` exchanges datagrams with
 * IPv4, too, by mapped addresses, if the process may listen at `0.0.0.0` and that port. */
LUNATIC_IMPORT("lunatic::networking", "udp_bind")
uint32_t lunatic_networking_udp_bind(uint32_t addr_type, const uint8_t *addr_u8_ptr, uint32_t port,
    uint32_t flow_info, uint32_t scope_id, uint64_t *id_u64_ptr);

/* Gives up an id of a socket; the last who does closes it. Traps if there is none with this id. */
LUNATIC_IMPORT("lunatic::networking", "drop_udp_socket")
void lunatic_networking_drop_udp_socket(uint64_t udp_socket_id);

/* Where a socket receives. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an error
 * id is. */
LUNATIC_IMPORT("lunatic::networking", "udp_local_addr")
uint32_t lunatic_networking_udp_local_addr(uint64_t udp_socket_id, uint64_t *id_u64_ptr);

/* Whom a socket is connected to. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: to
 * nobody. 2: an error id is there. */
LUNATIC_IMPORT("lunatic::networking", "udp_peer_addr")
uint32_t lunatic_networking_udp_peer_addr(uint64_t udp_socket_id, uint64_t *id_u64_ptr);

/* Connects a socket: it receives from this address only, and `udp_send` sends there. Never waits,
 * whatever the timeout. 0: done, and 0 is at `id_u64_ptr`. 1: an error id is there. */
LUNATIC_IMPORT("lunatic::networking", "udp_connect")
uint32_t lunatic_networking_udp_connect(uint64_t udp_socket_id, uint32_t addr_type,
    const uint8_t *addr_u8_ptr, uint32_t port, uint32_t flow_info, uint32_t scope_id,
    uint64_t timeout, uint64_t *id_u64_ptr);

/* Waits for a datagram. 0: how many bytes of it were written to the buffer (u64) is at `opaque_ptr`.
 * 1: an error id is. */
LUNATIC_IMPORT("lunatic::networking", "udp_receive")
uint32_t lunatic_networking_udp_receive(uint64_t socket_id, void *buffer_ptr, uint32_t buffer_len,
    uint64_t *opaque_ptr);

/* The same, and the id of an iterator over the sender's address is at `dns_iter_ptr`. */
LUNATIC_IMPORT("lunatic::networking", "udp_receive_from")
uint32_t lunatic_networking_udp_receive_from(uint64_t socket_id, void *buffer_ptr,
    uint32_t buffer_len, uint64_t *opaque_ptr, uint64_t *dns_iter_ptr);

/* The same, with a limit to the time. 9027: it has passed. */
LUNATIC_IMPORT("lunatic::networking", "udp_receive_from_timeout")
uint32_t lunatic_networking_udp_receive_from_timeout(uint64_t socket_id, void *buffer_ptr,
    uint32_t buffer_len, uint64_t timeout, uint64_t *opaque_ptr, uint64_t *dns_iter_ptr);

/* Sends a datagram to whom the socket is connected to. 0: how many bytes (u64) is at `opaque_ptr`. 1:
 * an error id is. */
LUNATIC_IMPORT("lunatic::networking", "udp_send")
uint32_t lunatic_networking_udp_send(uint64_t socket_id, const void *buffer_ptr,
    uint32_t buffer_len, uint64_t *opaque_ptr);

/* The same, to an address. */
LUNATIC_IMPORT("lunatic::networking", "udp_send_to")
uint32_t lunatic_networking_udp_send_to(uint64_t socket_id, const void *buffer_ptr,
    uint32_t buffer_len, uint32_t addr_type, const uint8_t *addr_u8_ptr, uint32_t port,
    uint32_t flow_info, uint32_t scope_id, uint64_t *opaque_ptr);

/* Another id of the same socket. */
LUNATIC_IMPORT("lunatic::networking", "clone_udp_socket")
uint64_t lunatic_networking_clone_udp_socket(uint64_t udp_socket_id);

/* Allows to send to all in a network (1) or not (0). Traps if the system refuses. */
LUNATIC_IMPORT("lunatic::networking", "set_udp_socket_broadcast")
void lunatic_networking_set_udp_socket_broadcast(uint64_t udp_socket_id, uint32_t broadcast);

/* Whether that is allowed. Traps if the system does not tell. */
LUNATIC_IMPORT("lunatic::networking", "get_udp_socket_broadcast")
int32_t lunatic_networking_get_udp_socket_broadcast(uint64_t udp_socket_id);

/* Sets how many networks a datagram may pass, 1 to 255. Traps if the system refuses. */
LUNATIC_IMPORT("lunatic::networking", "set_udp_socket_ttl")
void lunatic_networking_set_udp_socket_ttl(uint64_t udp_socket_id, uint32_t ttl);

/* How many that are. Traps if the system does not tell. */
LUNATIC_IMPORT("lunatic::networking", "get_udp_socket_ttl")
uint32_t lunatic_networking_get_udp_socket_ttl(uint64_t udp_socket_id);

/* ==== lunatic::error ====
 *
 * What went wrong in a call that answered with an error id. An id belongs to the process that
 * got it and lives until it is dropped. */

/* Length of the error's text in bytes. Traps if there is no such error. */
LUNATIC_IMPORT("lunatic::error", "string_size")
uint32_t lunatic_error_string_size(uint64_t error_id);

/* Writes the error's text (UTF-8, no terminator) to `text_ptr`, which must have room for
 * `string_size` bytes. Traps if there is no such error. */
LUNATIC_IMPORT("lunatic::error", "to_string")
void lunatic_error_to_string(uint64_t error_id, char *text_ptr);

/* WASI's number (as in `wasi_snapshot_preview1`) of an error that the operating system or a rule
 * gave: 14 for a refused connection, 73 for a time that has passed, 76 for a missing right. 0 if
 * there is none. Traps if there is no such error. */
LUNATIC_IMPORT("lunatic::error", "code")
uint32_t lunatic_error_code(uint64_t error_id);

/* Forgets the error. Traps if there is no such error. */
LUNATIC_IMPORT("lunatic::error", "drop")
void lunatic_error_drop(uint64_t error_id);

/* ==== lunatic::trap ====
 *
 * Catching traps. */

/* Calls the guest's exported function `_lunatic_catch_trap(function, pointer)` and answers what
 * it answers, or 0 if it traps: by itself, in a host call, or for want of stack. The call may
 * wait and be interrupted like any other code, and catching calls may nest. After a trap memory
 * is what it is then, but the stack pointer of LLVM's code (a global exported as
 * `__stack_pointer` or, if that is not exported, the first one) is put back. What ends the
 * process by its own will (`proc_exit`) or another's (`kill`) is not caught. */
LUNATIC_IMPORT("lunatic::trap", "catch")
int32_t lunatic_trap_catch(int32_t function, int32_t pointer);

/* ==== lunatic::metrics ====
 *
 * Counters, gauges and histograms by name. All processes of a run share them; `--stats` shows
 * them when it is over. A name has at most 256 bytes, else the call traps; beyond 1,000 names
 * of a kind new ones are ignored. */

/* Adds `value` to the counter of this name, which begins at 0. */
LUNATIC_IMPORT("lunatic::metrics", "counter")
void lunatic_metrics_counter(const char *name_ptr, uint32_t name_len, uint64_t value);

/* Adds 1 to the counter of this name, which begins at 0. */
LUNATIC_IMPORT("lunatic::metrics", "increment_counter")
void lunatic_metrics_increment_counter(const char *name_ptr, uint32_t name_len);

/* Sets the gauge of this name to a value. */
LUNATIC_IMPORT("lunatic::metrics", "gauge")
void lunatic_metrics_gauge(const char *name_ptr, uint32_t name_len, double value);

/* Adds `value` to the gauge of this name, which begins at 0. */
LUNATIC_IMPORT("lunatic::metrics", "increment_gauge")
void lunatic_metrics_increment_gauge(const char *name_ptr, uint32_t name_len, double value);

/* Takes `value` from the gauge of this name, which begins at 0. */
LUNATIC_IMPORT("lunatic::metrics", "decrement_gauge")
void lunatic_metrics_decrement_gauge(const char *name_ptr, uint32_t name_len, double value);

/* Adds a value to a histogram. One that is no number is ignored. */
LUNATIC_IMPORT("lunatic::metrics", "histogram")
void lunatic_metrics_histogram(const char *name_ptr, uint32_t name_len, double value);

/* ==== lunatic::sqlite ====
 *
 * SQLite databases. Connections and statements are numbers, from 0 on; they belong to the process
 * that got them, and count as resources. All that runs SQL, or waits for a disk, lets others run
 * meanwhile. Errors are traps unless a function says otherwise.
 *
 * What is returned as an address lies in memory of the guest's own: its exported function
 * `lunatic_alloc` (i32) -> i32 is called for so many bytes, and their number (u32) is written to
 * `len_ptr`. Values are encoded so: numbers little-endian in their full width, a length as a u64, a
 * variant as a u32 from 0 on, an option as a byte (0 or 1) and what it holds. A *value* is one of
 * Null, Blob (length, bytes), Text (length, UTF-8), Double (f64), Integer (i64).
 *
 * Limits: a text, a blob or a stored row has at most 1 MiB, a pattern of `LIKE` or `GLOB` 100 bytes, an
 * answer 64 MiB, the SQL of a call 16 MiB; SQLite takes at most 256 MiB of memory for a process, or as much as that may have itself; a
 * process has at most 64 connections. `ATTACH` is for `:memory:` only, extensions are not loaded, and settings
 * that concern more than the one database are refused or do nothing. Who needs a lock that another
 * connection has waits for it, 5 seconds at most (`PRAGMA busy_timeout` does nothing). SQLite's
 * instructions cost fuel; 32 queries of all processes run at the same time, 18 of those that descend
 * from one child of the main process and have one configuration, others queue. */

/* Opens the database at a path in a directory that the process was given, or makes it if it is not
 * there and the directory may be written. `:memory:` and the empty path are ones without a file. 0:
 * the connection's id (u64) is at `connection_id_ptr`. 1: an error id is there. There is no call that
 * closes it: that is the end of the process. */
LUNATIC_IMPORT("lunatic::sqlite", "open")
uint64_t lunatic_sqlite_open(const char *path_ptr, uint32_t path_len, uint64_t *connection_id_ptr);

/* Compiles the first statement of the SQL; answers its id. Traps if it is not valid. */
LUNATIC_IMPORT("lunatic::sqlite", "query_prepare")
uint64_t lunatic_sqlite_query_prepare(uint64_t connection_id, const char *query_ptr,
    uint32_t query_len);

/* Runs all statements of the SQL and leaves out their rows. 0, or SQLite's result code (see
 * `last_error`) of the first that failed; those before it have been run. */
LUNATIC_IMPORT("lunatic::sqlite", "execute")
uint32_t lunatic_sqlite_execute(uint64_t connection_id, const char *sql_ptr, uint32_t sql_len);

/* Gives parameters of a statement their values, for all its runs from now on. The bytes are a
 * length and so many pairs: a key, which is a variant (0: the parameter behind the one before; 1:
 * its number, a u64 from 1 on; 2: its name, a length and UTF-8, with its sign or without), and a
 * variant with the value (0: Null; 1: Blob; 2: Text; 3: Double; 4: an i32; 5: an i64). Traps if
 * there is no such parameter, and if a row of the statement has been read since its last
 * `statement_reset`. */
LUNATIC_IMPORT("lunatic::sqlite", "bind_value")
void lunatic_sqlite_bind_value(uint64_t statement_id, const void *bind_data_ptr,
    uint32_t bind_data_len);

/* How many rows the connection's last statement has changed, inserted or deleted. */
LUNATIC_IMPORT("lunatic::sqlite", "sqlite3_changes")
uint32_t lunatic_sqlite_sqlite3_changes(uint64_t connection_id);

/* Puts a statement back to its beginning. Its values stay bound. */
LUNATIC_IMPORT("lunatic::sqlite", "statement_reset")
void lunatic_sqlite_statement_reset(uint64_t statement_id);

/* Runs a statement up to its next row. 100: there is one, for `read_row` and `read_column`; 101: the
 * statement has ended (and begins anew with the next call). Traps if it fails. */
LUNATIC_IMPORT("lunatic::sqlite", "sqlite3_step")
uint32_t lunatic_sqlite_sqlite3_step(uint64_t statement_id);

/* Closes a statement: its id means nothing from then on. Traps if it is unknown. */
LUNATIC_IMPORT("lunatic::sqlite", "sqlite3_finalize")
void lunatic_sqlite_sqlite3_finalize(uint64_t statement_id);

/* How many columns the statement's rows have: 0 if it has no rows. */
LUNATIC_IMPORT("lunatic::sqlite", "column_count")
uint32_t lunatic_sqlite_column_count(uint64_t statement_id);

/* Answers the address of what went wrong in the connection's last call: an option of SQLite's result
 * code (u32), and an option of a text. Both are none if nothing did. */
LUNATIC_IMPORT("lunatic::sqlite", "last_error")
uint32_t lunatic_sqlite_last_error(uint64_t connection_id, uint32_t *len_ptr);

/* Answers the address of the value of a column (from 0 on) of the current row. Null if there is no
 * row. Traps if there is no such column. */
LUNATIC_IMPORT("lunatic::sqlite", "read_column")
uint32_t lunatic_sqlite_read_column(uint64_t statement_id, uint32_t column_idx, uint32_t *len_ptr);

/* Answers the address of the current row: a length and so many values. They are Null if there is
 * no row. */
LUNATIC_IMPORT("lunatic::sqlite", "read_row")
uint32_t lunatic_sqlite_read_row(uint64_t statement_id, uint32_t *len_ptr);

/* Answers the address of a column's name, in UTF-8. Traps if there is no such column. */
LUNATIC_IMPORT("lunatic::sqlite", "column_name")
uint32_t lunatic_sqlite_column_name(uint64_t statement_id, uint32_t column_idx, uint32_t *len_ptr);

/* Answers the address of the names of all columns: a length and so many texts (length, UTF-8). */
LUNATIC_IMPORT("lunatic::sqlite", "column_names")
uint32_t lunatic_sqlite_column_names(uint64_t statement_id, uint32_t *len_ptr);

/* ==== lunatic::distributed ====
 *
 * Other nodes. This version of lunatic knows none: every node stands alone, and the functions
 * answer so. */

/* The number of other nodes: 0, as this node is part of no cluster. */
LUNATIC_IMPORT("lunatic::distributed", "nodes_count")
uint32_t lunatic_distributed_nodes_count(void);

/* Writes the ids (u64) of at most `nodes_len` nodes and answers how many: none. */
LUNATIC_IMPORT("lunatic::distributed", "get_nodes")
uint32_t lunatic_distributed_get_nodes(uint64_t *nodes_ptr, uint32_t nodes_len);

/* This node's id: 0, as it is part of no cluster. */
LUNATIC_IMPORT("lunatic::distributed", "node_id")
uint64_t lunatic_distributed_node_id(void);

/* The id that the caller's module has in the cluster: 0, as there is none. */
LUNATIC_IMPORT("lunatic::distributed", "module_id")
uint64_t lunatic_distributed_module_id(void);

/* Spawns a process on another node. Traps, as there is none. */
LUNATIC_IMPORT("lunatic::distributed", "spawn")
uint32_t lunatic_distributed_spawn(uint64_t node_id, int64_t config_id, uint64_t module_id,
    const char *func_str_ptr, uint32_t func_str_len, const struct lunatic_parameter *params_ptr,
    uint32_t params_len, uint64_t *id_ptr);

/* Sends the current message to a process on another node. 2, and the message is dropped: there
 * is no such node. */
LUNATIC_IMPORT("lunatic::distributed", "send")
uint32_t lunatic_distributed_send(uint64_t node_id, uint64_t process_id);

/* Like `send`, and waits for an answer. 2, and the message is dropped: there is no such node. */
LUNATIC_IMPORT("lunatic::distributed", "send_receive_skip_search")
uint32_t lunatic_distributed_send_receive_skip_search(uint64_t node_id, uint64_t process_id,
    int64_t wait_on_tag, uint64_t timeout);

/* Asks the cluster for nodes. 1, and an error id (u64) at `error_ptr`. */
LUNATIC_IMPORT("lunatic::distributed", "exec_lookup_nodes")
uint32_t lunatic_distributed_exec_lookup_nodes(const char *query_ptr, uint32_t query_len,
    uint64_t *query_id_ptr, uint64_t *nodes_len_ptr, uint64_t *error_ptr);

/* Copies what such a question found. -1, and an error id (u64) at `error_ptr`. */
LUNATIC_IMPORT("lunatic::distributed", "copy_lookup_nodes_results")
int32_t lunatic_distributed_copy_lookup_nodes_results(uint64_t query_id, uint64_t *nodes_ptr,
    uint32_t nodes_len, uint64_t *error_ptr);

/* Makes a certificate for a cluster of tests. Traps: that is not part of this version. */
LUNATIC_IMPORT("lunatic::distributed", "test_root_cert")
uint32_t lunatic_distributed_test_root_cert(uint32_t *len_ptr);

/* Makes certificates for a cluster's control server. Traps: that is not part of this version. */
LUNATIC_IMPORT("lunatic::distributed", "default_server_certificates")
uint32_t lunatic_distributed_default_server_certificates(const char *cert_pem_ptr,
    uint32_t cert_pem_len, const char *pk_pem_ptr, uint32_t pk_pem_len, uint32_t *len_ptr);

/* Signs a node's certificate. Traps: that is not part of this version. */
LUNATIC_IMPORT("lunatic::distributed", "sign_node")
uint32_t lunatic_distributed_sign_node(const char *cert_pem_ptr, uint32_t cert_pem_len,
    const char *pk_pem_ptr, uint32_t pk_pem_len, const char *csr_pem_ptr, uint32_t csr_pem_len,
    uint32_t *len_ptr);

/* ==== lunatic::version ====
 *
 * The version of the runtime, for guests that want to know what they may expect. */

/* The first number of the runtime's version. */
LUNATIC_IMPORT("lunatic::version", "major")
uint32_t lunatic_version_major(void);

/* The second number of the runtime's version. */
LUNATIC_IMPORT("lunatic::version", "minor")
uint32_t lunatic_version_minor(void);

/* The third number of the runtime's version. */
LUNATIC_IMPORT("lunatic::version", "patch")
uint32_t lunatic_version_patch(void);

#ifdef __cplusplus
}
#endif

#endif
