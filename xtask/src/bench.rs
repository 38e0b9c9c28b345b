//! `cargo xtask bench`: the benchmarks of benches/, with the guests they need.

use crate::{guests, repository, step, toolchain};
use anyhow::Result;

/// The drivers, each a bench target of the root package.
const DRIVERS: [&str; 2] = ["processes", "kernels"];

pub(crate) fn run(rows: &[String]) -> Result<()> {
    match toolchain::find() {
        Ok(toolchain) => {
            guests::build_with(&toolchain, &[])?;
        }
        Err(error) => eprintln!("the rows of Rust guests are left out: {error:#}"),
    }
    for driver in DRIVERS {
        // The kernels have no rows; they are run when everything is or when they are named.
        let named = rows.iter().any(|row| row == driver);
        if driver == "kernels" && !rows.is_empty() && !named {
            continue;
        }
        if driver == "processes" && rows.len() == 1 && rows[0] == "kernels" {
            continue;
        }
        step::step(driver, || {
            let mut cargo = step::cargo();
            cargo.current_dir(repository::root());
            cargo.args(["bench", "--package", "lunatic-runtime", "--bench", driver, "--"]);
            if !named {
                cargo.args(rows);
            }
            step::run(&mut cargo)
        })?;
    }
    Ok(())
}
