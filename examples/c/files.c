/* What C programs do with files: streams, directories, links, errors. Prints the same everywhere: the
 * test compares it with the native program.
 *
 *   clang --target=wasm32-wasi -O2 files.c -o files.wasm     (or: zig cc -target wasm32-wasi …)
 *   lunatic run --dir some/directory::/data files.wasm -- /data
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[4096];

static const char *in(const char *directory, const char *name) {
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *directory) {
    char *names[100];
    int count = 0;
    DIR *stream = opendir(directory);
    if (!stream) {
        printf("cannot list: %s\n", strerror(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(stream)) && count < 100;)
        names[count++] = strdup(entry->d_name);
    closedir(stream);
    qsort(names, count, sizeof *names, by_name);
    for (int at = 0; at < count; at++)
        printf("%s ", names[at]);
    printf("\n");
}

int main(int argc, char **argv) {
    const char *home = argc > 1 ? argv[1] : "/data";
    char from[4096], to[4096], buffer[100];
    struct stat stat_buffer;

    FILE *file = fopen(in(home, "numbers"), "w+");
    if (!file) {
        perror("making a file");
        return 1;
    }
    for (int number = 0; number < 10000; number++)
        fprintf(file, "line %d\n", number);
    rewind(file);
    int lines = 0;
    while (fgets(buffer, sizeof buffer, file))
        lines++;
    printf("%d lines, position %ld, end %d\n", lines, ftell(file), feof(file) != 0);
    fseek(file, -5, SEEK_END);
    printf("the last: %s", fgets(buffer, sizeof buffer, file));
    fclose(file);

    mkdir(in(home, "directory"), 0777);
    snprintf(from, sizeof from, "%s/numbers", home);
    snprintf(to, sizeof to, "%s/directory/moved", home);
    printf("rename %d\n", rename(from, to));
    printf("link %d\n", link(to, from));
    printf("stat %d ", stat(to, &stat_buffer));
    printf("size %lld links %ld\n", (long long)stat_buffer.st_size, (long)stat_buffer.st_nlink);
    printf("symlink %d\n", symlink("directory/moved", in(home, "link")));
    int length = (int)readlink(in(home, "link"), buffer, sizeof buffer);
    printf("leads to %.*s\n", length, buffer);
    lstat(in(home, "link"), &stat_buffer);
    printf("is a link: %d\n", S_ISLNK(stat_buffer.st_mode) != 0);
    list(home);

    int descriptor = open(to, O_RDWR | O_APPEND);
    printf("append %d\n", (int)write(descriptor, "more\n", 5));
    printf("truncate %d\n", ftruncate(descriptor, 20));
    printf("at 5: %d %.4s\n", (int)pread(descriptor, buffer, 4, 5), buffer);
    printf("sync %d\n", fsync(descriptor));
    struct pollfd polled = {.fd = descriptor, .events = POLLIN};
    printf("poll %d\n", poll(&polled, 1, 1000));
    close(descriptor);
    printf("closed: %s\n", read(descriptor, buffer, 1) < 0 ? strerror(errno) : "no");
    printf("not there: %s\n", fopen(in(home, "none"), "r") ? "yes" : strerror(errno));
    printf("not empty: %s\n", rmdir(in(home, "directory")) ? strerror(errno) : "gone");
    printf("directory: %s\n", unlink(in(home, "directory")) ? "refused" : "gone");

    unlink(to);
    unlink(from);
    unlink(in(home, "link"));
    printf("rmdir %d\n", rmdir(in(home, "directory")));
    list(home);
    return 0;
}
