//! The file system as guests see it: function by function, every error number that can be reached.
//!
//! The guest `wasi_calls` makes the calls that a test writes down, one a line, and says what they
//! answer. Descriptor 3 is the directory `--dir` gives; what is opened first is 4.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use support::calls::{
    ACCES, BADF, EXIST, Expected, FBIG, ILSEQ, INVAL, ISDIR, LOOP, MFILE, NAMETOOLONG, NOENT,
    NOTDIR, NOTEMPTY, NOTSOCK, NOTSUP, PERM, SPIPE, answers, check, check_with, place,
};
use support::{guest, lunatic, program, run_command, run_wat_with, spawn_with, times};

#[test]
fn a_file_is_made_written_read_and_removed() {
    let place = place();
    check(
        &place,
        &[
            ("path_open 3 0 new 1 66 0", "0 4"),
            ("fd_write 4 hello", "0 5"),
            ("fd_tell 4", "0 5"),
            ("fd_read 4 10", "0"),
            ("fd_seek 4 0 0", "0 0"),
            ("fd_read 4 10", "0 hello"),
            ("fd_seek 4 -2 2", "0 3"),
            ("fd_read 4 10", "0 lo"),
            ("fd_seek 4 -3 1", "0 2"),
            ("fd_write 4 LL", "0 2"),
            ("fd_pread 4 10 1", "0 eLLo"),
            ("fd_pwrite 4 J 0", "0 1"),
            ("fd_tell 4", "0 4"),
            ("fd_pread 4 10 0", "0 JeLLo"),
            ("fd_pread 4 10 100", "0"),
            ("fd_close 4", "0"),
            ("fd_close 4", BADF),
            ("cat 3 0 new", "0 JeLLo"),
            ("path_unlink_file 3 new", "0"),
            ("cat 3 0 new", NOENT),
        ],
    );
    assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 0);
}

#[test]
fn paths_are_opened_as_the_flags_say() {
    let place = place();
    fs::write(place.path().join("file"), "text").expect("it can be written");
    fs::create_dir(place.path().join("dir")).expect("it can be made");
    symlink("file", place.path().join("link")).expect("it can be made");
    symlink("nowhere", place.path().join("dangling")).expect("it can be made");
    symlink("loop", place.path().join("loop")).expect("it can be made");
    check(
        &place,
        &[
            ("path_open 3 0 none 0 2 0", NOENT),
            ("path_open 3 0 none/none 1 66 0", NOENT),
            ("path_open 3 0 file/none 1 66 0", NOTDIR),
            ("path_open 3 0 file/ 0 2 0", NOTDIR),
            ("path_open 3 0 file 2 2 0", NOTDIR),
            ("path_open 3 0 file 5 66 0", EXIST),
            ("path_open 3 0 dir 1 66 0", ISDIR),
            ("path_open 3 0 dir 0 64 0", ISDIR),
            ("path_open 3 0 dir 3 2 0", INVAL),
            ("path_open 3 0 file 16 2 0", INVAL),
            ("path_open 3 0 file 65536 2 0", INVAL),
            ("path_open 3 0 file 0 2 32", INVAL),
            ("path_open 3 2 file 0 2 0", INVAL),
            ("path_open 3 0 link 0 2 0", LOOP),
            ("path_open 3 1 loop 0 2 0", LOOP),
            ("path_open 3 0 dangling 5 66 0", EXIST),
            ("path_open 3 1 dangling 0 2 0", NOENT),
            ("path_open 3 0 %ff 0 2 0", ILSEQ),
            ("path_open 3 0 a%00b 0 2 0", INVAL),
            ("path_open 3 0 @0 0 2 0", NOENT),
            ("path_open 3 0 @256 0 2 0", NAMETOOLONG),
            ("path_open 3 0 @65536 0 2 0", NAMETOOLONG),
            ("path_open 9 0 file 0 2 0", BADF),
            ("path_open 0 0 file 0 2 0", BADF),
            ("path_open 4294967295 0 file 0 2 0", BADF),
            ("cat 3 1 link", "0 text"),
            ("path_open 3 0 file 8 64 0", "0 4"),
            ("fd_filestat_get 4", "0 type 4 links 1 size 0 *"),
            ("path_open 4 0 file 0 2 0", NOTDIR),
            ("fd_read 4 1", BADF),
            ("path_open 3 0 file 0 2 0", "0 5"),
            ("fd_write 5 x", BADF),
            ("fd_allocate 5 0 10", BADF),
            ("fd_filestat_set_size 5 10", INVAL),
            ("path_open 3 0 dir/ 2 2 0", "0 6"),
            ("path_open 6 0 . 2 2 0", "0 7"),
            ("path_open 6 0 inner 1 64 0", "0 8"),
            // Made, or cut off, for one who wants to read it.
            ("path_open 3 0 made 1 2 0", "0 9"),
            ("fd_write 9 x", BADF),
            ("fd_pwrite 9 x 0", BADF),
            ("fd_allocate 9 0 1", BADF),
            ("fd_filestat_set_size 9 1", INVAL),
            ("fd_read 9 1", "0"),
            ("fd_close 9", "0"),
            ("path_open 3 0 made 8 2 0", "0 9"),
            ("fd_write 9 x", BADF),
            ("fd_close 9", "0"),
            // The lowest number that is free.
            ("fd_close 5", "0"),
            ("path_open 3 0 dir/inner 0 0 0", "0 5"),
            ("path_open 3 1 dangling 1 64 0", "0 9"),
        ],
    );
    assert!(place.path().join("nowhere").is_file(), "made through the link");
}

