//! The page of figures, made from what the services register when they run.

use embedded::VictoriaMetrics;
use kit::{
    admin::Figure,
    config::{Durability, Settings},
};
use stack::Stack;
use std::{fmt::Write, path::Path, time::Duration};

/// Of which service a figure is: `mastwatch_<service>_…`; of none where it is of the process.
fn service_of(figure: &Figure) -> Option<&'static str> {
    let rest = figure.name.strip_prefix("mastwatch_")?;
    mastwatch::compose::SERVICES
        .into_iter()
        .find(|name| rest.strip_prefix(name).is_some_and(|more| more.starts_with('_')))
}

fn page(figures: &[Figure]) -> String {
    let mut page = String::from(
        "# Figures of the processes\n\n\
         What `/metrics` of the admin port (`admin_address`) tells, as OpenMetrics text: of the log's connection, of the admin port\n\
         itself, and of each service in the process. A figure with labels shows once it has a value. `mastwatch_build_info` says\n\
         which program it is. What is measured of the network is another thing: [metrics](metrics.md).\n\n\
         *Written by `MASTWATCH_WRITE=1 cargo nextest run -p stack the_reference_lists_every_figure` from what the services register.*\n",
    );
    let services = mastwatch::compose::SERVICES.map(Some);
    for service in std::iter::once(None).chain(services) {
        let head = service.map_or("Every process".to_owned(), |name| format!("`{name}`"));
        write!(page, "\n## {head}\n\n| figure | kind | meaning |\n| --- | --- | --- |\n").unwrap();
        for figure in figures.iter().filter(|figure| service_of(figure) == service) {
            writeln!(page, "| `{}` | {} | {} |", figure.name, figure.kind, figure.help).unwrap();
        }
    }
    page
}

/// Every service runs here, so that all they register is in one place.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_lists_every_figure() {
    let stack = Stack::start().await.unwrap();
    let series = VictoriaMetrics::start_temporary(|_| {}).await.unwrap();
    stack.configure("vm_url", &series.url()).unwrap();
    let settings = Settings::load(Some(stack.config())).unwrap();
    let process = mastwatch::compose::process(&settings, &mastwatch::compose::SERVICES, true).await.unwrap();
    let (metrics, board, stop) = (process.metrics(), process.board(), process.stop());
    let running = tokio::spawn(process.run());
    let began = std::time::Instant::now();
    let (mut before, mut same) = (vec![], 0);
    // All of it is there when for a second nothing has come after everybody was ready.
    while same < 10 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", board.report(Durability::Always));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = metrics.list();
        same = if board.report(Durability::Always).ready && now == before { same + 1 } else { 0 };
        before = now;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    for service in mastwatch::compose::SERVICES {
        assert!(before.iter().any(|figure| service_of(figure) == Some(service)), "{service}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/figures.md");
    if std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1") {
        std::fs::write(&path, page(&before)).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page(&before),
        "`MASTWATCH_WRITE=1 cargo nextest run -p stack the_reference_lists_every_figure` writes {}",
        path.display()
    );
}
