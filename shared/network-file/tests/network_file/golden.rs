//! What people are told about a wrong file: where, what, and what would be right.

use network_file::{OnlyWrittenOut, PROBLEMS_MAX, parse};

/// What is told about `text`, without the file's name.
fn told(text: &str) -> Vec<String> {
    let problems = parse("isp.yaml", text, &OnlyWrittenOut).expect_err(text);
    problems.to_string().lines().map(|line| line.trim_start_matches("isp.yaml:").to_owned()).collect()
}

/// A right beginning, in line 1 to 10; more follows from line 11 on.
const BASE: &str = "\
tenant: {id: hillside, name: Hillside Broadband}
sites:
  - {id: mill-hill, name: Mill Hill}
devices:
  - {id: core-1, class: router, tier: core, address: 10.0.0.1, login: {user: u, password: p}}
  - {id: edge-1, class: router, parent: core-1}
  - {id: switch-1, class: switch, parent: core-1}
links:
  - {id: bh-1, ends: [core-1, edge-1]}
  - {id: fibre-1}
";

fn told_after_base(more: &str) -> Vec<String> {
    told(&format!("{BASE}{more}"))
}

/// What is told when the list of devices of the base goes on with `line`, which is line 3.
fn told_of_device(line: &str) -> Vec<String> {
    told(&format!("tenant: {{id: hillside}}\ndevices:\n  - {line}\n"))
}

#[test]
fn the_base_itself_is_right() {
    let network = parse("isp.yaml", BASE, &OnlyWrittenOut).unwrap();
    assert_eq!(network.nodes.len(), 5);
}

#[test]
fn what_is_no_network_file_says_so() {
    assert_eq!(told(""), ["1:1: the file is empty; it begins with `tenant: {id: my-isp, name: My ISP}`"]);
    assert_eq!(
        told("- a\n"),
        ["1:1: the file is a mapping of keys and values, found a list; write it like `version: …`"]
    );
    assert_eq!(told("version: 2\ntenant: {id: a}\n"), ["1:10: version 2 is not known; write `version: 1`"]);
    assert_eq!(
        told("sites: []\n"),
        ["1:1: the file has no `tenant`; add `tenant: {id: my-isp, name: My ISP}`"]
    );
    assert!(told("tenant: {id: a\n")[0].contains("this is not YAML"));
    assert_eq!(
        told("tenant: {id: Hill Side}\n"),
        ["1:14: `Hill Side` cannot be a tenant's id; it is up to 40 small letters, digits and `-`"]
    );
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(
        told("tenant: {id: a}\ndevises: []\n"),
        ["2:1: unknown key `devises` in the file; did you mean `devices`?"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, adress: 10.0.0.1}"),
        ["3:28: unknown key `adress` in a device; did you mean `address`?"]
    );
    assert_eq!(
        told("tenant: {id: a, colour: red}\n"),
        ["1:17: unknown key `colour` in a tenant; known here: id, name"]
    );
    assert_eq!(
        told("tenant: {id: a, id: b}\n"),
        ["1:17: `id` stands twice in a tenant; the first is in line 1; remove one of them"]
    );
}

#[test]
fn everything_is_told_in_the_order_of_the_text() {
    let text = "\
tenant: {id: hillside}
sites:
  - {name: Nowhere}
devices:
  - {id: a, class: roter, site: mill}
  - {id: b, class: switch, heartbeat: {probe: icmp, every: 60}}
  - {id: a, class: switch, parent: c}
";
    assert_eq!(
        told(text),
        [
            "3:5: a site has no `id`; add `id: …`",
            "5:20: `roter` is no class; did you mean `router`?",
            "5:33: there is no site `mill`; add it under `sites`",
            "6:28: a `heartbeat` needs an `address`; add `address: …`",
            "6:60: `every`: `60` has no unit; write `60s` for seconds or `60m` for minutes",
            "7:5: the id `a` is used twice; the first is in line 5; give one of them another",
            "7:36: there is no device or link `c`; did you mean `a`?",
        ]
    );
}

