//! The command line (being written).
use std::sync::Arc;
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let compiled = lunatic_engine::Compiler::default().compile(&bytes).unwrap();
    let image = lunatic_engine::Image::new(compiled, &lunatic_host_api::functions()).unwrap();
    let node = lunatic_host_api::NodeBuilder::new().workers(2).start().unwrap();
    let config = lunatic_host_api::ProcessConfig::new(lunatic_host_api::Stdio::default());
    let _ = Arc::new(0);
    println!("{:?}", node.run(&image, config, "_start").unwrap());
}