#[test]
fn positions_and_sizes_have_edges() {
    const MAX: i64 = i64::MAX;
    let place = place();
    fs::create_dir(place.path().join("dir")).expect("it can be made");
    check(
        &place,
        &[
            ("path_open 3 0 f 1 66 0", "0 4"),
            ("path_open 3 0 dir 2 0 0", "0 5"),
            ("fd_seek 4 -1 0", INVAL),
            ("fd_seek 4 -1 1", INVAL),
            ("fd_seek 4 -1 2", INVAL),
            ("fd_seek 4 0 3", INVAL),
            ("fd_seek 4 0 4294967295", INVAL),
            (&format!("fd_seek 4 {} 0", i64::MIN), INVAL),
            (&format!("fd_seek 4 {MAX} 1"), "*"),
            ("fd_seek 4 1000 0", "0 1000"),
            ("fd_read 4 1", "0"),
            ("fd_filestat_set_size 4 10", "0"),
            ("fd_filestat_get 4", "0 type 4 links 1 size 10 *"),
            (&format!("fd_filestat_set_size 4 {}", u64::MAX), INVAL),
            (&format!("fd_filestat_set_size 4 {MAX}"), FBIG),
            ("fd_allocate 4 5 10", "0"),
            ("fd_allocate 4 0 0", INVAL),
            (&format!("fd_allocate 4 {} 1", u64::MAX), INVAL),
            (&format!("fd_allocate 4 1 {MAX}"), FBIG),
            ("fd_filestat_get 4", "0 type 4 links 1 size 15 *"),
            (&format!("fd_pread 4 1 {}", u64::MAX), INVAL),
            (&format!("fd_pread 4 1 {MAX}"), "*"),
            (&format!("fd_pwrite 4 x {}", u64::MAX), INVAL),
            (&format!("fd_pwrite 4 x {}", i64::MIN), INVAL),
            ("fd_advise 4 0 0 0", "0"),
            ("fd_advise 4 0 10 5", "0"),
            ("fd_advise 4 0 10 6", INVAL),
            (&format!("fd_advise 4 {} 10 0", u64::MAX), INVAL),
            ("fd_sync 4", "0"),
            ("fd_datasync 4", "0"),
            ("fd_sync 3", "0"),
            // Directories have no position and no size.
            ("fd_seek 5 0 0", BADF),
            ("fd_tell 5", BADF),
            ("fd_read 5 1", BADF),
            ("fd_pread 3 1 0", BADF),
            ("fd_write 5 x", BADF),
            ("fd_pwrite 5 x 0", BADF),
            ("fd_allocate 5 0 1", BADF),
            ("fd_advise 5 0 1 0", BADF),
            ("fd_filestat_set_size 5 0", BADF),
            ("fd_readdir 4 100 0", BADF),
            // Streams have neither.
            ("fd_seek 0 0 0", SPIPE),
            ("fd_tell 1", SPIPE),
            ("fd_pread 0 1 0", SPIPE),
            ("fd_pread 1 1 0", BADF),
            ("fd_pwrite 1 x 0", SPIPE),
            ("fd_pwrite 0 x 0", BADF),
            ("fd_write 0 x", BADF),
            ("fd_read 1 1", BADF),
            ("fd_sync 1", BADF),
            ("fd_readdir 0 100 0", BADF),
        ],
    );
}

