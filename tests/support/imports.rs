//! Everything that a guest may import, as the binary itself lists it: tests that attack all of it need
//! no change for a new function.

use super::run;

/// A function that guests may import, as the binary lists it.
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) params: Vec<String>,
    pub(crate) result: Option<String>,
}

/// The binary's own list, so that new functions are attacked without a change here.
pub(crate) fn imports() -> Vec<Import> {
    let list = run(&["imports"], b"").expect_quiet_success().stdout;
    let imports: Vec<Import> = list
        .lines()
        .map(|line| Import::parse(line).unwrap_or_else(|| panic!("no function: {line:?}")))
        .collect();
    assert!(imports.len() >= 70, "WASI alone has 46 functions: {list}");
    imports
}

impl Import {
    /// `module name(param: type, …) -> type`
    fn parse(line: &str) -> Option<Self> {
        let (module, rest) = line.split_once(' ')?;
        let (name, rest) = rest.split_once('(')?;
        let (params, result) = rest.split_once(')')?;
        let params = params.split(", ").filter(|param| !param.is_empty());
        let types = params.map(|param| Some(param.split_once(": ")?.1.to_string()));
        Some(Self {
            module: module.to_string(),
            name: name.to_string(),
            params: types.collect::<Option<_>>()?,
            result: result.strip_prefix(" -> ").map(str::to_string),
        })
    }

    /// As an import that is called `name`.
    pub(crate) fn declaration(&self, name: &str) -> String {
        let result = self.result.iter().map(|ty| format!("(result {ty})")).collect::<String>();
        format!(
            "(import \"{}\" \"{}\" (func {name} (param {}) {result}))\n",
            self.module,
            self.name,
            self.params.join(" ")
        )
    }

    pub(crate) fn call(&self, name: &str, values: &[i64]) -> String {
        let constant = |(ty, value): (&String, &i64)| match ty.as_str() {
            "i32" => format!("(i32.const {}) ", *value as i32),
            ty => format!("({ty}.const {value}) "),
        };
        let arguments: String = self.params.iter().zip(values).map(constant).collect();
        let call = format!("(call {name} {arguments})");
        if self.result.is_some() { format!("(drop {call})") } else { call }
    }
}

/// A number below `below` (Knuth's linear congruential generator).
pub(crate) fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}
