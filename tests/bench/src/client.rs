//! An HTTP client that costs next to nothing, so that what is measured is the server.
//!
//! One request at a time on a connection that stays open. Understands exactly what our own servers
//! answer: HTTP/1.1 with a `Content-Length`.

use anyhow::{Context, bail};
use std::{fmt::Write as _, net::SocketAddr, str};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection to a server.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What a server answered.
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// How long it asks to be left alone, in seconds.
    pub(crate) retry_after_s: Option<u64>,
    /// The body.
    pub(crate) body: &'a str,
}

/// The text of a POST.
pub(crate) fn post(path: &str, token: &str, content_type: &str, body: &str) -> String {
    let mut text = String::with_capacity(body.len() + 256);
    write!(
        text,
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a string takes everything");
    text
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer. After an error the connection is of no use any more.
    pub(crate) async fn ask(&mut self, request: &str) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            let Some(head_bytes) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = str::from_utf8(&self.buffer[..head_bytes]).context("reading the head of an answer")?;
            let length: usize =
                header(head, "content-length").context("an answer without a length")?.parse()?;
            if length > ANSWER_BYTES_MAX {
                bail!("an answer of {length} bytes");
            }
            let whole = head_bytes + 4 + length;
            if self.buffer.len() < whole {
                continue;
            }
            let status = head.get(9..12).context("an answer without a status")?.parse()?;
            let retry_after_s = header(head, "retry-after").and_then(|seconds| seconds.parse().ok());
            let body = str::from_utf8(&self.buffer[head_bytes + 4..whole]).context("reading an answer")?;
            return Ok(Answer { status, retry_after_s, body });
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(called, _)| called.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn answers_are_read_whole_though_they_come_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            for answer in [
                "HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"id\":\"x\"}\n",
                "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
            ] {
                assert!(peer.read(&mut asked).await.unwrap() > 0);
                for piece in answer.as_bytes().chunks(7) {
                    peer.write_all(piece).await.unwrap();
                    peer.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut connection = Connection::open(address).await.unwrap();
        let request = post("/x", "t", "text/plain", "body");
        assert!(request.ends_with("content-length: 4\r\n\r\nbody"));
        let answer = connection.ask(&request).await.unwrap();
        assert_eq!((answer.status, answer.body, answer.retry_after_s), (202, "{\"id\":\"x\"}\n", None));
        let answer = connection.ask(&request).await.unwrap();
        assert_eq!((answer.status, answer.body, answer.retry_after_s), (503, "", Some(2)));
        server.await.unwrap();
        assert!(connection.ask(&request).await.is_err());
    }
}