#[test]
fn no_more_than_a_page_is_told() {
    let mut text = String::from("tenant: {id: hillside}\ndevices:\n");
    for n in 0..500 {
        text.push_str(&format!("  - {{id: d{n}, class: switch, parent: nothing-like-it}}\n"));
    }
    let told = told(&text);
    assert_eq!(told.len(), PROBLEMS_MAX + 1);
    assert!(told[0].starts_with("3:"));
    assert!(told[PROBLEMS_MAX].contains("there are more"));
}

#[test]
fn references_are_checked() {
    assert_eq!(
        told_after_base("subscribers:\n  - {account: 1001, parent: cor-1}\n"),
        ["12:29: there is no device or link `cor-1`; did you mean `core-1`?"]
    );
    assert_eq!(
        told_after_base(
            "subscribers:\n  - {account: 1001, parent: core-1}\n  - {account: 1002, parent: 1001}\n"
        ),
        [
            "13:29: there is no device or link `1001`; it is a subscriber, and nothing can hang on a subscriber"
        ]
    );
    assert_eq!(
        told_after_base("subscribers:\n  - {account: 1, parent: core-1, user: u, concentrator: edge-1}\n"),
        ["12:57: `edge-1` has no login; add `login: {user: …, password: …}` to it"]
    );
    assert_eq!(
        told_after_base("subscribers:\n  - {account: 1, parent: core-1, user: u, concentrator: switch-1}\n"),
        ["12:57: `switch-1` is no router; name a router that has a `login`"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, parent: a}"),
        ["3:36: `a` cannot need itself; name what is above it"]
    );
    assert_eq!(
        told_of_device(
            "{id: a, class: router, address: 10.0.0.1, seen_by: a, login: {user: u, password: p}}"
        ),
        ["3:56: a router cannot be seen by itself; name another router"]
    );
    assert_eq!(
        told_after_base("lab:\n  nodes:\n    core-9: {latency: 1ms}\n"),
        ["13:5: there is no device or link `core-9`; did you mean `core-1`?"]
    );
}

#[test]
fn groups_are_checked() {
    let of = |needs: &str| told_after_base(&format!("services:\n  - {{id: mail, needs: {needs}}}\n"));
    assert_eq!(
        of("[{k_of_n: 3, of: [core-1, edge-1]}]"),
        ["12:33: 3 of 2 members can never be up; `k_of_n` is from 1 to 2"]
    );
    assert_eq!(
        of("[{k_of_n: 0, of: [core-1]}]"),
        ["12:33: `k_of_n` is a whole number from 1 to 65535, found `0`"]
    );
    assert_eq!(
        of("[{k_of_n: 1}]"),
        ["12:24: a group by `k_of_n` has no `of`; write it like `{k_of_n: 2, of: [a, b, c]}`"]
    );
    assert_eq!(
        of("[{any: [core-1], all: [edge-1]}]"),
        [
            "12:24: a group has exactly one of `any`, `all` and `k_of_n`; write an id, `{any: […]}`, `{all: […]}` or `{k_of_n: 2, of: […]}`"
        ]
    );
    assert_eq!(of("[{any: []}]"), ["12:30: `any` has no members; name at least one, or remove the group"]);
    assert_eq!(of("[{anny: [core-1]}]"), ["12:25: unknown key `anny` in a group; did you mean `any`?"]);
    assert_eq!(
        of("[{any: core-1}]"),
        ["12:30: `any` is a list of ids and groups, found text; write it like `[a, b]`"]
    );
    assert_eq!(
        of("[[core-1]]")[0].split(';').next(),
        Some("12:24: a need is an id or a group, found a list")
    );
    assert_eq!(
        of("[{all: [core-1, core-1]}]"),
        ["12:30: `core-1` stands twice in one group; remove one of them"]
    );
    assert_eq!(
        of("[{all: [core-1], of: [edge-1]}]"),
        ["12:44: `of` belongs to `k_of_n`; write the members after `any:` or `all:`"]
    );
}

