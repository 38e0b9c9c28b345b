//! An echo server as one writes it with tokio: a task for each connection.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

pub(crate) fn serve() -> io::Result<()> {
    crate::raise_open_files_limit();
    let workers = crate::WORKERS.parse().expect("a number");
    Builder::new_multi_thread().worker_threads(workers).enable_io().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        // Accepting is a task, too: what runs here runs on no worker.
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(echo(stream));
            }
        });
        serving.await?
    })
}

async fn echo(mut stream: TcpStream) {
    let _refused = stream.set_nodelay(true);
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}