#[test]
fn descriptors_say_what_they_are() {
    let place = place();
    fs::write(place.path().join("file"), "").expect("it can be written");
    check(
        &place,
        &[
            ("fd_prestat_get 3", "0 0 1"),
            ("fd_prestat_dir_name 3 1", "0 /"),
            ("fd_prestat_dir_name 3 2", "0 /."),
            ("fd_prestat_dir_name 3 0", NAMETOOLONG),
            ("fd_prestat_get 4", BADF),
            ("fd_prestat_get 2", BADF),
            ("fd_prestat_dir_name 1 10", NOTDIR),
            ("path_open 3 0 . 2 2 0", "0 4"),
            // What is opened has no name, also where it is the same directory.
            ("fd_prestat_get 4", BADF),
            ("fd_prestat_dir_name 4 10", NOTDIR),
            ("path_open 3 0 file 0 66 5", "0 5"),
            ("fd_fdstat_get 5", "0 type 4 flags 5 *"),
            ("fd_fdstat_set_flags 5 1", "0"),
            ("fd_fdstat_get 5", "0 type 4 flags 1 *"),
            ("fd_fdstat_set_flags 5 16", INVAL),
            ("fd_fdstat_set_flags 5 32", INVAL),
            ("fd_fdstat_set_flags 5 65536", INVAL),
            ("fd_fdstat_set_flags 4 0", BADF),
            ("fd_fdstat_set_flags 9 0", BADF),
            ("fd_fdstat_set_rights 5 0 0", NOTSUP),
            ("fd_fdstat_set_rights 9 0 0", BADF),
            ("fd_fdstat_get 9", BADF),
            ("fd_filestat_get 3", "0 type 3 *"),
            ("path_open 3 0 file 0 66 26", "0 6"),
            ("fd_fdstat_get 6", "0 type 4 flags 26 *"),
            ("sock_accept 5 0", NOTSOCK),
            ("sock_recv 5 1 0", NOTSOCK),
            ("sock_send 3 x 0", NOTSOCK),
            ("sock_shutdown 1 1", NOTSOCK),
            ("sock_shutdown 9 1", BADF),
            ("poll_oneoff 1 5 1000000000000", "0 [0 error 0 bytes 0 flags 1]"),
            ("poll_oneoff 2 5 1000000000000", "0 [0 error 0 bytes 1 flags 0]"),
            ("poll_oneoff 1 3 1000000000000", "0 [0 error 8 bytes 0 flags 0]"),
            ("poll_oneoff 1 9 1000000000000", "0 [0 error 8 bytes 0 flags 0]"),
        ],
    );
}

#[test]
fn appending_goes_to_the_end_until_it_is_switched_off() {
    let place = place();
    fs::write(place.path().join("file"), "first ").expect("it can be written");
    check(
        &place,
        &[
            ("path_open 3 0 file 0 66 1", "0 4"),
            ("fd_write 4 second", "0 6"),
            ("fd_tell 4", "0 12"),
            ("fd_seek 4 0 0", "0 0"),
            ("fd_write 4 3", "0 1"),
            // As on Linux; reference runtimes do the same.
            ("fd_pwrite 4 4 0", "0 1"),
            ("fd_fdstat_set_flags 4 0", "0"),
            ("fd_pwrite 4 F 0", "0 1"),
            ("fd_fdstat_set_flags 4 1", "0"),
            ("fd_write 4 5", "0 1"),
        ],
    );
    assert_eq!(fs::read_to_string(place.path().join("file")).expect("text"), "First second345");
}

