//! What is made, written and documented reads back as what it was.

use events::{Group, Inventory, Member, Node, NodeKind, TenantId};
use network_file::{Concentrators, NetworkFile, OnlyWrittenOut, Position, Shape, demo, generate, parse};
use proptest::prelude::*;
use std::{collections::BTreeSet, path::Path, sync::Arc};
use vault::{MasterKey, MasterKeys, TenantKeys};

fn read(text: &str) -> NetworkFile {
    parse("made.yaml", text, &OnlyWrittenOut).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The same without places in a text, which writing does not keep.
fn without_places(mut network: NetworkFile) -> NetworkFile {
    network.sites.iter_mut().for_each(|site| site.at = Position::default());
    network.nodes.iter_mut().for_each(|node| node.at = Position::default());
    network.meshes.iter_mut().for_each(|mesh| mesh.at = Position::default());
    network.subscribers.iter_mut().for_each(|subscriber| subscriber.at = Position::default());
    network.channels.iter_mut().for_each(|channel| channel.at = Position::default());
    network.tokens.iter_mut().for_each(|token| token.at = Position::default());
    network
}

fn keys(network: &NetworkFile) -> TenantKeys {
    MasterKeys::new(MasterKey::random(), vec![]).new_tenant(network.tenant_id()).0
}

fn nodes(network: &NetworkFile) -> Vec<Node> {
    let import = network.to_inventory(&keys(network)).expect("the keys are the tenant's");
    import
        .things
        .into_iter()
        .filter_map(|thing| match thing {
            Inventory::Node(node) => Some(Arc::unwrap_or_clone(node)),
            Inventory::Tenant(_)
            | Inventory::Site(_)
            | Inventory::Channel(_)
            | Inventory::Policy(_)
            | Inventory::SiteRemoved { .. }
            | Inventory::NodeRemoved { .. }
            | Inventory::ChannelRemoved { .. } => None,
        })
        .collect()
}

fn members_of(group: &Group, with: &mut dyn FnMut(events::NodeId)) {
    for member in &group.members {
        match member {
            Member::Node(id) => with(*id),
            Member::Group(inner) => members_of(inner, with),
        }
    }
}

/// Every id anything names is the id of something.
fn nothing_dangles(network: &NetworkFile) {
    let nodes = nodes(network);
    let ids: BTreeSet<_> = nodes.iter().map(|node| node.id).collect();
    assert_eq!(ids.len(), nodes.len(), "two nodes have one id");
    let claims: BTreeSet<_> = nodes.iter().flat_map(|node| &node.claims).collect();
    assert_eq!(claims.len(), nodes.iter().map(|node| node.claims.len()).sum::<usize>());
    for node in &nodes {
        for group in &node.needs {
            assert!(!group.members.is_empty());
            members_of(group, &mut |id| {
                assert!(ids.contains(&id), "{} needs what is not there", node.file_id);
            });
        }
        assert!(node.seen_by.is_none_or(|router| ids.contains(&router)), "{}", node.file_id);
        if node.kind == NodeKind::Subscriber {
            assert!(node.seen_by.is_some() && !node.claims.is_empty() && !node.needs.is_empty());
        }
    }
}

fn any_shape() -> impl Strategy<Value = Shape> {
    (0u32..12, 0u32..4, 0u32..7, any::<u64>(), any::<[bool; 5]>()).prop_map(
        |(towers, sectors, clients, seed, [stations, dual_uplinks, rings, loopback, at_core])| Shape {
            towers,
            sectors,
            clients,
            seed,
            stations,
            dual_uplinks,
            rings,
            loopback,
            concentrators: if at_core { Concentrators::Core } else { Concentrators::Towers },
            ..Shape::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever its shape, a network that was made reads back as itself and names nothing that is not there.
    #[test]
    fn any_made_network_reads_back_and_names_nothing_absent(shape in any_shape()) {
        let network = generate(&shape).unwrap();
        let text = network.to_yaml();
        let again = read(&text);
        nothing_dangles(&again);
        prop_assert_eq!(again.nodes.len() + again.subscribers.len(), shape.nodes() as usize);
        prop_assert_eq!(again.to_yaml(), text.clone());
        prop_assert_eq!(without_places(again), without_places(network));
        prop_assert_eq!(generate(&shape).unwrap().to_yaml(), text);
    }

    /// Whatever stands in a text field, it survives being written.
    #[test]
    fn any_name_survives_being_written(name in "\\PC{1,60}", reason in "[ -~]{1,40}") {
        let mut network = demo(1, "http://127.0.0.1:2", "http://127.0.0.1:3");
        network.nodes[0].name.clone_from(&name);
        network.nodes[0].maintenance = vec![events::Window {
            from: events::Time::from_ms(1),
            until: events::Time::from_ms(2),
            reason: reason.clone(),
        }];
        let again = read(&network.to_yaml());
        prop_assert_eq!(&again.nodes[0].name, &name);
        prop_assert_eq!(&again.nodes[0].maintenance[0].reason, &reason);
    }

    /// Whatever bytes come, there is an answer, and it is bounded.
    #[test]
    fn any_text_gets_an_answer(text in "[a-z0-9:{}\\[\\],\"'#&*!|> \n-]{0,200}") {
        if let Err(problems) = parse("x", &text, &OnlyWrittenOut) {
            prop_assert!(!problems.found.is_empty() && problems.found.len() <= network_file::PROBLEMS_MAX);
        }
        let devices = format!("tenant: {{id: a}}\ndevices: {text}\n");
        if let Err(problems) = parse("x", &devices, &OnlyWrittenOut) {
            prop_assert!(!problems.found.is_empty());
        }
    }
}

#[test]
fn another_seed_gives_another_network() {
    let text = |seed| generate(&Shape { seed, ..Shape::default() }).unwrap().to_yaml();
    assert_ne!(text(1), text(2));
}

#[test]
fn the_network_of_the_storm_has_10_111_nodes() {
    let shape = Shape { towers: 10, sectors: 10, clients: 100, ..Shape::default() };
    let network = generate(&shape).unwrap();
    assert_eq!(network.nodes.len() + network.subscribers.len(), 10_111);
    assert_eq!(shape.nodes(), 10_111);
    assert_eq!(Shape::default().nodes(), 23);
}

#[test]
fn a_network_beyond_bounds_is_refused() {
    let shape = Shape { towers: u32::MAX, sectors: u32::MAX, clients: u32::MAX, ..Shape::default() };
    assert!(generate(&shape).is_err());
}

#[test]
fn a_dual_uplink_is_any_of_the_cores() {
    let shape = Shape { dual_uplinks: true, ..Shape::default() };
    let network = generate(&shape).unwrap();
    let of_file = |id| nodes(&network).into_iter().find(|node| node.file_id == id).unwrap();
    let tower = of_file("tower-1");
    assert_eq!(tower.needs.len(), 1);
    assert_eq!(tower.needs[0].mode, events::GroupMode::Any);
    assert_eq!(
        tower.needs[0].members,
        [Member::Node(of_file("core-1").id), Member::Node(of_file("core-2").id)]
    );
}

#[test]
fn a_mesh_member_needs_any_of_its_links_with_the_other_end() {
    let network = generate(&Shape { towers: 3, rings: true, ..Shape::default() }).unwrap();
    let all = nodes(&network);
    let id = |file_id: &str| Member::Node(all.iter().find(|node| node.file_id == file_id).unwrap().id);
    let tower = all.iter().find(|node| node.file_id == "tower-2").unwrap();
    let way = |link, other| {
        Member::Group(Group { mode: events::GroupMode::All, members: vec![id(link), id(other)] })
    };
    assert_eq!(
        tower.needs,
        [Group {
            mode: events::GroupMode::Any,
            members: vec![way("backhaul-1-1", "tower-1"), way("backhaul-1-2", "tower-3")]
        }]
    );
    // The gateway has its own uplink only.
    let gateway = all.iter().find(|node| node.file_id == "tower-1").unwrap();
    assert_eq!(gateway.needs, [Group { mode: events::GroupMode::All, members: vec![id("core-1")] }]);
}

#[test]
fn the_demonstration_has_five_hundred_subscribers_behind_core_3() {
    let network = read(&demo(18_728, "http://127.0.0.1:8081", "http://127.0.0.1:8099/notices").to_yaml());
    nothing_dangles(&network);
    let mut behind: BTreeSet<&str> = ["core-3"].into();
    loop {
        let before = behind.len();
        for node in &network.nodes {
            for need in &node.needs {
                if matches!(need, network_file::Need::Node(id) if behind.contains(id.as_str())) {
                    behind.insert(&node.id);
                }
            }
        }
        if behind.len() == before {
            break;
        }
    }
    let subscribers = network.subscribers.iter().filter(|subscriber| {
        matches!(subscriber.needs.as_slice(), [network_file::Need::Node(id)] if behind.contains(id.as_str()))
    });
    assert_eq!(subscribers.count(), 500);
    let core = network.node("core-3").unwrap();
    assert_eq!(core.name, "Core-3 at Mill Hill");
    assert_eq!(core.watch.unwrap().every_s, 5);
}

#[test]
fn nothing_personal_or_secret_is_in_the_inventory() {
    let token = format!("mw_abcdefghijkl_{}", "x".repeat(32));
    let text = format!(
        "tenant: {{id: hillside}}
channels:
  - {{name: noc, audience: engineers, email: {{server: \"smtp://h\", from: a@b.c, to: [a@b.c], user: SEKRET-1, password: SEKRET-2}}}}
devices:
  - {{id: core-1, class: router, address: 10.0.0.1, login: {{user: SEKRET-3, password: SEKRET-4}}, webhook: {token}}}
subscribers:
  - {{account: c-1, parent: core-1, user: SEKRET-5, person: {{name: SEKRET-6, phone: SEKRET-7, address: SEKRET-8}}}}
  - {{account: c-2, parent: core-1, mac: \"D4CA.6D00.1234\"}}
  - {{account: c-3, parent: core-1, address: 10.66.77.88}}
"
    );
    let network = read(&text);
    let import = network.to_inventory(&keys(&network)).unwrap();
    let shown = format!(
        "{} {} {import:?} {network:?}",
        serde_json::to_string(&import.things).unwrap(),
        serde_json::to_string(&import.tokens).unwrap(),
    );
    for secret in ["SEKRET", "d4:ca", "d4ca", "D4CA", "10.66.77.88", &"x".repeat(32)] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
    assert_eq!(import.persons.len(), 3);
    assert_eq!(import.tokens[0].prefix, "abcdefghijkl");
    assert!(vault::token_matches(&token, &import.tokens[0].sha256));
}

#[test]
fn what_was_sealed_opens_with_the_tenants_keys() {
    let network = demo(18_728, "http://127.0.0.1:8081", "http://127.0.0.1:8099/notices");
    let keys = keys(&network);
    let import = network.to_inventory(&keys).unwrap();
    let core = network.node("core-1").unwrap().login.as_ref().unwrap();
    let node = import.things.iter().find_map(|thing| match thing {
        Inventory::Node(node) if node.file_id == "core-1" => Some(node),
        _ => None,
    });
    let node = node.unwrap();
    let secret = &node.login.as_ref().unwrap().secret;
    let (user, password) = keys.open_login(vault::Field::Login(node.id), secret).unwrap();
    assert_eq!((user.as_str(), password.as_str()), (core.user.reveal(), core.password.reveal()));

    let person = &import.persons[0];
    let opened = keys.open_person(person.node, &person.sealed).unwrap();
    assert_eq!(opened.user.as_deref(), Some("pppoe-000001"));
    // Importing the same file again lays down the same.
    assert_eq!(network.to_inventory(&keys).unwrap(), import);
}

#[test]
fn keys_of_another_tenant_are_refused() {
    let network = demo(18_728, "http://127.0.0.1:8081", "http://127.0.0.1:8099/notices");
    let other = MasterKeys::new(MasterKey::random(), vec![]).new_tenant(TenantId::of("valley")).0;
    assert!(network.to_inventory(&other).is_err());
}

#[test]
fn no_node_is_larger_than_an_event() {
    // The bound of what one thing may name, at its worst.
    let mut text = String::from("tenant: {id: a}\ndevices:\n");
    let ids: Vec<String> = (0..256).map(|n| format!("d{n}")).collect();
    for id in &ids {
        text.push_str(&format!("  - {{id: {id}, class: switch}}\n"));
    }
    text.push_str("services:\n");
    let windows = vec![
        format!(
            "{{from: \"2026-01-01T00:00:00Z\", until: \"2027-01-01T00:00:00Z\", reason: {}}}",
            "r".repeat(900)
        );
        50
    ];
    text.push_str(&format!(
        "  - {{id: x, needs: [{{any: [{}]}}], maintenance: [{}]}}\n",
        ids.join(", "),
        windows.join(", ")
    ));
    let largest = nodes(&read(&text)).iter().map(|n| serde_json::to_vec(n).unwrap().len()).max().unwrap();
    assert!(largest < 64 * 1024, "{largest}");
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn every_sample_parses_and_is_what_the_generator_makes() {
    let dir = root().join("examples/networks");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let network = parse(&path.display().to_string(), &text, &OnlyWrittenOut)
                .unwrap_or_else(|problems| panic!("{problems}"));
            nothing_dangles(&network);
            seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    seen.sort();
    let made = samples();
    assert_eq!(seen, made.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    for (name, text) in made {
        let written = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(
            written == text,
            "{name} is not what the generator makes; run `cargo test -p network-file --test samples -- --ignored write_samples`"
        );
    }
}

/// The samples of the repository, by name.
fn samples() -> [(&'static str, String); 4] {
    let made = |what: &str, network: &NetworkFile| {
        format!(
            "# {what}\n# Made by the generator of `shared/network-file`: its passwords and tokens guard nothing.\n{}",
            network.to_yaml()
        )
    };
    let shaped = |shape| generate(&shape).expect("a sample is small");
    let small = Shape::default();
    let ring = Shape { towers: 5, sectors: 1, clients: 2, rings: true, stations: true, ..small };
    let dual = Shape { towers: 4, sectors: 2, clients: 12, dual_uplinks: true, ..small };
    [
        (
            "demo.yaml",
            made(
                "The demonstration: three cores, nine towers, 500 subscribers behind Core-3 at Mill Hill.",
                &demo(18_728, "http://127.0.0.1:8081", "http://127.0.0.1:8099/notices"),
            ),
        ),
        ("dual-uplinks.yaml", made("Four towers, each with an uplink to two cores.", &shaped(dual))),
        ("ring.yaml", made("Five towers in a ring, with customers' antennas as nodes.", &shaped(ring))),
        ("small.yaml", made("A core, two towers, four sectors, sixteen subscribers.", &shaped(small))),
    ]
}

#[test]
#[ignore = "writes examples/networks anew"]
fn write_samples() {
    let dir = root().join("examples/networks");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in samples() {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// The examples of the reference: whole files as they stand, sections after a tenant and what they name.
#[test]
fn every_example_of_the_reference_parses() {
    let page = std::fs::read_to_string(root().join("docs/reference/network-file.md")).unwrap();
    let base = page.split("<!-- the examples below stand on this -->").nth(1).expect("the base is marked");
    let base = base.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut count = 0;
    for example in page.split("```yaml\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let text = if example.contains("tenant:") { example.to_owned() } else { merged(base, example) };
        parse("network-file.md", &text, &Documented)
            .unwrap_or_else(|problems| panic!("{problems}\n--- in\n{text}"));
        count += 1;
    }
    assert!(count >= 12, "only {count} examples");
}

/// `example` on top of `base`: lists of the same name are joined.
fn merged(base: &str, example: &str) -> String {
    let mut text = base.to_owned();
    for section in split_sections(example) {
        let (key, items) = section.split_once('\n').unwrap_or((&section, ""));
        match text.find(&format!("\n{key}\n")) {
            Some(at) if key.ends_with(':') => text.insert_str(at + key.len() + 2, items),
            Some(_) | None => text.push_str(&section),
        }
    }
    text
}

fn split_sections(example: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in example.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match sections.last_mut() {
            Some(section) if line.starts_with(' ') => {
                section.push_str(line);
                section.push('\n');
            }
            Some(_) | None => sections.push(format!("{line}\n")),
        }
    }
    sections
}

/// What keys each mapping knows is told when it has one it does not know.
#[test]
fn every_key_stands_in_the_reference() {
    let page = std::fs::read_to_string(root().join("docs/reference/network-file.md")).unwrap();
    let text = "
zzzzzzzz: x
tenant: {id: a, zzzzzzzz: x}
policy: {zzzzzzzz: x}
channels:
  - {zzzzzzzz: x, name: a, webhook: {zzzzzzzz: x}}
  - {name: b, email: {zzzzzzzz: x}}
tokens: [{zzzzzzzz: x}]
sites: [{zzzzzzzz: x}]
devices:
  - {zzzzzzzz: x, needs: [{zzzzzzzz: x}], heartbeat: {zzzzzzzz: x}, owner: {zzzzzzzz: x}, maintenance: [{zzzzzzzz: x}], login: {zzzzzzzz: x}, webhook: {zzzzzzzz: x}}
links: [{zzzzzzzz: x}]
services: [{zzzzzzzz: x}]
upstreams: [{zzzzzzzz: x}]
meshes: [{zzzzzzzz: x}]
subscribers: [{zzzzzzzz: x, person: {zzzzzzzz: x}}]
subscriber_tables: [{zzzzzzzz: x, columns: [zzzzzzzz]}]
lab: {zzzzzzzz: x, nodes: {n: {zzzzzzzz: x}}}
";
    let problems = parse("x", text, &OnlyWrittenOut).unwrap_err();
    let mut mappings = 0;
    for hint in problems.found.iter().filter_map(|problem| problem.hint.as_deref()) {
        let Some((_, keys)) =
            hint.split_once("known here: ").or_else(|| hint.split_once("a column is one of "))
        else {
            continue;
        };
        mappings += 1;
        for key in keys.split(", ") {
            let shown = [format!("`{key}`"), format!("`{{{key}:")];
            assert!(shown.iter().any(|shown| page.contains(shown)), "`{key}` is not in the reference");
        }
    }
    assert_eq!(mappings, 23, "{problems}");
}

/// The environment and files that the reference speaks of.
struct Documented;

impl network_file::Secrets for Documented {
    fn environment(&self, name: &str) -> Result<String, String> {
        match name {
            "CORE1_PASSWORD" => Ok("p".into()),
            "CORE1_TOKEN" => Ok(format!("mw_core1abcdefg_{}", "x".repeat(32))),
            other => Err(format!("`{other}` is not set")),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        match path {
            "secrets/noc-webhook" => Ok("whsec_bWFzdHdhdGNoIGRlbW8gc2lnbmluZyBzZWNyZXQhISE=\n".into()),
            other => Err(format!("no file {other}")),
        }
    }
}
