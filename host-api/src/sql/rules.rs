//! What SQL may do beside reading and writing the database that it was opened for. SQLite asks while it
//! compiles a statement.

use rusqlite::hooks::{AuthAction, Authorization};

use super::scene::{self, Scene};

/// Settings that concern only the connection's own database, and questions. What is in no list is
/// refused.
const PRAGMAS: [&str; 58] = [
    "analysis_limit",
    "application_id",
    "auto_vacuum",
    "automatic_index",
    "cache_size",
    "cache_spill",
    "case_sensitive_like",
    "cell_size_check",
    "checkpoint_fullfsync",
    "collation_list",
    "compile_options",
    "count_changes",
    "data_version",
    "database_list",
    "default_cache_size",
    "defer_foreign_keys",
    "empty_result_callbacks",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "full_column_names",
    "fullfsync",
    "function_list",
    "ignore_check_constraints",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "journal_size_limit",
    "legacy_alter_table",
    "legacy_file_format",
    "locking_mode",
    "max_page_count",
    "module_list",
    "optimize",
    "page_count",
    "page_size",
    "pragma_list",
    "query_only",
    "quick_check",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "schema_version",
    "secure_delete",
    "short_column_names",
    "shrink_memory",
    "synchronous",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_autocheckpoint",
    "wal_checkpoint",
];

/// Hints about resources, which are ours to give: they do nothing. (Temporary data are in memory, files
/// are not mapped, there are no further threads, and the limits are those of the process.)
const HINTS: [&str; 6] =
    ["temp_store", "mmap_size", "threads", "soft_heap_limit", "hard_heap_limit", "busy_timeout"];

/// Databases without a file, as `ATTACH` knows them: in memory; temporary, which is in memory, too.
const WITHOUT_FILE: [&str; 2] = [":memory:", ""];

/// Functions that nobody may call. `fts3_tokenizer` gives and takes addresses of the runtime's.
const FORBIDDEN: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// Functions that take the product of their arguments' lengths, and are not ours (`functions.rs`). Nothing can be asked while they work.
const SLOW: [&str; 2] = ["like", "glob"];

/// Most calls of those in a statement: they may all stand between two questions. By feel.
const SLOW_CALLS_MAX: u64 = 32;

/// Most bytes of stack that SQLite may have under itself when it compiles a part of a statement: a
/// quarter of a pool's thread's, as it asks at each `SELECT` and not in between.
const STACK_BYTES_MAX: usize = 4 << 20;

/// Whether a part of a statement is allowed; if not, the scene is told why.
pub(super) fn judge(scene: &Scene, action: AuthAction<'_>) -> Authorization {
    if scene::stack_used() > STACK_BYTES_MAX {
        scene
            .refuse("the statement, with the views that it uses, is nested too deeply".to_string());
        return Authorization::Deny;
    }
    let is_one_of =
        |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let why = match action {
        AuthAction::Attach { filename } if WITHOUT_FILE.contains(&filename) => {
            return Authorization::Allow;
        }
        AuthAction::Attach { filename } => format!(
            "\"{filename}\" cannot be attached, nor written by VACUUM INTO: only \":memory:\" can; \
             open it as a connection of its own"
        ),
        AuthAction::Pragma { pragma_name, .. } => {
            let name = pragma_name.to_ascii_lowercase();
            if PRAGMAS.contains(&&*name) {
                return Authorization::Allow;
            }
            if HINTS.contains(&&*name) {
                return Authorization::Ignore;
            }
            format!("PRAGMA {name} is not allowed")
        }
        AuthAction::Function { function_name } if is_one_of(&FORBIDDEN, function_name) => {
            format!("the function {function_name} is not allowed")
        }
        AuthAction::Function { function_name }
            if is_one_of(&SLOW, function_name) && scene.count_slow_call() > SLOW_CALLS_MAX =>
        {
            format!(
                "the statement calls {} more than {SLOW_CALLS_MAX} times in all, views included",
                SLOW.join(", ")
            )
        }
        // `ATTACH` of something that is not a plain text is among them.
        AuthAction::Unknown { code, .. } => {
            format!("this kind of statement (SQLite's action {code}) is not allowed")
        }
        _ => return Authorization::Allow,
    };
    scene.refuse(why);
    Authorization::Deny
}