#[test]
fn descriptors_are_renumbered() {
    let place = place();
    fs::write(place.path().join("a"), "A").expect("it can be written");
    fs::write(place.path().join("b"), "B").expect("it can be written");
    check(
        &place,
        &[
            ("path_open 3 0 a 0 2 0", "0 4"),
            ("path_open 3 0 b 0 2 0", "0 5"),
            ("fd_renumber 4 9", BADF),
            ("fd_renumber 9 4", BADF),
            ("fd_renumber 4 4", "0"),
            ("fd_renumber 5 4", "0"),
            ("fd_read 5 1", BADF),
            ("fd_read 4 1", "0 B"),
            ("fd_renumber 4 3", "0"),
            ("fd_read 3 1", "0"),
            ("fd_prestat_get 3", BADF),
            ("path_open 3 0 a 0 2 0", NOTDIR),
            ("fd_close 3", "0"),
            ("fd_close 0", "0"),
        ],
    );
}

#[test]
fn directories_are_made_listed_and_removed() {
    let place = place();
    fs::write(place.path().join("file"), "").expect("it can be written");
    check(
        &place,
        &[
            ("path_create_directory 3 dir", "0"),
            ("path_create_directory 3 dir", EXIST),
            ("path_create_directory 3 file", EXIST),
            ("path_create_directory 3 none/dir", NOENT),
            ("path_create_directory 3 file/dir", NOTDIR),
            ("path_create_directory 3 dir/inner/", "0"),
            ("path_create_directory 3 @0", NOENT),
            ("path_create_directory 3 %80", ILSEQ),
            ("path_create_directory 0 dir", BADF),
            ("list 3 4096", "0 . .. dir file"),
            ("list 3 40", "0 . .. dir file"),
            ("fd_readdir 3 0 0", "0 0"),
            ("fd_readdir 3 30 0", "0 30"),
            ("fd_readdir 3 100 18446744073709551615", INVAL),
            ("path_remove_directory 3 dir", NOTEMPTY),
            ("path_remove_directory 3 file", NOTDIR),
            ("path_remove_directory 3 none", NOENT),
            ("path_unlink_file 3 dir", ISDIR),
            ("path_unlink_file 3 file/", NOTDIR),
            ("path_unlink_file 3 none", NOENT),
            ("path_open 3 0 dir 2 2 0", "0 4"),
            ("path_remove_directory 3 dir/inner", "0"),
            ("path_remove_directory 3 dir/.", INVAL),
            ("path_remove_directory 3 file/", NOTDIR),
            ("path_remove_directory 3 dir/", "0"),
            ("list 4 100", NOENT),
            ("path_create_directory 4 new", NOENT),
        ],
    );
}

#[test]
fn names_move_and_multiply() {
    let place = place();
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "text").expect("it can be written");
    fs::create_dir(at("dir")).expect("it can be made");
    fs::create_dir(at("full")).expect("it can be made");
    fs::write(at("full/x"), "x").expect("it can be written");
    check(
        &place,
        &[
            ("path_rename 3 file 3 dir/moved", "0"),
            ("path_rename 3 file 3 dir/moved", NOENT),
            ("cat 3 0 dir/moved", "0 text"),
            ("path_rename 3 dir 3 full", NOTEMPTY),
            ("path_rename 3 dir/moved 3 full", ISDIR),
            ("path_rename 3 dir 3 full/x", NOTDIR),
            ("path_rename 3 dir 3 dir/dir", INVAL),
            ("path_rename 3 dir/moved 3 dir/moved/", NOTDIR),
            ("path_rename 9 dir 3 dir2", BADF),
            ("path_rename 3 dir 9 dir2", BADF),
            ("path_rename 3 dir 1 dir2", BADF),
            ("path_rename 3 @0 3 dir2", NOENT),
            ("path_rename 3 dir 3 dir2", "0"),
            ("path_link 3 0 dir2/moved 3 name", "0"),
            ("path_filestat_get 3 0 name", "0 type 4 links 2 size 4 *"),
            ("path_link 3 0 dir2/moved 3 name", EXIST),
            ("path_link 3 0 none 3 other", NOENT),
            ("path_link 3 0 dir2 3 other", PERM),
            ("path_link 3 1 name 3 other", INVAL),
            ("path_link 3 0 name 3 other/", NOENT),
            ("path_link 3 0 name 9 other", BADF),
            ("path_symlink dir2/moved 3 link", "0"),
            ("path_symlink dir2/moved 3 link", EXIST),
            ("path_symlink x 3 none/link", NOENT),
            ("path_symlink @0 3 link2", NOENT),
            ("path_symlink @5000 3 link2", NAMETOOLONG),
            ("path_readlink 3 link 100", "0 dir2/moved"),
            ("path_readlink 3 link 4", "0 dir2"),
            ("path_readlink 3 link 0", "0"),
            ("path_readlink 3 name 100", INVAL),
            ("path_readlink 3 none 100", NOENT),
            ("path_filestat_get 3 0 link", "0 type 7 links 1 size 10 *"),
            ("path_filestat_get 3 1 link", "0 type 4 links 2 size 4 *"),
            ("path_filestat_get 3 2 link", INVAL),
            ("path_filestat_get 3 0 none", NOENT),
            ("path_filestat_get 3 0 name/", NOTDIR),
            ("path_unlink_file 3 link", "0"),
            ("cat 3 0 name", "0 text"),
        ],
    );
}

