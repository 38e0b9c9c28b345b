//! Ways out of directories that are none, and changes where only reading is granted, as guests of WASI
//! try them: with `..`, absolute paths, links, races, renames, second names, and one grant beside another.
//!
//! Descriptor 3 is the first directory that `--dir` gives.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::calls::{BADF, Expected, NOENT, NOTDIR, PERM, answers, check_with, place};
use tempfile::TempDir;

/// A directory with a secret beside it, and ways in it that seem to lead there.
fn prison() -> (TempDir, std::path::PathBuf) {
    let outside = place();
    fs::write(outside.path().join("secret"), "secret").expect("it can be written");
    let inside = outside.path().join("inside");
    fs::create_dir_all(inside.join("dir/deep")).expect("it can be made");
    fs::write(inside.join("file"), "mine").expect("it can be written");
    let secret = outside.path().join("secret");
    for (link, target) in [
        ("up", Path::new("../secret")),
        ("up_dir", Path::new("..")),
        ("absolute", &secret),
        ("absolute_dir", outside.path()),
        ("dir/up_and_up", Path::new("../../secret")),
        ("proc", Path::new("/proc/self/root")),
        ("good", Path::new("dir/../file")),
    ] {
        symlink(target, inside.join(link)).expect("it can be made");
    }
    (outside, inside)
}

/// `EACCES`.
const ACCES: &str = "2";

#[test]
fn proc_is_no_way_into_the_memory_of_a_process() {
    let paths = ["self/mem", "thread-self/mem", "self/maps", "self/environ", "1/status"];
    for (rights, mem) in
        [("", "path_open 3 1 self/mem 0 66 0"), (":ro", "path_open 3 1 self/mem 0 2 0")]
    {
        let cats = paths.map(|path| (format!("cat 3 1 {path}"), ACCES));
        let mut calls: Vec<Expected<'_>> =
            cats.iter().map(|(call, answer)| (call.as_str(), *answer)).collect();
        calls.extend([
            (mem, ACCES),
            ("path_open 3 1 self 2 2 0", ACCES),
            ("path_open 3 1 self/task 2 2 0", ACCES),
            ("cat 3 1 sys/kernel/ostype", "0 Linux*"),
        ]);
        check_with(rights, Path::new("/proc"), &calls);
    }
    let module = support::Module::wat("(module (func (export \"_start\")))");
    let mut command = support::lunatic();
    command.args(["run", "--dir", "/proc/self::/p"]).arg(module.path());
    support::run_command(command, b"").expect_refused(&["/proc/self", "about a process"]);
}

/// In a namespace of mounts. `$$` will be the runtime itself.
#[test]
fn a_process_of_proc_that_is_mounted_elsewhere_is_no_way_either() {
    let Some(guest) = support::guest("wasi_calls") else { return };
    let place = place();
    fs::create_dir(place.path().join("process")).expect("it can be made");
    fs::create_dir(place.path().join("sys")).expect("it can be made");
    fs::write(place.path().join("mem"), "").expect("it can be written");
    let prepare = "mount --bind /proc/$$ \"$1/process\" && mount --bind /proc/$$/mem \"$1/mem\" \
                   && mount --bind /proc/sys/kernel \"$1/sys\" && shift";
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).arg(place.path());
        command
    };
    let tried = apart(prepare).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: nothing can be mounted here: {tried:?}");
        return;
    }
    let run = |dir: &Path, calls: &str| {
        let mut command = apart(&format!("{prepare} && exec \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_lunatic")).args(["run", "--dir"]);
        command.arg(format!("{}::/p", dir.display())).arg(&guest);
        support::run_command(command, calls.as_bytes())
    };
    let calls = "cat 3 1 process/maps\ncat 3 1 process/mem\npath_open 3 1 process 2 2 0\n\
                 cat 3 1 mem\npath_open 3 1 mem 0 66 0\ncat 3 1 sys/ostype\n";
    let output = run(place.path(), calls).expect_quiet_success();
    let (refused, ostype) = output.stdout.trim_end().rsplit_once('\n').expect("lines");
    assert_eq!(refused, "2\n2\n2\n2\n2", "{output:#?}");
    assert!(ostype.starts_with("0 Linux"), "{output:#?}");
    run(&place.path().join("process"), "").expect_refused(&["process", "about a process"]);
}

