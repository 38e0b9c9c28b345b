//! Configurations, which a process makes for its children: three interfaces to one thing.
//!
//! `older` and `wasi` are what programs for Lunatic 0.13 import; their functions have no way to answer
//! an error. `precise` says what those cannot, and answers errors.
//!
//! **A configuration is at most what its maker has.** That is checked here, when something is set: so
//! `spawn` need not look, and no process can be given more than its parent by any chain of calls.
//! Where an interface can say no it does; where it cannot, the most that may be had is set, and the
//! log is told. Programs that ask for more than they will use go on as they did.
//!
//! A configuration is shared with the processes that were spawned with it, and copied when it is
//! changed thereafter: each process keeps what it was given.

mod dirs;
pub(crate) mod older;
pub(crate) mod precise;
pub(crate) mod wasi;

use std::sync::Arc;

use crate::bind::{Call, Fault};
use crate::config::{ConfigRef, Limit, ProcessConfig, Right, TEXT_BYTES};
use crate::memory::Ptr;
use crate::rights::Denied;

/// Configurations that a process may have at once. By feel: each may hold `TEXT_BYTES_MAX`.
const CONFIGS_MAX: usize = 4096;

/// Bytes of all arguments, variables and names of directories of one configuration.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// "My own", where a configuration is asked for.
const OWN: i64 = -1;

impl Call<'_, '_> {
    /// The configuration that a child is to have.
    pub(super) fn config_for_child(&self, config_id: i64) -> Result<ConfigRef, Fault> {
        if config_id == OWN {
            return Ok(self.state.config.clone());
        }
        let config = self.state.resources.get::<Arc<ProcessConfig>>(config_id.cast_unsigned())?;
        Ok(ConfigRef::Own(Arc::clone(config)))
    }

    /// Keeps a configuration for the process. -1: it may not have any.
    fn add_config(
        &mut self,
        make: impl FnOnce(&ProcessConfig) -> ProcessConfig,
    ) -> Result<i64, Fault> {
        if self.state.may(Right::Configs).is_err() {
            return Ok(-1);
        }
        if self.state.resources.all::<Arc<ProcessConfig>>().count() >= CONFIGS_MAX {
            return Err(Fault::new(format!(
                "the process has {CONFIGS_MAX} configurations; drop some (drop_config)"
            )));
        }
        let mut config = make(&self.state.config);
        config.weigh();
        let max = self.state.config.resources_max;
        let id = self.state.resources.add(Arc::new(config), max)?;
        self.state.tell_held();
        Ok(id.cast_signed())
    }

    fn config(&self, config_id: u64) -> Result<&ProcessConfig, Fault> {
        Ok(self.state.resources.get::<Arc<ProcessConfig>>(config_id)?)
    }

    fn change_config<R>(
        &mut self,
        config_id: u64,
        change: impl FnOnce(&mut ProcessConfig) -> R,
    ) -> Result<R, Fault> {
        let result =
            self.state.resources.change(config_id, |config: &mut Arc<ProcessConfig>| {
                let config = Arc::make_mut(config);
                let result = change(config);
                config.weigh();
                result
            })?;
        self.state.tell_held();
        Ok(result)
    }

    /// Sets a limit to `value`, or to the most that may be had.
    fn set_limit(
        &mut self,
        config_id: u64,
        limit: Limit,
        value: u64,
    ) -> Result<Result<(), Denied>, Fault> {
        let most = self.state.config.limit(limit);
        self.change_config(config_id, |config| config.set_limit(limit, value.min(most)))?;
        if value.min(limit.highest()) <= most {
            return Ok(Ok(()));
        }
        let asked = if value == u64::MAX { "no limit".to_string() } else { value.to_string() };
        let name = limit.name();
        Ok(Err(self.state.denied(format!(
            "a configuration with max-{name} = {asked}: the process itself has {most}"
        ))))
    }

    /// Gives or takes a right, if it may be had.
    fn set_right(
        &mut self,
        config_id: u64,
        right: Right,
        has: bool,
    ) -> Result<Result<(), Denied>, Fault> {
        let may = !has || self.state.config.has(right);
        self.change_config(config_id, |config| config.set_right(right, has && may))?;
        if may {
            return Ok(Ok(()));
        }
        Ok(Err(self.state.denied(format!(
            "a configuration with the right to {}: the process itself has it not",
            right.verb()
        ))))
    }

    /// A text of the guest's, for a configuration.
    fn config_text(&self, (at, len): (Ptr, u32), what: &str) -> Result<String, Fault> {
        let bytes = self.memory.slice(at, len)?;
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(Fault::new(format!(
                "{what} of {len} bytes, there is room for {TEXT_BYTES_MAX}"
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Fault::new(format!("{what} that is not UTF-8")))?;
        if text.contains('\0') {
            return Err(Fault::new(format!("{what} with a zero byte in it: {text:?}")));
        }
        Ok(text.to_string())
    }

    /// Whether a configuration has room for so many bytes more.
    fn check_text_room(&self, config_id: u64, more: usize) -> Result<(), Fault> {
        let config = self.config(config_id)?;
        let args = config.args.iter().map(|arg| arg.len() + TEXT_BYTES);
        let env = config.env.iter().map(|(key, value)| key.len() + value.len() + TEXT_BYTES);
        let dirs = config.dirs.iter().map(|dir| dir.name.len() + TEXT_BYTES);
        if args.chain(env).chain(dirs).sum::<usize>() + more + TEXT_BYTES > TEXT_BYTES_MAX {
            return Err(Fault::new(format!(
                "arguments, variables and names of directories of more than {TEXT_BYTES_MAX} bytes \
                 together, each counted as {TEXT_BYTES} more than it has"
            )));
        }
        Ok(())
    }

    fn add_variable(
        &mut self,
        config_id: u64,
        key: (Ptr, u32),
        value: (Ptr, u32),
    ) -> Result<(), Fault> {
        let (key, value) =
            (self.config_text(key, "a variable's name")?, self.config_text(value, "a variable")?);
        if key.is_empty() || key.contains('=') {
            return Err(Fault::new(format!("{key:?} is no name of a variable")));
        }
        self.check_text_room(config_id, key.len() + value.len())?;
        self.change_config(config_id, |config| {
            config.env.retain(|(known, _)| known != key.as_bytes());
            config.env.push((key.into_bytes(), value.into_bytes()));
        })
    }

    fn add_argument(&mut self, config_id: u64, argument: (Ptr, u32)) -> Result<(), Fault> {
        let argument = self.config_text(argument, "an argument")?;
        self.check_text_room(config_id, argument.len())?;
        self.change_config(config_id, |config| config.args.push(argument.into_bytes()))
    }
}