#[test]
fn times_are_set_of_files_links_and_directories() {
    let place = place();
    fs::write(place.path().join("file"), "").expect("it can be written");
    symlink("file", place.path().join("link")).expect("it can be made");
    check(
        &place,
        &[
            ("path_filestat_set_times 3 0 file 1000000005 2000000007 5", "0"),
            ("path_filestat_get 3 0 file", "0 type 4 links 1 size 0 mtim 2000000007"),
            ("path_filestat_set_times 3 0 link 0 3000000000 4", "0"),
            ("path_filestat_get 3 0 link", "0 type 7 links 1 size 4 mtim 3000000000"),
            ("path_filestat_get 3 1 link", "0 type 4 links 1 size 0 mtim 2000000007"),
            ("path_filestat_set_times 3 1 link 0 4000000000 4", "0"),
            ("path_filestat_get 3 0 file", "0 type 4 links 1 size 0 mtim 4000000000"),
            ("path_filestat_set_times 3 0 file 0 0 12", INVAL),
            ("path_filestat_set_times 3 0 file 0 0 3", INVAL),
            ("path_filestat_set_times 3 0 file 0 0 16", INVAL),
            ("path_filestat_set_times 3 0 none 0 0 4", NOENT),
            ("path_open 3 0 file 0 2 0", "0 4"),
            ("fd_filestat_set_times 4 0 5000000000 4", "0"),
            ("fd_filestat_get 4", "0 type 4 links 1 size 0 mtim 5000000000"),
            ("fd_filestat_set_times 4 0 0 0", "0"),
            ("fd_filestat_get 4", "0 type 4 links 1 size 0 mtim 5000000000"),
            ("fd_filestat_set_times 4 0 0 12", INVAL),
            ("fd_filestat_set_times 3 0 6000000000 4", "0"),
            ("fd_filestat_get 3", "0 type 3 links 2 size * "),
            ("fd_filestat_set_times 1 0 0 4", BADF),
            ("fd_filestat_set_times 4 0 0 10", "0"),
        ]
        .map(|(call, answer)| {
            // A directory's size is the file system's affair.
            if answer.contains("size *") {
                (call, "0 type 3 links 2 size *")
            } else {
                (call, answer)
            }
        }),
    );
    let metadata = fs::metadata(place.path().join("file")).expect("it is there");
    assert!(metadata.mtime() > 1_000_000_000 && metadata.atime() > 1_000_000_000, "now");
}

#[test]
fn what_the_user_may_not_the_guest_may_not() {
    let place = place();
    fs::write(place.path().join("file"), "").expect("it can be written");
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(place.path().join("file"), closed).expect("it is ours");
    if fs::File::open(place.path().join("file")).is_ok() {
        eprintln!("SKIPPED: this user may everything");
        return;
    }
    check(&place, &[("path_open 3 0 file 0 2 0", ACCES)]);
}

