//! Counts the words of files, each in a process of its own: see ../README.md.
//!
//!     zig build-exe tally.zig -target wasm32-wasi -O ReleaseSafe
//!     lunatic run tally.wasm --dir some/directory::/data -- /data/a /data/b

const std = @import("std");
const Init = std.process.Init;

/// What this program needs of lunatic's functions; `lunatic imports --markdown` lists all. A message
/// that one sends, receives, writes or reads is the current one of the process.
const lunatic = struct {
    /// The caller's own configuration, or module.
    const own = -1;
    const forever = std.math.maxInt(u64);

    extern "lunatic::process" fn spawn_with_message(
        link: i64,
        config: i64,
        module: i64,
        function: [*]const u8,
        function_length: u32,
        parameters: ?*const anyopaque,
        parameters_length: u32,
        id: *u64,
    ) i32;
    extern "lunatic::process" fn process_id() u64;
    extern "lunatic::message" fn create_data(tag: i64, capacity: u64) void;
    extern "lunatic::message" fn write_data(data: *const anyopaque, length: u32) u32;
    extern "lunatic::message" fn read_data(data: *anyopaque, length: u32) u32;
    extern "lunatic::message" fn send(process: u64) i32;
    extern "lunatic::message" fn receive(tags: ?*const i64, tag_count: u32, timeout_ms: u64) i32;
};

/// To a child: who asks, and which argument is its file. Back: which one, and how many.
const Message = extern struct {
    who: u64,
    number: i64,

    fn put(message: Message) void {
        lunatic.create_data(0, @sizeOf(Message));
        _ = lunatic.write_data(&message, @sizeOf(Message));
    }

    fn current() Message {
        var message: Message = undefined;
        _ = lunatic.read_data(&message, @sizeOf(Message));
        return message;
    }
};

fn count(init: Init, path: []const u8) !i64 {
    // A path begins with the name of a directory that was given.
    const directory = std.fs.path.dirname(path) orelse ".";
    const given = init.preopens.get(directory) orelse return error.FileNotFound;
    const name = std.fs.path.basename(path);
    const text = try given.dir.readFileAlloc(init.io, name, init.gpa, .unlimited);
    defer init.gpa.free(text);
    const unit = init.environ_map.get("TALLY_UNIT") orelse "words";
    if (std.mem.eql(u8, unit, "bytes")) return @intCast(text.len);
    var total: i64 = 0;
    if (std.mem.eql(u8, unit, "lines")) {
        for (text) |byte| total += @intFromBool(byte == '\n');
    } else {
        var words = std.mem.tokenizeAny(u8, text, &std.ascii.whitespace);
        while (words.next()) |_| total += 1;
    }
    return total;
}

fn waitALittle(init: Init) !void {
    const delay = init.environ_map.get("TALLY_DELAY_MS") orelse "1";
    const milliseconds = try std.fmt.parseInt(i64, delay, 10);
    try init.io.sleep(.fromMilliseconds(milliseconds), .awake);
}

fn child(init: Init, names: []const [:0]const u8) !u8 {
    const task = Message.current();
    const at: usize = @intCast(task.number);
    try waitALittle(init);
    Message.put(.{ .who = at, .number = count(init, names[at]) catch -1 });
    _ = lunatic.send(task.who);
    return 0;
}

fn parent(init: Init, names: []const [:0]const u8) !u8 {
    var buffer: [4096]u8 = undefined;
    var out = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    if (names.len < 2) {
        std.debug.print("tally: name the files\n", .{});
        return 2;
    }
    for (1..names.len) |at| {
        var id: u64 = undefined;
        const entry = "_start";
        Message.put(.{ .who = lunatic.process_id(), .number = @intCast(at) });
        const own = lunatic.own;
        if (lunatic.spawn_with_message(0, own, own, entry, entry.len, null, 0, &id) != 0) {
            std.debug.print("tally: no room for another process\n", .{});
            return 3;
        }
    }
    const counts = try init.arena.allocator().alloc(i64, names.len);
    for (1..names.len) |_| {
        _ = lunatic.receive(null, 0, lunatic.forever);
        const answer = Message.current();
        counts[@intCast(answer.who)] = answer.number;
    }
    var code: u8 = 0;
    var total: i64 = 0;
    for (1..names.len) |at| {
        if (counts[at] < 0) {
            std.debug.print("tally: cannot read {s}\n", .{names[at]});
            code = 1;
            continue;
        }
        try out.interface.print("{d} {s}\n", .{ counts[at], names[at] });
        total += counts[at];
    }
    try out.interface.print("{d} in all\n", .{total});
    try out.interface.flush();
    return code;
}

pub fn main(init: Init) !u8 {
    const names = try init.minimal.args.toSlice(init.arena.allocator());
    // Only a child is born with a message.
    if (lunatic.receive(null, 0, 0) == 0) return child(init, names);
    return parent(init, names);
}