#[test]
fn groups_are_bounded() {
    let mut deep = String::from("core-1");
    for _ in 0..9 {
        deep = format!("{{any: [{deep}]}}");
    }
    let told_deep = told_after_base(&format!("services:\n  - {{id: mail, needs: [{deep}]}}\n"));
    assert!(told_deep[0].contains("groups nest deeper than 8"), "{told_deep:?}");

    let nothing = vec!["core-1"; 100_000].join(", ");
    let told_wide = told_after_base(&format!("services:\n  - {{id: mail, needs: [{{any: [{nothing}]}}]}}\n"));
    assert!(told_wide[0].contains("`any` has 100000 members; at most 256 are allowed"), "{told_wide:?}");

    let mut text = String::from("tenant: {id: a}\ndevices:\n");
    let ids: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    for id in &ids {
        text.push_str(&format!("  - {{id: {id}, class: switch}}\n"));
    }
    text.push_str(&format!("  - {{id: x, class: switch, needs: [{}]}}\n", ids.join(", ")));
    assert!(told(&text)[0].contains("`needs` names 300 nodes; at most 256 are allowed"));
}

#[test]
fn meshes_are_checked() {
    let of = |mesh: &str| told_after_base(&format!("meshes:\n  - {mesh}\n"));
    assert_eq!(
        of("{id: ring, members: [core-1, edge-1], links: [bh-1], gateways: [switch-1]}"),
        ["12:69: the gateway `switch-1` is no member of the mesh; add it to `members`"]
    );
    assert_eq!(
        of("{id: ring, members: [core-1, edge-1], links: [fibre-1], gateways: [core-1, edge-1]}"),
        ["12:51: the link `fibre-1` has no `ends`; add `ends: [a, b]` to it: a mesh must know what it joins"]
    );
    assert_eq!(
        of("{id: ring, members: [core-1, edge-1], links: [switch-1], gateways: [core-1, edge-1]}"),
        ["12:51: `switch-1` is no link; name something under `links`"]
    );
    assert_eq!(
        of("{id: ring, members: [core-1, edge-1, switch-1], links: [bh-1], gateways: [core-1]}"),
        [
            "12:5: no link of the mesh `ring` touches its member `switch-1`; add the link to `links`, or take the member out"
        ]
    );
    assert_eq!(
        of("{id: ring, members: [core-1], links: [bh-1], gateways: [core-1]}"),
        [
            "12:5: the link `bh-1` of the mesh `ring` ends at `edge-1`, which is no member; add it to `members`, or take the link out"
        ]
    );
    assert_eq!(
        of("{id: ring, members: [core-1, edge-1], links: [bh-1]}"),
        ["12:5: a mesh has no `gateways`; add `gateways: [a, b]`"]
    );
}

#[test]
fn probes_and_logins_are_checked() {
    let login = "login: {user: u, password: p}";
    assert_eq!(
        told_of_device("{id: a, class: router, address: 127.0.0.1, heartbeat: icmp}"),
        ["3:59: a loopback address answers `icmp` even when nothing is there; use `tcp:PORT` or `routeros`"]
    );
    assert_eq!(
        told_of_device("{id: a, class: router, address: 10.0.0.1, heartbeat: routeros}"),
        ["3:58: a heartbeat by `routeros` needs a `login`; add `login: {user: …, password: …}`"]
    );
    assert_eq!(
        told_of_device(&format!("{{id: a, class: router, {login}}}")),
        ["3:5: a router with a `login` needs an `address`; add `address: …`"]
    );
    assert_eq!(
        told_of_device(&format!("{{id: a, class: switch, address: 10.0.0.1, {login}}}")),
        ["3:54: only a router has a `login`; write `class: router`, or remove it"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, address: 10.0.0.1, heartbeat: tcp:99999}"),
        ["3:58: `tcp:99999` has no port from 1 to 65535; write it like `tcp:8728`"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, address: 10.0.0.1, heartbeat: {probe: icpm, every: 2h}}"),
        ["3:66: `icpm` is no probe; did you mean `icmp`?", "3:79: `every` is `2h`; it can be from 1s to 1h"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, address: 10.0.0.300}"),
        ["3:37: `address` is no IP address: `10.0.0.300`; write it like `10.0.3.1`"]
    );
}