/// What is not in this machine's memory for sure, and what lies behind the links of `/proc`.
#[test]
fn a_file_system_of_another_kind_works_and_keeps_its_doors_shut() {
    check_with(
        ":ro",
        Path::new("/proc"),
        &[
            ("path_open 3 1 sys/kernel/ostype 0 2 0", "0 4"),
            ("fd_read 4 5", "0 Linux"),
            ("fd_close 4", "0"),
            ("path_filestat_get 3 0 sys/kernel/ostype", "0 type 4 links 1 size 0 *"),
            ("path_open 3 0 sys/kernel 2 2 0", "0 4"),
            ("path_open 4 0 ostype 0 2 0", "0 5"),
            ("fd_filestat_get 5", "0 type 4 links 1 size 0 *"),
            ("fd_pread 5 3 1", "0 inu"),
            ("fd_read 5 5", "0 Linux"),
            ("fd_close 5", "0"),
            ("cat 4 0 none", NOENT),
            // Links of the kernel that lead to files whatever their paths are.
            ("path_open 3 1 self/root 0 2 0", LOOP),
            ("path_open 3 1 self/fd/0 0 2 0", LOOP),
            ("path_open 3 1 self/cwd 0 2 0", LOOP),
            ("path_open 3 1 self/exe 0 2 0", LOOP),
            ("path_readlink 3 self/root 100", PERM),
        ],
    );
}

#[test]
fn a_hundred_thousand_entries_are_listed_once_each() {
    const ENTRIES: usize = 100_000;
    let place = place();
    let dir = place.path().join("many");
    fs::create_dir(&dir).expect("it can be made");
    for number in 0..ENTRIES {
        fs::write(dir.join(format!("{number}")), "").expect("it can be written");
    }
    let script = "path_open 3 0 many 2 2 0\nlist 4 4096\nlist 4 65536\nlist 4 300\n";
    let place_name = format!("{}::/", place.path().display());
    let Some(answers) = answers(&[&place_name], script) else { return };
    let mut expected: Vec<String> = (0..ENTRIES).map(|number| number.to_string()).collect();
    expected.extend([".".to_string(), "..".to_string()]);
    expected.sort();
    let expected = format!("0 {}", expected.join(" "));
    for (answer, buffer) in answers[1..].iter().zip(["4096", "65536", "300"]) {
        assert!(*answer == expected, "buffer {buffer}: {} bytes", answer.len());
    }
}

#[test]
fn names_that_are_not_utf_8_are_listed_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    let name = std::ffi::OsStr::from_bytes(b"a\xffb");
    fs::write(place.path().join(name), "").expect("it can be written");
    check(&place, &[("list 3 1000", "0 . .. a\u{fffd}b"), ("cat 3 0 a%ffb", ILSEQ)]);
}

#[test]
fn a_pipe_without_a_partner_holds_nobody_up() {
    let place = place();
    let fifo = place.path().join("fifo");
    rustix_mkfifo(&fifo);
    // More than there are threads for blocking calls.
    let mut calls: Vec<(String, String)> = (0..70)
        .map(|number| ("path_open 3 0 fifo 0 2 4".to_string(), format!("0 {}", 4 + number)))
        .collect();
    calls.push(("path_open 3 0 fifo 0 66 0".into(), "0 74".into()));
    calls.push(("fd_fdstat_get 74".into(), "0 type 0 *".into()));
    calls.push(("fd_seek 74 0 0".into(), SPIPE.into()));
    calls.push(("poll_oneoff 1 74 1000000".into(), "0 [1 error 0 bytes 0 flags 0]".into()));
    calls.push(("fd_write 74 hello".into(), "0 5".into()));
    calls.push(("poll_oneoff 1 74 1000000000000".into(), "0 [0 error 0 bytes 5 flags 0]".into()));
    calls.push(("fd_read 74 100".into(), "0 hello".into()));
    // One that does not want to wait.
    calls.push(("fd_read 4 100".into(), "6".into()));
    let calls: Vec<Expected<'_>> =
        calls.iter().map(|(call, answer)| (call.as_str(), answer.as_str())).collect();
    check(&place, &calls);
}

