//! `lunatic::wasi`: what a configuration grants of WASI, as Lunatic 0.13 has it.

use std::task::Poll;

use super::dirs::{self, DirToGive};
use crate::bind::{Fault, host_functions};
use crate::fs::DirAccess;
use crate::guest_type::{In, Text};

host_functions! {
    /// What a configuration (see `lunatic::process::create_config`) grants of WASI.
    pub(crate) MODULE: "lunatic::wasi";

    /// Adds an environment variable; one of the same name is replaced. Traps beyond 64 KiB of
    /// arguments, variables and names of directories, and if a text is not UTF-8 or has a zero byte in it.
    fn config_add_environment_variable(
        call, config_id: u64, key_ptr: In<Text>, key_len: u32, value_ptr: In<Text>, value_len: u32,
    ) -> Result<(), Fault> {
        call.add_variable(config_id, (key_ptr, key_len), (value_ptr, value_len))
    }

    /// Adds an argument; the first one is the program's name. Traps as
    /// `config_add_environment_variable` does.
    fn config_add_command_line_argument(
        call, config_id: u64, argument_ptr: In<Text>, argument_len: u32,
    ) -> Result<(), Fault> {
        call.add_argument(config_id, (argument_ptr, argument_len))
    }

    /// Grants a directory under the name `dir`, which is a path as the caller knows it: in a
    /// directory that it was given itself, and not out of it. Any other is not granted, and the log
    /// says so.
    fn config_preopen_dir(
        call, config_id: u64, dir_ptr: In<Text>, dir_len: u32,
    ) -> Poll<Result<(), Fault>> {
        let path = (dir_ptr, dir_len);
        let dir = DirToGive { path, name: path, access: DirAccess::ReadWrite };
        match dirs::give(call, config_id, &dir) {
            Ok(Some(_logged)) => Poll::Ready(Ok(())),
            Ok(None) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }
}
