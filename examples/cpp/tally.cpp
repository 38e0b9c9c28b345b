// Counts the words of files, each in a process of its own: see ../README.md.
//
//   clang++ --target=wasm32-wasi -fno-exceptions -O2 -I ../c tally.cpp -o tally.wasm
//   lunatic run tally.wasm --dir some/directory::/data -- /data/a /data/b
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "lunatic.h"

namespace {

// To a child: who asks, and which argument is its file. Back: which one, and how many.
struct Message {
    std::uint64_t who;
    std::int64_t number;

    void put() const {
        lunatic_message_create_data(0, sizeof *this);
        lunatic_message_write_data(this, sizeof *this);
    }

    static Message current() {
        Message message{};
        lunatic_message_read_data(&message, sizeof message);
        return message;
    }
};

std::string environment(const char *name, const char *otherwise) {
    const char *value = std::getenv(name);
    return value ? value : otherwise;
}

// Not by a `std::ifstream`: not every C++ library for WASI has them.
std::optional<std::string> read(const std::string &path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "r"),
                                                                std::fclose);
    if (!file)
        return std::nullopt;
    std::string text;
    std::array<char, 4096> piece;
    while (const auto length = std::fread(piece.data(), 1, piece.size(), file.get()))
        text.append(piece.data(), length);
    if (std::ferror(file.get()))
        return std::nullopt;
    return text;
}

std::optional<std::int64_t> count(const std::string &path) {
    const auto text = read(path);
    if (!text)
        return std::nullopt;
    const std::string unit = environment("TALLY_UNIT", "words");
    if (unit == "bytes")
        return text->size();
    if (unit == "lines")
        return std::count(text->begin(), text->end(), '\n');
    using Words = std::istream_iterator<std::string>;
    std::istringstream stream(*text);
    return std::distance(Words(stream), Words());
}

void wait_a_little() {
    const long milliseconds = std::stol(environment("TALLY_DELAY_MS", "1"));
    const timespec time{milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, nullptr);
}

int child(char **argv) {
    const auto task = Message::current();
    wait_a_little();
    Message{static_cast<std::uint64_t>(task.number), count(argv[task.number]).value_or(-1)}.put();
    lunatic_message_send(task.who);
    return 0;
}

int parent(const std::vector<std::string> &names) {
    const std::string entry = "_start";
    if (names.size() < 2) {
        std::cerr << "tally: name the files\n";
        return 2;
    }
    for (std::size_t at = 1; at < names.size(); at++) {
        std::uint64_t id;
        Message{lunatic_process_process_id(), static_cast<std::int64_t>(at)}.put();
        if (lunatic_process_spawn_with_message(0, LUNATIC_OWN, LUNATIC_OWN, entry.data(), entry.size(),
                                               nullptr, 0, &id)) {
            std::cerr << "tally: no room for another process\n";
            return 3;
        }
    }
    std::vector<std::int64_t> counts(names.size());
    for (std::size_t left = names.size() - 1; left > 0; left--) {
        lunatic_message_receive(nullptr, 0, UINT64_MAX);
        const auto answer = Message::current();
        counts[answer.who] = answer.number;
    }
    int code = 0;
    std::int64_t total = 0;
    for (std::size_t at = 1; at < names.size(); at++) {
        if (counts[at] < 0) {
            std::cerr << "tally: cannot read " << names[at] << '\n';
            code = 1;
            continue;
        }
        std::cout << counts[at] << ' ' << names[at] << '\n';
        total += counts[at];
    }
    std::cout << total << " in all\n";
    return code;
}

} // namespace

int main(int argc, char **argv) {
    // Only a child is born with a message.
    if (lunatic_message_receive(nullptr, 0, 0) == 0)
        return child(argv);
    return parent({argv, argv + argc});
}
