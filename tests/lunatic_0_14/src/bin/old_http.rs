//! `submillisecond` 0.4.1: an HTTP server. Argument: the address.

use serde::{Deserialize, Serialize};
use submillisecond::params::Params;
use submillisecond::{router, Application, Json};

#[derive(Deserialize, Serialize)]
struct Person {
    name: String,
    age: u32,
}

fn hello() -> &'static str {
    "Hello, world!"
}

fn greet(params: Params) -> String {
    format!("Hello, {}!", params.get("name").unwrap_or("nobody"))
}

fn birthday(Json(mut person): Json<Person>) -> Json<Person> {
    person.age += 1;
    Json(person)
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_string());
    println!("serving {address}");
    Application::new(router! {
        GET "/" => hello
        GET "/hello/:name" => greet
        POST "/birthday" => birthday
    })
    .serve(address)
}
