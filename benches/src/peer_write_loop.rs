//! The peer that nothing can beat by much: blocking `write(2)` to one socket after the other.
//!
//! A process of its own. The first connection is the control: each line on it is written as one
//! frame to every socket that connected later, and answered with how many those were. It must stay
//! this plain: it is the yardstick.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, Result};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\r\nretry: 2000\n: keep-alive\n";

/// Serves until the control connection ends.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
    // The start is noticed by a connection that is closed at once: the control is the first that
    // says something.
    let control = loop {
        let (stream, _) = listener.accept()?;
        if stream.peek(&mut [0]).is_ok_and(|count| count == 1) {
            break stream;
        }
    };
    let sockets = Arc::new(Mutex::new(Vec::new()));
    let accepted = Arc::clone(&sockets);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(stream) = greet(stream) {
                accepted.lock().expect("no holder panics").push(stream);
            }
        }
    });
    let mut answers = control.try_clone()?;
    for (number, line) in BufReader::new(control).lines().enumerate() {
        let line = line?;
        let frame = format!("id: {number}\ndata: {line}\n\n").into_bytes();
        let mut sockets = sockets.lock().expect("no holder panics");
        for socket in sockets.iter_mut() {
            socket.write_all(&frame)?;
        }
        answers.write_all(format!("{}\n", sockets.len()).as_bytes())?;
    }
    Ok(())
}

/// Reads the request, which fits into one read, and answers its head.
fn greet(mut stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    let count = stream.read(&mut [0; 4096])?;
    anyhow::ensure!(count > 0, "closed without a request");
    stream.write_all(HEAD)?;
    Ok(stream)
}
