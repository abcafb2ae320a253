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
            let help = figure.help.replace('|', "\\|");
            writeln!(page, "| `{}` | {} | {help} |", figure.name, figure.kind).unwrap();
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/figures.md");
    let is_written = std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let (mut last, mut same) = (vec![], 0);
    // Some figures are registered a moment after everybody was ready. To be written down they must have stayed the same
    // for three seconds; to be compared they may come as late as they like.
    while if is_written { same < 30 } else { page(&last) != there } {
        if began.elapsed() > Duration::from_secs(60) {
            let report = board.report(Durability::Always);
            panic!("`MASTWATCH_WRITE=1` writes {}: {report:?}\n{}", path.display(), page(&last));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = metrics.list();
        same = if board.report(Durability::Always).ready && now == last { same + 1 } else { 0 };
        last = now;
    }
    // As they are called there they are read.
    let text = metrics.text().unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let is_listed = last.iter().any(|figure| figure.name == name && figure.kind == kind);
        assert!(is_listed || name == "mastwatch_build", "{line}");
    }
    if is_written {
        std::fs::write(&path, page(&last)).unwrap();
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    for service in mastwatch::compose::SERVICES {
        assert!(last.iter().any(|figure| service_of(figure) == Some(service)), "{service}");
    }
}