#[test]
fn no_path_leads_out() {
    let (outside, inside) = prison();
    let secret = outside.path().join("secret");
    let mut calls: Vec<(String, &str)> = Vec::new();
    for path in [
        "../secret",
        "dir/../../secret",
        "dir/deep/../../../secret",
        "..",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "up",
        "up_dir/secret",
        "absolute",
        "absolute_dir/secret",
        "dir/up_and_up",
        "proc/etc/passwd",
        "file/../../secret",
        secret.to_str().expect("UTF-8"),
    ] {
        let is_link = !path.contains('/') && path != "..";
        let refused = if path.starts_with("file/") { NOTDIR } else { PERM };
        calls.push((format!("cat 3 1 {path}"), refused));
        calls.push((format!("path_open 3 1 {path} 1 66 0"), refused));
        calls.push((format!("path_open 3 1 {path} 8 66 0"), refused));
        calls.push((format!("path_filestat_get 3 1 {path}"), refused));
        calls.push((format!("path_filestat_set_times 3 1 {path} 0 0 4"), refused));
        if !is_link {
            calls.push((
                format!("path_filestat_get 3 0 {path}"),
                if path == "dir/up_and_up" { "0 type 7 *" } else { refused },
            ));
        }
        if !is_link && path != "dir/up_and_up" && path != ".." && path != "/" {
            calls.push((format!("path_create_directory 3 {path}"), refused));
            calls.push((format!("path_unlink_file 3 {path}"), refused));
            calls.push((format!("path_remove_directory 3 {path}"), refused));
            calls.push((format!("path_rename 3 {path} 3 mine"), refused));
            calls.push((format!("path_rename 3 file 3 {path}"), refused));
            calls.push((format!("path_link 3 0 {path} 3 mine"), refused));
            calls.push((format!("path_link 3 0 file 3 {path}"), refused));
            calls.push((format!("path_symlink file 3 {path}"), refused));
            calls.push((format!("path_readlink 3 {path} 100"), refused));
        }
    }
    for (call, answer) in [
        ("path_symlink /etc/passwd 3 new", PERM),
        ("path_symlink ../secret 3 new", "0"),
        ("cat 3 1 new", PERM),
        // A link to the link is no way either.
        ("path_link 3 0 up 3 up2", "0"),
        ("cat 3 1 up2", PERM),
        // Where a link leads outside is not told, if that is a name of the host's.
        ("path_readlink 3 absolute 100", PERM),
        ("path_readlink 3 up 100", "0 ../secret"),
        ("path_filestat_get 3 0 absolute", "0 type 7 *"),
        ("cat 3 1 good", "0 mine"),
        ("cat 3 0 dir/../file", "0 mine"),
        ("cat 3 0 ./dir/deep/../..//file", "0 mine"),
        // A directory that is opened deeper in is the grant's, not a prison of its own.
        ("path_open 3 0 dir/deep 2 2 0", "0 4"),
        ("cat 4 0 ../../file", PERM),
        ("path_open 4 0 .. 2 2 0", PERM),
    ] {
        calls.push((call.to_string(), answer));
    }
    let calls: Vec<Expected<'_>> =
        calls.iter().map(|(call, answer)| (call.as_str(), *answer)).collect();
    check_with("", &inside, &calls);
    assert_eq!(fs::read_to_string(secret).expect("it is there"), "secret");
    assert_eq!(fs::read_dir(outside.path()).expect("it is there").count(), 2, "nothing was made");
}

