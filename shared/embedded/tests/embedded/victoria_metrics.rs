//! The private VictoriaMetrics, as a real one.

use embedded::VictoriaMetrics;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn ask(url: &str, request: &str, body: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks until the sample is there: a query looks at whole seconds.
fn until_found(url: &str) {
    let begun = Instant::now();
    loop {
        let found = ask(url, "GET /api/v1/query?query=up_test", "");
        if found.contains("\"42\"") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "not found within 10 s: {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_can_be_read_back_also_after_a_stop_and_nothing_answers_after_a_kill() {
    let metrics = VictoriaMetrics::start_temporary(|_| {}).await.unwrap();
    let url = metrics.url();
    let written = ask(&url, "POST /api/v1/import/prometheus", "up_test{site=\"a\"} 42\n");
    assert!(written.starts_with("HTTP/1.0 204"), "{written}");
    ask(&url, "GET /internal/force_flush", "");
    until_found(&url);

    metrics.restart().await.unwrap();
    assert_eq!(metrics.url(), url);
    until_found(&url);

    metrics.kill();
    assert!(TcpStream::connect(url.strip_prefix("http://").unwrap()).is_err());
}
