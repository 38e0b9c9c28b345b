//! What `old_http` does, with axum.

use std::io;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Person {
    name: String,
    age: u32,
}

/// Serves until it is killed.
pub(crate) fn serve(address: &str, workers: usize) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).enable_io().build()?.block_on(async {
        let routes = Router::new()
            .route("/", get(async || "Hello, world!"))
            .route("/hello/{name}", get(async |Path(name): Path<String>| format!("Hello, {name}!")))
            .route("/birthday", post(birthday));
        let listener = tokio::net::TcpListener::bind(address).await?;
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _gone = stream.set_nodelay(true);
        });
        axum::serve(listener, routes).await
    })
}

async fn birthday(Json(mut person): Json<Person>) -> Json<Person> {
    person.age += 1;
    Json(person)
}