#[test]
fn a_path_that_changes_while_it_is_opened_leads_nowhere_else() {
    let (outside, inside) = prison();
    let at = |name: &str| inside.join(name);
    fs::create_dir(at("a")).expect("it can be made");
    fs::write(at("a/secret"), "mine").expect("it can be written");
    symlink("..", at("b")).expect("it can be made");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // `swap` is by turns a directory and a link to the one outside; `c` is moved out and in.
        scope.spawn(|| {
            let _ = fs::rename(at("a"), at("swap"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (from, to) in [("swap", "a"), ("b", "swap"), ("swap", "b"), ("a", "swap")] {
                    fs::rename(at(from), at(to)).expect("nobody else renames them");
                }
                let (deep, out) = (at("dir/deep"), outside.path().join("deep"));
                fs::rename(&deep, &out).expect("nobody else renames it");
                fs::rename(&out, &deep).expect("nobody else renames it");
            }
        });
        let script = "path_open 3 0 dir/deep 2 2 0\n\
             repeat 20000 cat 3 1 swap/secret\n\
             repeat 5000 cat 3 1 dir/deep/../../../secret\n\
             repeat 5000 cat 4 1 ../secret\n\
             repeat 5000 cat 3 1 dir/deep/../../file\n";
        let answers = answers(&[&format!("{}::/", inside.display())], script);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let Some(answers) = answers else { return };
        for answer in &answers[1..] {
            assert!(!answer.contains("0 secret"), "it got out: {answers:#?}");
        }
        assert!(answers[1].contains("0 mine"), "the race was never won: {answers:#?}");
    });
}

#[test]
fn a_directory_that_may_only_be_read_is_not_changed() {
    let place = place();
    fs::write(place.path().join("file"), "text").expect("it can be written");
    fs::create_dir(place.path().join("dir")).expect("it can be made");
    let before = fs::metadata(place.path().join("file")).expect("it is there");
    check_with(
        ":ro",
        place.path(),
        &[
            ("cat 3 0 file", "0 text"),
            ("list 3 1000", "0 . .. dir file"),
            ("path_open 3 0 file 0 64 0", PERM),
            ("path_open 3 0 file 8 2 0", PERM),
            ("path_open 3 0 new 1 2 0", PERM),
            ("path_create_directory 3 new", PERM),
            ("path_remove_directory 3 dir", PERM),
            ("path_unlink_file 3 file", PERM),
            ("path_rename 3 file 3 new", PERM),
            ("path_link 3 0 file 3 new", PERM),
            ("path_symlink file 3 new", PERM),
            ("path_filestat_set_times 3 0 file 0 0 4", PERM),
            ("fd_filestat_set_times 3 0 0 4", PERM),
            ("path_open 3 0 file 0 2 0", "0 4"),
            ("fd_write 4 x", BADF),
            ("fd_pwrite 4 x 0", BADF),
            ("fd_filestat_set_size 4 0", PERM),
            ("fd_allocate 4 0 10", PERM),
            ("fd_filestat_set_times 4 0 0 4", PERM),
            // What is opened in it inherits that.
            ("path_open 3 0 dir 2 2 0", "0 5"),
            ("path_create_directory 5 new", PERM),
            ("path_open 5 0 new 1 66 0", PERM),
        ],
    );
    let after = fs::metadata(place.path().join("file")).expect("it is there");
    assert_eq!(before.modified().expect("known"), after.modified().expect("known"));
    assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 2);
}

#[test]
fn a_file_that_may_only_be_read_does_not_become_writable_next_door() {
    let (read, write) = (place(), place());
    fs::write(read.path().join("file"), "text").expect("it can be written");
    let dirs = [
        format!("{}::/read:ro", read.path().display()),
        format!("{}::/write", write.path().display()),
    ];
    let script = "path_link 3 0 file 4 file\npath_rename 3 file 4 file\n";
    let Some(answers) = answers(&[&dirs[0], &dirs[1]], script) else { return };
    assert_eq!(answers, [PERM, PERM]);
}

