//! The peer that nothing can beat by much: blocking `write(2)` to one socket after the other.
//!
//! A process of its own. The first connection is the control: each line on it names a path and an event,
//! which is written as one frame to every socket that asked for that path, and answered with how many
//! those were. It must stay this plain: it is the yardstick.

use std::{
    collections::HashMap,
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
    let sockets: Arc<Mutex<HashMap<String, Vec<TcpStream>>>> = Arc::default();
    let accepted = Arc::clone(&sockets);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok((path, stream)) = greet(stream) {
                let mut sockets = accepted.lock().expect("no holder panics");
                sockets.entry(path).or_default().push(stream);
            }
        }
    });
    let mut answers = control.try_clone()?;
    for (number, line) in BufReader::new(control).lines().enumerate() {
        let line = line?;
        let (path, event) = line.split_once(' ').context("a path and an event")?;
        let frame = format!("id: {number}\ndata: {event}\n\n").into_bytes();
        let mut sockets = sockets.lock().expect("no holder panics");
        let sockets = sockets.get_mut(path).map_or(&mut [][..], Vec::as_mut_slice);
        for socket in &mut *sockets {
            socket.write_all(&frame)?;
        }
        answers.write_all(format!("{}\n", sockets.len()).as_bytes())?;
    }
    Ok(())
}

/// Reads the request, which fits into one read, and answers its head; says which path it asked for.
fn greet(mut stream: TcpStream) -> Result<(String, TcpStream)> {
    stream.set_nodelay(true)?;
    let mut request = [0; 4096];
    let count = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..count]);
    let path = request.split(' ').nth(1).context("no request line")?;
    stream.write_all(HEAD)?;
    Ok((path.to_owned(), stream))
}
