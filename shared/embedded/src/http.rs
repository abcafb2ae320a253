//! The smallest HTTP request that asks a server on loopback how it is.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any answer asked for here; the rest is not read.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// How long one question may take. A frozen server accepts and says nothing.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks `GET path` of a port on 127.0.0.1: the status code and the body.
///
/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
///
/// # Errors
///
/// When nobody answers within [`ASK_TIMEOUT`], or not in HTTP.
pub(crate) async fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        parse(&String::from_utf8_lossy(&answer))
    };
    tokio::time::timeout(ASK_TIMEOUT, ask).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn parse(answer: &str) -> io::Result<(u16, String)> {
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
        .ok_or_else(not_http)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert_eq!(answer, (503, "no".to_owned()));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(parse("INFO {}\r\n").is_err());
        assert!(parse("HTTP/1.1 \r\n\r\n").is_err());
        assert!(parse("").is_err());
    }
}