/// Whichever way something is to go: it stays in one of two directories if the other may only be read.
#[test]
fn nothing_goes_between_directories_of_which_one_may_only_be_read() {
    let (read, write) = (place(), place());
    for place in [&read, &write] {
        fs::write(place.path().join("file"), "text").expect("it can be written");
        fs::create_dir(place.path().join("dir")).expect("it can be made");
    }
    let dirs = [
        format!("{}::/read:ro", read.path().display()),
        format!("{}::/write", write.path().display()),
        // The same as the first, but all of it.
        format!("{}::/all", read.path().display()),
    ];
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let calls = [
        ("path_link 3 0 file 4 new", PERM),
        ("path_link 4 0 file 3 new", PERM),
        ("path_rename 3 file 4 new", PERM),
        ("path_rename 4 file 3 new", PERM),
        ("path_rename 3 dir 4 new", PERM),
        ("path_rename 4 dir 3 new", PERM),
        ("path_rename 4 file 3 file", PERM),
        // What was opened keeps the rights of where it was opened, also next door to more.
        ("path_open 3 0 dir 2 2 0", "0 6"),
        ("path_open 5 0 dir 2 2 0", "0 7"),
        ("path_open 6 0 new 1 66 0", PERM),
        ("path_open 7 0 new 1 66 0", "0 8"),
        ("path_rename 7 new 6 newer", PERM),
        ("path_rename 6 new 7 newer", PERM),
        ("path_link 6 0 new 7 newer", PERM),
        ("path_open 6 0 new 0 2 0", "0 9"),
        ("fd_filestat_set_size 9 0", PERM),
        ("fd_renumber 9 8", "0"),
        ("fd_filestat_set_size 8 0", PERM),
        ("fd_filestat_set_times 8 0 0 4", PERM),
        ("fd_write 8 x", BADF),
        // Two that may be changed are as one.
        ("path_link 4 0 file 5 new", "0"),
        ("path_rename 5 dir 4 moved", "0"),
    ];
    let script: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    let Some(answers) = answers(&dirs, &script) else { return };
    let expected: Vec<&str> = calls.iter().map(|(_, answer)| *answer).collect();
    assert_eq!(answers, expected);
}

#[test]
fn a_directory_that_moves_while_it_is_open_leads_nowhere_new() {
    let (outside, inside) = prison();
    let other = place();
    fs::write(other.path().join("theirs"), "theirs").expect("it can be written");
    let dirs = [format!("{}::/", inside.display()), format!("{}::/other", other.path().display())];
    let calls = [
        ("path_open 3 0 dir/deep 2 2 0", "0 5"),
        ("path_open 5 0 inner 1 66 0", "0 6"),
        // Up, next door, and where its own link then leads.
        ("path_rename 3 dir/deep 3 up_here", "0"),
        ("cat 5 0 ../file", PERM),
        ("path_rename 3 up_here 4 deep", "0"),
        ("cat 5 0 ../theirs", PERM),
        ("path_symlink ../theirs 5 up", "0"),
        ("cat 5 1 up", PERM),
        ("path_open 5 0 .. 2 2 0", PERM),
        ("path_rename 5 inner 4 inner", "0"),
        ("path_rename 5 ../theirs 5 mine", PERM),
        ("cat 5 0 inner", NOENT),
        // It goes on as what it is, also when it has no name any more.
        ("path_open 5 0 new 1 66 0", "0 7"),
        ("path_unlink_file 5 new", "0"),
        ("path_unlink_file 5 up", "0"),
        ("path_remove_directory 4 deep", "0"),
        ("path_open 5 0 new 1 66 0", NOENT),
        ("cat 5 0 ../theirs", PERM),
    ];
    let script: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    let Some(answers) = answers(&[&dirs[0], &dirs[1]], &script) else { return };
    let expected: Vec<&str> = calls.iter().map(|(_, answer)| *answer).collect();
    assert_eq!(answers, expected);
    assert_eq!(fs::read_dir(outside.path()).expect("it is there").count(), 2, "nothing was made");
}