fn rustix_mkfifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("it is there");
    assert!(made.success(), "mkfifo");
}

#[test]
fn a_process_has_so_many_descriptors_and_no_more() {
    let place = place();
    fs::write(place.path().join("file"), "").expect("it can be written");
    let open = "path_open 3 0 file 0 2 0\n";
    let script = format!("{}path_open 3 0 new 1 2 0\nfd_close 77\n{open}", open.repeat(1020));
    let place_name = format!("{}::/", place.path().display());
    let Some(answers) = answers(&[&place_name], &script) else { return };
    assert_eq!(answers[1019], "0 1023");
    assert_eq!(answers[1020..], [MFILE, "0", "0 77"]);
    assert!(!place.path().join("new").exists(), "refused before it is made");
}

#[test]
fn what_is_not_there_cannot_be_given() {
    let text = program("", "");
    for (dir, says) in [
        ("/nowhere/at/all", "cannot give the program \"/nowhere/at/all\""),
        ("/dev/null::/x", "cannot give the program \"/dev/null\""),
    ] {
        run_wat_with(&["--dir", dir], &text).expect_refused(&[says, "must be a directory"]);
    }
    for (option, value, says) in [
        ("--dir", "", "the directory's name is empty"),
        ("--dir", "x::", "the name behind \"::\" is empty"),
    ] {
        run_wat_with(&[option, value], &text).expect(2).says(&[says]);
    }
    run_wat_with(&["--listen", "nonsense"], &text)
        .expect_refused(&["cannot listen on \"nonsense\"", "HOST:PORT"]);
}

/// Imports of snapshot 0 beside the prelude.
const UNSTABLE: &str = r#"(module
  (import "wasi_unstable" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_seek" (func $seek_old (param i32 i64 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_filestat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_unstable" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "fd_close" (func $fd_close (param i32) (result i32)))"#;

#[test]
fn programs_of_snapshot_0_find_their_layouts() {
    let place = place();
    fs::write(place.path().join("file"), "0123456789").expect("it can be written");
    let body = r#"
      (call $say32 (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 1100)))
      (call $say32 (call $seek_old (i32.load (i32.const 1100)) (i64.const 4) (i32.const 2)
        (i32.const 1104)))
      (call $say (i64.load (i32.const 1104)))
      (call $say32 (call $seek_old (i32.load (i32.const 1100)) (i64.const 1) (i32.const 0)
        (i32.const 1104)))
      (call $say (i64.load (i32.const 1104)))
      (call $say32 (call $seek_old (i32.load (i32.const 1100)) (i64.const -1) (i32.const 1)
        (i32.const 1104)))
      (call $say (i64.load (i32.const 1104)))
      (call $say32 (call $seek_old (i32.load (i32.const 1100)) (i64.const 0) (i32.const 3)
        (i32.const 1104)))
      (i64.store (i32.const 1256) (i64.const -1))
      (call $say32 (call $stat (i32.load (i32.const 1100)) (i32.const 1200)))
      (call $say32 (i32.load8_u (i32.const 1216)))
      (call $say32 (i32.load (i32.const 1220)))
      (call $say (i64.load (i32.const 1224)))
      (call $say (i64.load (i32.const 1256)))
      ;; A millisecond of the monotonic clock, which lies eight bytes later than it used to.
      (i64.store (i32.const 1300) (i64.const 7))
      (i64.store (i32.const 1316) (i64.const 99))
      (i32.store (i32.const 1324) (i32.const 1))
      (i64.store (i32.const 1332) (i64.const 1000000))
      (call $say32 (call $poll (i32.const 1300) (i32.const 1400) (i32.const 1) (i32.const 1500)))
      (call $say (i64.load (i32.const 1400)))
      (call $say32 (call $fd_close (i32.load (i32.const 1100))))"#;
    let text = program("(data (i32.const 1024) \"file\")", body);
    let text = text.replacen("(module", UNSTABLE, 1);
    let dir = format!("{}::/", place.path().display());
    run_wat_with(&["--dir", &dir], &text)
        .expect_quiet_success()
        .prints(&[0, 0, 4, 0, 5, 0, 9, 28, 0, 4, 1, 10, -1, 0, 7, 0]);
}

