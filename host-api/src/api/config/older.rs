//! `lunatic::process`: configurations as Lunatic 0.13 has them.

use std::sync::Arc;

use crate::bind::{Fault, host_functions};
use crate::config::{Limit, ProcessConfig, Right};

/// No limit of fuel, as these functions say it.
const UNLIMITED_FUEL: u64 = 0;

host_functions! {
    /// Configurations: what a process that is spawned may do and have. `create_config` makes one, the
    /// others change it, `spawn` takes its id; `lunatic::config` has more of them. A configuration is
    /// at most what its maker has: where more is asked for, the most that may be had is set.
    pub(crate) MODULE: "lunatic::process";

    /// Makes a configuration and answers its id, or -1 if the caller may not make any. It grants the
    /// standard streams, and the network as the caller may use it; its limits are the caller's.
    fn create_config(call) -> Result<i64, Fault> {
        call.add_config(|mine| {
            let mut config = mine.nothing_for_child();
            config.network = mine.network.clone();
            config
        })
    }

    /// Forgets a configuration. Processes that were spawned with it keep it. Traps if there is none
    /// with this id.
    fn drop_config(call, config_id: u64) -> Result<(), Fault> {
        call.state.resources.remove::<Arc<ProcessConfig>>(config_id)?;
        call.state.tell_held();
        Ok(())
    }

    /// Sets the most bytes of linear memory.
    fn config_set_max_memory(call, config_id: u64, max_memory: u64) -> Result<(), Fault> {
        let _logged = call.set_limit(config_id, Limit::Memory, max_memory)?;
        Ok(())
    }

    /// The most bytes of linear memory that its processes may have.
    fn config_get_max_memory(call, config_id: u64) -> Result<u64, Fault> {
        Ok(call.config(config_id)?.limit(Limit::Memory))
    }

    /// Sets the fuel that a process may use, in units of 100,000 instructions; 0 means any amount.
    /// Who has used it up ends.
    fn config_set_max_fuel(call, config_id: u64, max_fuel: u64) -> Result<(), Fault> {
        let max_fuel = if max_fuel == UNLIMITED_FUEL { u64::MAX } else { max_fuel };
        // "Any amount" means "as much as I have": no reason to complain.
        let most = call.state.config.limit(Limit::Fuel);
        let asked = if max_fuel == u64::MAX { most } else { max_fuel };
        let _logged = call.set_limit(config_id, Limit::Fuel, asked)?;
        Ok(())
    }

    /// The fuel that a process may use, 0 for any amount.
    fn config_get_max_fuel(call, config_id: u64) -> Result<u64, Fault> {
        Ok(call.config(config_id)?.fuel_max.unwrap_or(UNLIMITED_FUEL))
    }

    /// 1 if a process may compile modules, else 0.
    fn config_can_compile_modules(call, config_id: u64) -> Result<u32, Fault> {
        Ok(call.config(config_id)?.has(Right::Compile).into())
    }

    /// Allows it to compile modules, unless `can` is 0.
    fn config_set_can_compile_modules(call, config_id: u64, can: u32) -> Result<(), Fault> {
        let _logged = call.set_right(config_id, Right::Compile, can != 0)?;
        Ok(())
    }

    /// 1 if a process may make configurations, else 0.
    fn config_can_create_configs(call, config_id: u64) -> Result<u32, Fault> {
        Ok(call.config(config_id)?.has(Right::Configs).into())
    }

    /// Allows it to make configurations, unless `can` is 0.
    fn config_set_can_create_configs(call, config_id: u64, can: u32) -> Result<(), Fault> {
        let _logged = call.set_right(config_id, Right::Configs, can != 0)?;
        Ok(())
    }

    /// 1 if a process may spawn others, else 0.
    fn config_can_spawn_processes(call, config_id: u64) -> Result<u32, Fault> {
        Ok(call.config(config_id)?.has(Right::Spawn).into())
    }

    /// Allows it to spawn others, unless `can` is 0.
    fn config_set_can_spawn_processes(call, config_id: u64, can: u32) -> Result<(), Fault> {
        let _logged = call.set_right(config_id, Right::Spawn, can != 0)?;
        Ok(())
    }
}