#[test]
fn secrets_are_never_repeated() {
    let text = "\
tenant: {id: hillside}
channels:
  - {name: a, audience: engineers, webhook: {url: \"https://x.example.net/TOPSECRET\", secret: TOPSECRET}}
  - {name: b, audience: engineers, webhook: {url: \"ftp://TOPSECRET\", secret: [TOPSECRET]}}
tokens:
  - {name: z, for: signals, token: TOPSECRET}
devices:
  - {id: a, class: router, address: 10.0.0.1, login: TOPSECRET, webhook: TOPSECRET}
  - {id: b, class: router, address: 10.0.0.2, login: {user: u, password: {TOPSECRET: x}}}
subscribers:
  - {account: 1, parent: a, user: TOPSECRET, mac: TOPSECRET}
  - {account: 2, parent: a, mac: TOPSECRET}
  - {account: 3, parent: a, address: TOPSECRET}
  - {account: 4, parent: a, user: [TOPSECRET]}
";
    let told = told(text).join("\n");
    assert!(!told.contains("TOPSECRET"), "{told}");
    assert_eq!(told.lines().count(), 11, "{told}");
}

#[test]
fn a_file_from_elsewhere_cannot_read_this_machines_secrets() {
    assert_eq!(
        told_of_device("{id: a, class: router, address: 10.0.0.1, login: {user: u, password: \"${PATH}\"}}"),
        ["3:74: `password`: `${PATH}` cannot be looked up here: the file came from elsewhere"]
    );
    assert_eq!(
        told_of_device("{id: a, class: router, address: 10.0.0.1, login: {user: u, password: ${PATH}}}")[0],
        "3:75: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; check the indentation, that quotes and brackets are closed, and that `\"${NAME}\"` stands in quotes"
    );
}

#[test]
fn channels_and_tokens_are_checked() {
    let of = |channel: &str| told(&format!("tenant: {{id: a}}\nchannels:\n  - {channel}\n"));
    assert_eq!(
        of("{name: a, audience: support, email: {}}"),
        [
            "3:25: `support` has no channels: nothing is pushed to it, it has its dashboard; write engineers or technicians"
        ]
    );
    assert_eq!(
        of("{name: a, audience: engineers}"),
        [
            "3:5: a channel has neither `webhook` nor `email`; add `webhook: {url: …, secret: …}` or `email: {server: …, from: …, to: […]}`"
        ]
    );
    assert_eq!(
        of("{name: a, audience: engineers, webhook: {url: \"http://h/x\", secret: whsec_short}}"),
        [
            "3:73: `secret` is no signing secret of Standard Webhooks; write `whsec_` and 24 to 64 bytes in base64, made by `echo whsec_$(openssl rand -base64 32)`"
        ]
    );
    assert_eq!(
        of("{name: a, audience: engineers, email: {server: \"smtp://h\", from: x, to: [a@b.c]}}"),
        ["3:70: `x` is no mail address; write it like `noc@example.net`"]
    );
    assert_eq!(
        told(
            "tenant: {id: a}\ntokens:\n  - {name: z, for: signals, token: mw_abc_def, from: [10.0.0.0/33]}\n"
        ),
        [
            "3:36: `token`: after `mw_` a token has a public part of 12 characters a-z and 0-9, then `_`; write it like `mw_<12 small letters or digits>_<32 letters or digits>`",
            "3:55: `10.0.0.0/33` is no network; write it like `10.0.3.0/24` or `10.0.3.1`",
        ]
    );
    let token = format!("mw_abcdefghijkl_{}", "x".repeat(32));
    assert_eq!(
        told(&format!(
            "tenant: {{id: a}}\ntokens:\n  - {{name: z, for: signals, token: {token}}}\n  - {{name: y, for: console, token: {token}}}\n"
        )),
        [
            "4:5: the public part of a token `abcdefghijkl` is used twice; the first is in line 3; give one of them another"
        ]
    );
}

#[test]
fn subscribers_and_tables_are_checked() {
    let of = |rest: &str| told_after_base(&format!("subscriber_tables:\n  - {rest}\n"));
    assert_eq!(
        of("{columns: [account, parent, usr], rows: []}"),
        ["12:33: unknown column `usr`; did you mean `user`?"]
    );
    assert_eq!(
        of("{columns: [account, user], parent: core-1, rows: [[1, u], [2], [3, ~]]}"),
        ["12:63: this row has 1 values; there are 2 columns; write `~` where a row has no value"]
    );
    assert_eq!(
        of("{columns: [account, parent], parent: core-1, rows: []}"),
        ["12:25: `parent` is given twice for each row; keep the column, or what stands beside the table"]
    );
    assert_eq!(
        of("{columns: [account, user], parent: core-1, rows: [[1, u], [2, u]]}"),
        [
            "12:63: the account `2` has the same `user` at `core-1` as the subscriber in line 12; nobody could tell whose session it is"
        ]
    );
    assert_eq!(
        told_after_base(
            "subscribers:\n  - {account: 1, user: u, mac: m, parent: core-1}\n  - {account: 2}\n"
        ),
        [
            "12:5: a subscriber is known by one of `user` and `mac`; keep the one its service is told by",
            "13:5: a subscriber has no `parent`; add `parent: …`, what it hangs on",
        ]
    );
    assert_eq!(
        told(
            "tenant: {id: a}\ndevices:\n  - {id: ap, class: sector_ap}\nsubscribers:\n  - {account: 1, parent: ap, user: u}\n"
        ),
        [
            "5:5: no router can hold the session of the account `1`; add `concentrator: …`, or a `login` to a router above it"
        ]
    );
}

#[test]
fn sites_windows_policy_and_lab_are_checked() {
    assert_eq!(
        told("tenant: {id: a}\nsites:\n  - {id: s, coordinates: [91, 0]}\n"),
        [
            "3:26: `coordinates` are two numbers: degrees north and degrees east; write them like `[51.614, -0.247]`"
        ]
    );
    assert_eq!(
        told_of_device(
            "{id: a, class: switch, maintenance: [{from: \"2026-12-01T23:00:00Z\", until: \"2026-12-01T22:00:00Z\"}]}"
        ),
        ["3:80: a maintenance window ends before it begins; `until` is later than `from`"]
    );
    assert_eq!(
        told_of_device("{id: a, class: switch, maintenance: [{from: tomorrow}]}"),
        [
            "3:42: a maintenance window has no `until`; add `until: …`",
            "3:49: `from` is no time: `tomorrow`; write it like `2026-12-01T22:00:00Z`",
        ]
    );
    assert_eq!(
        told("tenant: {id: a}\npolicy: {resolve_hold: 60, walks_per_hour: none}\n"),
        [
            "2:24: `resolve_hold`: `60` has no unit; write `60s` for seconds or `60m` for minutes",
            "2:44: `walks_per_hour` is a whole number from 1 to 10000000, found `none`",
        ]
    );
    assert_eq!(
        told("tenant: {id: a}\nlab: {loss: 101%, netwatch: maybe, latency: 5}\n"),
        [
            "2:13: `loss` is a share from 0% to 100%, found `101%`; write it like `0.5%`",
            "2:29: `netwatch` is on or off, found `maybe`",
            "2:45: `latency`: `5` has no unit; write `5s` for seconds or `5m` for minutes",
        ]
    );
    let keys = "{rights: read, device_mode: home, radius: on, lived_in: on, clock_behind: 20000d, lease_time: 1h, bridges: on}";
    let text = format!(
        "tenant: {{id: a, name: A}}\nlab:\n  nodes:\n    r: {keys}\ndevices:\n  - {{id: r, class: router}}\n"
    );
    let read = parse("isp.yaml", &text, &OnlyWrittenOut).unwrap();
    let lab = read.lab.node("r");
    assert_eq!(
        (lab.rights.name(), lab.device_mode.name(), lab.clock_behind_s),
        ("read", "home", 1_728_000_000)
    );
    assert!(lab.radius && lab.lived_in && lab.bridges && lab.lease_time_ms == 3_600_000);
    let again = parse("isp.yaml", &read.to_yaml(), &OnlyWrittenOut).unwrap();
    assert_eq!(again.lab, read.lab);
}

#[test]
fn what_is_wrong_beside_a_table_is_told_once_however_many_rows_it_has() {
    let rows: Vec<String> = (0..20_000).map(|n| format!("[{n}, u{n}]")).collect();
    let text = format!(
        "subscriber_tables:\n  - {{parent: cor-1, columns: [account, user], rows: [{}]}}\n",
        rows.join(", ")
    );
    assert_eq!(told_after_base(&text), ["12:14: there is no device or link `cor-1`; did you mean `core-1`?"]);
}

#[test]
fn a_file_of_millions_of_values_is_refused() {
    let text = format!("tenant: {{id: a}}\nsites: [{}]\n", "1,".repeat(4_100_000));
    assert!(told(&text)[0].contains("more than 4000000 values"));
}

#[test]
fn a_long_way_up_does_not_take_long() {
    let mut text = String::from("tenant: {id: a}\ndevices:\n  - {id: d0, class: switch}\n");
    for n in 1..20_000 {
        text.push_str(&format!("  - {{id: d{n}, class: switch, parent: d{}, address: 10.0.0.1}}\n", n - 1));
    }
    let network = parse("isp.yaml", &text, &OnlyWrittenOut).unwrap();
    assert!(network.nodes.iter().all(|node| node.seen_by.router().is_none()));
}

#[test]
fn a_certificate_is_written_as_a_router_shows_it_and_only_with_tls() {
    let line = |login: &str| {
        format!("{{id: a, class: router, address: 10.0.0.1, login: {{user: u, password: p, {login}}}}}")
    };
    let digits = "ab".repeat(32);
    let file = |login: &str| format!("tenant: {{id: hillside}}\ndevices:\n  - {}\n", line(login));
    for text in [format!("sha256:{digits}"), format!("\"{}\"", digits.to_uppercase())] {
        let network =
            parse("isp.yaml", &file(&format!("tls: on, certificate: {text}")), &OnlyWrittenOut).unwrap();
        let again = parse("isp.yaml", &network.to_yaml(), &OnlyWrittenOut).unwrap();
        for network in [network, again] {
            let certificate = network.nodes[0].login.as_ref().unwrap().certificate.unwrap();
            assert_eq!(certificate.to_string(), format!("sha256:{digits}"));
        }
    }
    assert_eq!(
        told_of_device(&line(&format!("certificate: sha256:{digits}"))),
        ["3:90: `certificate` without TLS: the router would show none; write `tls: on` beside it"]
    );
    assert_eq!(
        told_of_device(&line("tls: on, certificate: sha1:abcd")),
        ["3:99: `certificate`: a fingerprint is `sha256:` and 64 hexadecimal digits; \
          `mastwatch router plan` shows which one the router has"]
    );
}
