//! A hundred thousand nodes are read in seconds and in bounded memory: measured in a process of its own.

use network_file::{OnlyWrittenOut, Shape, generate, parse};
use std::time::Instant;

/// The most memory this process has had, MiB.
#[cfg(target_os = "linux")]
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number");
    kib / 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_nodes_are_read_in_seconds_and_half_a_gigabyte() {
    let shape = Shape { towers: 100, sectors: 10, clients: 49, stations: true, ..Shape::default() };
    assert!((99_000..=101_000).contains(&shape.nodes()), "{}", shape.nodes());
    let text = generate(&shape).unwrap().to_yaml();
    let began = Instant::now();
    let network = parse("large.yaml", &text, &OnlyWrittenOut).unwrap();
    let read_in = began.elapsed();
    let tenant = network.tenant_id();
    let keys = vault::MasterKeys::new(vault::MasterKey::random(), vec![]).new_tenant(tenant).0;
    let began = Instant::now();
    let import = network.to_inventory(&keys).unwrap();
    let sealed_in = began.elapsed();
    assert!(import.things.len() > 99_000);
    let (bytes, peak) = (text.len(), peak_mib());
    println!(
        "{} nodes, {bytes} bytes: read in {read_in:?}, laid out in {sealed_in:?}, peak {peak} MiB",
        shape.nodes()
    );
    // Without optimisation and beside other tests; the release build takes a sixth of it.
    assert!(read_in.as_secs() < 30, "{read_in:?}");
    assert!(peak < 500, "{peak} MiB");
}
