// Counts the words of files, each in a process of its own: see ../README.md.
//
//   asc tally.ts --outFile tally.wasm --exportStart _start --use abort= -O
//   lunatic run tally.wasm --dir some/directory::/data -- /data/a /data/b
//
// The language has no library for files, so this asks WASI itself.

// What this program needs of lunatic's functions; `lunatic imports --markdown` lists all. A message
// that one sends, receives, writes or reads is the current one of the process.

// @ts-ignore: decorator
@external("lunatic::process", "spawn_with_message")
declare function spawn(
  link: i64, config: i64, module: i64, func: usize, funcLength: u32,
  parameters: usize, parametersLength: u32, id: usize
): i32;
// @ts-ignore: decorator
@external("lunatic::process", "process_id")
declare function self_(): u64;
// @ts-ignore: decorator
@external("lunatic::process", "sleep_ms")
declare function sleep(milliseconds: u64): void;
// @ts-ignore: decorator
@external("lunatic::message", "create_data")
declare function messageCreate(tag: i64, capacity: u64): void;
// @ts-ignore: decorator
@external("lunatic::message", "write_data")
declare function messageWrite(data: usize, length: u32): u32;
// @ts-ignore: decorator
@external("lunatic::message", "read_data")
declare function messageRead(data: usize, length: u32): u32;
// @ts-ignore: decorator
@external("lunatic::message", "send")
declare function messageSend(process: u64): i32;
// @ts-ignore: decorator
@external("lunatic::message", "receive")
declare function messageReceive(tags: usize, tagCount: u32, timeoutMs: u64): i32;

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(count: usize, size: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "args_get")
declare function args_get(pointers: usize, texts: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "environ_sizes_get")
declare function environ_sizes_get(count: usize, size: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "environ_get")
declare function environ_get(pointers: usize, texts: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_prestat_get")
declare function fd_prestat_get(fd: i32, stat: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_prestat_dir_name")
declare function fd_prestat_dir_name(fd: i32, name: usize, length: u32): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "path_open")
declare function path_open(
  fd: i32, lookup: i32, path: usize, length: u32, open: i32,
  rights: u64, inheriting: u64, flags: i32, opened: usize
): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(fd: i32, buffers: usize, count: u32, read: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, buffers: usize, count: u32, written: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: i32): void;

const OWN: i64 = -1;
const FOLLOW_LINKS: i32 = 1;
const MAY_READ: u64 = 2;

// Two numbers: to a child, who asks and which argument is its file; back, which one and how many.
const message = memory.data(16, 8);
// What calls of WASI answer.
const answer = memory.data(16, 8);
const chunk = memory.data(4096);

function putMessage(who: u64, number: i64): void {
  store<u64>(message, who);
  store<i64>(message, number, 8);
  messageCreate(0, 16);
  messageWrite(message, 16);
}

function textAt(at: usize): string {
  let end = at;
  while (load<u8>(end)) end++;
  return String.UTF8.decodeUnsafe(at, end - at);
}

function textsAt(pointers: usize, count: u32): string[] {
  const texts: string[] = [];
  for (let at: u32 = 0; at < count; at++) texts.push(textAt(load<u32>(pointers + 4 * at)));
  return texts;
}

function args(): string[] {
  args_sizes_get(answer, answer + 4);
  const count = load<u32>(answer);
  const pointers = heap.alloc(4 * count + load<u32>(answer, 4));
  args_get(pointers, pointers + 4 * count);
  return textsAt(pointers, count);
}

function environment(name: string, otherwise: string): string {
  environ_sizes_get(answer, answer + 4);
  const count = load<u32>(answer);
  const pointers = heap.alloc(4 * count + load<u32>(answer, 4));
  environ_get(pointers, pointers + 4 * count);
  const all = textsAt(pointers, count);
  for (let at = 0; at < all.length; at++) {
    if (all[at].startsWith(name + "=")) return all[at].substring(name.length + 1);
  }
  return otherwise;
}

function print(fd: i32, text: string): void {
  const bytes = String.UTF8.encode(text);
  store<u32>(answer, changetype<usize>(bytes));
  store<u32>(answer, bytes.byteLength, 4);
  fd_write(fd, answer, 1, answer + 8);
}

// The descriptor of a file in one of the directories that were given; -1 if there is none.
function openFile(path: string): i32 {
  for (let fd = 3; fd_prestat_get(fd, answer) == 0; fd++) {
    const length = load<u32>(answer, 4);
    const bytes = heap.alloc(length);
    fd_prestat_dir_name(fd, bytes, length);
    const name = String.UTF8.decodeUnsafe(bytes, length);
    heap.free(bytes);
    const directory = name.endsWith("/") ? name : name + "/";
    if (!path.startsWith(directory)) continue;
    const rest = String.UTF8.encode(path.substring(directory.length));
    const at = changetype<usize>(rest);
    const error =
      path_open(fd, FOLLOW_LINKS, at, rest.byteLength, 0, MAY_READ, 0, 0, answer);
    if (error == 0) return load<i32>(answer);
  }
  return -1;
}

// -1 if the file cannot be read.
function count(path: string): i64 {
  const fd = openFile(path);
  if (fd < 0) return -1;
  const unit = environment("TALLY_UNIT", "words");
  const lines = unit == "lines", bytes = unit == "bytes";
  let total: i64 = 0;
  let inside = false;
  let length: u32;
  do {
    store<u32>(answer, <u32>chunk);
    store<u32>(answer, 4096, 4);
    if (fd_read(fd, answer, 1, answer + 8) != 0) return -1;
    length = load<u32>(answer, 8);
    for (let at: u32 = 0; at < length; at++) {
      const byte = load<u8>(chunk + at);
      const space = byte == 0x20 || (byte >= 0x09 && byte <= 0x0d);
      if (bytes || (lines ? byte == 0x0a : !space && !inside)) total++;
      inside = !space;
    }
  } while (length != 0);
  return total;
}

function child(names: string[]): i32 {
  messageRead(message, 16);
  const asks = load<u64>(message);
  const at = <i32>load<i64>(message, 8);
  sleep(<u64>parseInt(environment("TALLY_DELAY_MS", "1")));
  putMessage(at, count(names[at]));
  messageSend(asks);
  return 0;
}

function parent(names: string[]): i32 {
  if (names.length < 2) {
    print(2, "tally: name the files\n");
    return 2;
  }
  const entry = String.UTF8.encode("_start");
  for (let at = 1; at < names.length; at++) {
    putMessage(self_(), at);
    if (spawn(0, OWN, OWN, changetype<usize>(entry), entry.byteLength, 0, 0, answer) != 0) {
      print(2, "tally: no room for another process\n");
      return 3;
    }
  }
  const counts = new Array<i64>(names.length);
  for (let left = names.length - 1; left > 0; left--) {
    messageReceive(0, 0, u64.MAX_VALUE);
    messageRead(message, 16);
    counts[<i32>load<u64>(message)] = load<i64>(message, 8);
  }
  let code = 0;
  let total: i64 = 0;
  for (let at = 1; at < names.length; at++) {
    if (counts[at] < 0) {
      print(2, "tally: cannot read " + names[at] + "\n");
      code = 1;
      continue;
    }
    print(1, counts[at].toString() + " " + names[at] + "\n");
    total += counts[at];
  }
  print(1, total.toString() + " in all\n");
  return code;
}

// Only a child is born with a message.
proc_exit(messageReceive(0, 0, 0) == 0 ? child(args()) : parent(args()));
