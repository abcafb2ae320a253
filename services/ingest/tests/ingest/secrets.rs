//! What the front door writes about itself holds no token, whatever form it came in.

use crate::ground::{ground, id, refused};
use events::Grant;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;
use vault::FreshToken;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;
    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_person_reaches_a_log_line() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut g = ground().await;
    g.config.stale_after_s = 0;
    let token = g.router().await;
    let elsewhere = g.token(Grant::Signals, &["192.0.2.0/24"]).await;
    let unknown = FreshToken::random();
    let g = g.open().await;
    let get = |rest: &str, token: &FreshToken| {
        g.client.get(g.url(&format!("/api/webhooks/ppp-status?token={}&{rest}", token.text())))
    };
    id(get("user=alice-smith&status=online&boot=b&seq=9000", &token).send().await.unwrap()).await;
    for (request, status) in [
        (get("user=alice-smith&status=online&boot=b&seq=1", &token), 422),
        (get("user=alice-smith&status=online", &unknown), 401),
        (get("user=alice-smith&status=online", &elsewhere), 403),
        (get("user=alice-smith&status=sideways", &token), 400),
        (g.post("/api/v1/signals", &token).body(format!("[\"{}\"", token.text())), 400),
    ] {
        assert_eq!(refused(request).await.0, status);
    }
    g.close().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for reason in ["stale", "unauthorized", "wrong_source"] {
        assert!(text.contains(&format!("reason=\"{reason}\"")), "{text}");
    }
    for fresh in [&token, &elsewhere, &unknown] {
        let secret = fresh.text().rsplit('_').next().unwrap();
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains("alice-smith"), "{text}");
    // It does say which token it was.
    assert!(text.contains(elsewhere.prefix()), "{text}");
}
