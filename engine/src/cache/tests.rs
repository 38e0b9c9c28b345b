//! What is trusted, what is not, and what eviction leaves.

use std::os::unix::fs::symlink;
use std::thread;

use super::*;

const PAYLOAD: &[u8] = b"machine code, as far as this file is concerned";

fn filled() -> (tempfile::TempDir, Cache, Key, PathBuf) {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join("deep").join("lunatic");
    let cache = Cache::open(&directory).expect("a usable cache");
    let key = Key::of(&[b"some", b"module"]);
    cache.store(&key, PAYLOAD);
    let path = directory.join(key.file_name());
    (home, cache, key, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn what_was_stored_is_found_by_its_key_only() {
    let (_home, cache, key, _) = filled();
    assert_eq!(cache.load(&key).as_deref(), Some(PAYLOAD));
    assert_eq!(cache.load(&Key::of(&[b"somemodule"])), None);
    assert_eq!(cache.load(&Key::of(&[b"so", b"memodule"])), None);
}

#[test]
fn directory_and_files_are_private() {
    let (_home, cache, _, path) = filled();
    assert_eq!(mode(&cache.directory), PRIVATE_DIRECTORY);
    assert_eq!(mode(&path), PRIVATE_FILE);
}

#[test]
fn a_change_of_any_byte_is_a_miss_and_a_store_repairs_it() {
    let (_home, cache, key, path) = filled();
    let good = fs::read(&path).expect("the entry");
    assert_eq!(good.len(), HEADER_BYTES + PAYLOAD.len());
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&path, bad).expect("write");
        assert_eq!(cache.load(&key), None, "byte {place}");
    }
    cache.store(&key, PAYLOAD);
    assert_eq!(cache.load(&key).as_deref(), Some(PAYLOAD));
}

#[test]
fn an_entry_of_any_other_length_is_a_miss() {
    let (_home, cache, key, path) = filled();
    let good = fs::read(&path).expect("the entry");
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).expect("write");
        assert_eq!(cache.load(&key), None, "length {length}");
    }
    let mut long = good.clone();
    long.push(0);
    fs::write(&path, long).expect("write");
    assert_eq!(cache.load(&key), None);
}

#[test]
fn an_entry_under_another_name_is_a_miss() {
    let (_home, cache, _, path) = filled();
    let other = Key::of(&[b"other"]);
    fs::copy(&path, cache.directory.join(other.file_name())).expect("copy");
    assert_eq!(cache.load(&other), None);
}

#[test]
fn an_entry_that_others_may_write_is_a_miss() {
    let (_home, cache, key, path) = filled();
    for mode in [0o620, 0o602, 0o666] {
        set_mode(&path, mode);
        assert_eq!(cache.load(&key), None, "mode {mode:o}");
    }
    set_mode(&path, 0o644);
    assert!(cache.load(&key).is_some(), "reading does no harm");
}

#[test]
fn an_entry_that_is_no_file_is_a_miss() {
    let (_home, cache, key, path) = filled();
    let elsewhere = cache.directory.join("elsewhere");
    fs::rename(&path, &elsewhere).expect("rename");
    symlink(&elsewhere, &path).expect("symlink");
    assert_eq!(cache.load(&key), None, "a link");
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("create");
    assert_eq!(cache.load(&key), None, "a directory");
}

#[test]
fn a_directory_that_others_may_write_or_that_is_none_is_not_used() {
    let home = tempfile::tempdir().expect("a directory");
    for mode in [0o770, 0o707, 0o777] {
        let directory = home.path().join(format!("{mode:o}"));
        fs::create_dir(&directory).expect("create");
        set_mode(&directory, mode);
        assert!(Cache::open(&directory).is_none(), "mode {mode:o}");
    }
    let file = home.path().join("file");
    fs::write(&file, b"").expect("write");
    assert!(Cache::open(&file).is_none());
    assert!(Cache::open(file.join("below")).is_none());
}

#[test]
fn concurrent_writers_and_readers_see_whole_entries_only() {
    const WRITERS: u8 = 4;
    const ROUNDS: usize = 50;
    let (_home, cache, _, _) = filled();
    let key = Key::of(&[b"contended"]);
    let payload = |writer: u8| vec![writer; 10_000];
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (cache, key) = (&cache, &key);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    cache.store(key, &payload(writer));
                    let found = cache.load(key).expect("somebody has written a whole entry");
                    assert!(found[0] < WRITERS && found == payload(found[0]));
                }
            });
        }
    });
    let left = fs::read_dir(&cache.directory).expect("entries").count();
    assert_eq!(left, 2, "this entry, the one of the set-up, no temporary file");
}

#[test]
fn the_oldest_entries_go_first_and_abandoned_files_with_them() {
    let (_home, cache, _, first) = filled();
    let entry = fs::metadata(&first).expect("metadata").len();
    let now = SystemTime::now();
    let age = |path: &Path, hours: u32| {
        let time = now - Duration::from_secs(3600) * hours;
        let file = OpenOptions::new().write(true).open(path).expect("open");
        file.set_modified(time).expect("set the time");
    };
    age(&first, 9);
    let keys: Vec<_> = (0..4u8).map(|index| Key::of(&[&[index]])).collect();
    for (key, hours) in keys.iter().zip([4, 3, 2, 1]) {
        cache.store(key, PAYLOAD);
        age(&cache.directory.join(key.file_name()), hours);
    }
    let abandoned = cache.directory.join(format!("{TEMPORARY_PREFIX}1-2-3"));
    fs::write(&abandoned, b"half").expect("write");
    age(&abandoned, 2);
    cache.evict(5 * entry, 2 * entry).expect("nothing to do");
    assert!(first.exists() && !abandoned.exists());
    cache.evict(5 * entry - 1, 2 * entry).expect("eviction");
    let kept: Vec<_> = keys.iter().map(|key| cache.load(key).is_some()).collect();
    assert!(!first.exists());
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn a_hit_makes_an_old_entry_young() {
    let (_home, cache, key, path) = filled();
    let old = SystemTime::now() - 2 * RENEW_AFTER;
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    file.set_modified(old).expect("set the time");
    assert!(cache.load(&key).is_some());
    let modified = fs::metadata(&path).expect("metadata").modified().expect("a time");
    assert!(modified > old + RENEW_AFTER);
}