#[test]
fn processes_that_are_killed_while_they_read_leave_no_file_open() {
    let place = place();
    fs::write(place.path().join("file"), vec![b'x'; 1 << 20]).expect("it can be written");
    // Each opens the file, and itself, and lists, for ever; all are killed at different moments.
    let imports = r#"(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_sync" (func $fd_sync (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))"#;
    let items = r#"(data (i32.const 1024) "file")
      (func (export "opener") (param $main i64)
        (i32.store (i32.const 1200) (i32.const 4096))
        (i32.store (i32.const 1204) (i32.const 100000))
        (call $send (local.get $main) (i64.const 1))
        (loop $again
          (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4)
                (i32.const 0) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 1100))
            (then unreachable))
          (drop (call $fd_read (i32.load (i32.const 1100)) (i32.const 1200) (i32.const 1)
            (i32.const 1104)))
          (drop (call $fd_sync (i32.load (i32.const 1100))))
          (br_if $again (i32.eq (i32.load (i32.const 1100)) (i32.const 4)))
          (drop (call $fd_close (i32.load (i32.const 1100))))
          (br $again)))"#;
    let body = format!(
        "(local $i i64) (local $child i64)
         {}
         (call $sleep (i64.const 50))
         (call $say (i64.const 99))
         (drop (call $recv))",
        times(
            300,
            &format!(
                "(local.set $child {}) (drop (call $recv))
                 (if (i32.wrap_i64 (i64.rem_u (local.get $i) (i64.const 3)))
                   (then (call $sleep (i64.rem_u (local.get $i) (i64.const 2)))))
                 (call $kill (local.get $child))",
                spawn_with("opener", "(call $self)")
            )
        )
    );
    let text = program(items, &body).replacen("(module", imports, 1);
    let module = support::Module::wat(&text);
    let mut command = lunatic();
    command.args(["run", "--dir", &format!("{}::/", place.path().display())]).arg(module.path());
    let mut running = support::Running::start(command);
    running.wait_for("99\n");
    let fds = format!("/proc/{}/fd", running.child.id());
    let file = place.path().join("file");
    let open = || {
        let fds = fs::read_dir(&fds).expect("it runs").flatten();
        fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file)).count()
    };
    // Their last jobs may still run.
    while open() > 0 {
        std::thread::yield_now();
    }
    running.signal(libc::SIGINT);
    running.finish().expect(130);
}

#[test]
fn the_standard_library_works_in_many_processes_at_once() {
    for workers in ["1", "2"] {
        let place = place();
        let dir = format!("{}::/data", place.path().display());
        let options = ["--workers", workers, "--dir", &dir];
        let Some(output) = support::run_guest(&options, "files", &[], b"") else { return };
        let output = output.expect_quiet_success();
        assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
        assert_eq!(output.stdout.lines().count(), 10, "{output:#?}");
    }
}

/// Each run loses its directories sooner or later, so there are many.
#[test]
fn whatever_a_guest_passes_it_hurts_nobody() {
    let Some(guest) = guest("wasi_fuzz") else { return };
    let first: u64 =
        std::env::var("LUNATIC_FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in first..first + 25 {
        let outer = place();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).expect("it can be made");
        fs::write(outer.path().join("secret"), "secret").expect("it can be written");
        let mut command = lunatic();
        command.arg("run");
        for name in ["/", "/a", "/b", "/c:ro", "/d", "/e"] {
            command.args(["--dir", &format!("{}::{name}", inner.display())]);
        }
        command.arg(&guest).args([&(seed * 7919).to_string(), "3000"]);
        let output = run_command(command, b"").expect_quiet_success();
        assert_eq!(output.stdout, "3000 calls\n", "seed {seed}");
        let secret = fs::read_to_string(outer.path().join("secret")).expect("it is there");
        assert_eq!(secret, "secret", "seed {seed}");
        assert_eq!(fs::read_dir(outer.path()).expect("it is there").count(), 2, "seed {seed}");
    }
}
