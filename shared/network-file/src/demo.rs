//! The small network that is shown: three cores, nine towers, 500 subscribers behind one core.

use crate::{
    NetworkFile, Secret,
    generate::Maker,
    lab::LabHints,
    model::{ChannelEntry, Need, Via},
    problem::Position,
};
use events::Audience;

/// The seed of its tokens and passwords, which guard nothing but a simulation.
const SEED: u64 = 20_261_120;
/// A signing secret that everybody knows: `mastwatch demo signing secret!!!` in base64.
const SIGNING_SECRET: &str = "whsec_bWFzdHdhdGNoIGRlbW8gc2lnbmluZyBzZWNyZXQhISE=";

/// A tower: id, name, core, sectors, clients of each sector.
type Tower = (&'static str, &'static str, &'static [&'static str], u32, u32);

const TOWERS: [Tower; 9] = [
    ("harrow-weald", "Harrow Weald", &["core-1"], 2, 12),
    ("stanmore", "Stanmore Common", &["core-1"], 2, 12),
    ("bushey", "Bushey Heath", &["core-1", "core-2"], 2, 10),
    ("elstree", "Elstree Water Tower", &["core-2"], 2, 12),
    ("burnt-oak", "Burnt Oak", &["core-3"], 4, 25),
    ("totteridge", "Totteridge Church", &["core-3"], 4, 25),
    ("arkley", "Arkley Reservoir", &["core-3"], 4, 25),
    ("hendon", "Hendon Grain Store", &["core-3"], 4, 25),
    ("whetstone", "Whetstone Mast", &["core-3"], 4, 25),
];

/// The network of the demonstration. Its cores' hearts beat every 5 s; what happens is told by
/// webhook to `notices_to`; its routers, played at loopback addresses with their API at
/// `api_port`, report to `reports_to`.
pub fn demo(api_port: u16, reports_to: &str, notices_to: &str) -> NetworkFile {
    let mut maker = Maker::new("hillside", "Hillside Broadband", SEED, true, api_port);
    for (name, audience) in [("noc", Audience::Engineers), ("field", Audience::Technicians)] {
        maker.network().channels.push(ChannelEntry {
            name: name.into(),
            audience,
            via: Via::Webhook { url: notices_to.into(), secret: Secret::new(SIGNING_SECRET) },
            at: Position::default(),
        });
    }
    for (id, name, site, street, coordinates_udeg) in [
        (
            "core-1",
            "Core-1 at Harrow Exchange",
            "Harrow Exchange",
            "14 Station Road, Harrow",
            (51_580_500, -334_000),
        ),
        (
            "core-2",
            "Core-2 at Borehamwood",
            "Borehamwood Data Centre",
            "2 Elstree Way, Borehamwood",
            (51_657_700, -272_300),
        ),
        ("core-3", "Core-3 at Mill Hill", "Mill Hill", "81 The Ridgeway, Mill Hill", (51_619_600, -227_400)),
    ] {
        maker.place(id, site, street, coordinates_udeg);
        maker.core(id, name, 5);
    }
    for (n, (id, name, cores, sectors, clients)) in TOWERS.into_iter().enumerate() {
        let north = 51_600_000 + i32::try_from(n).expect("nine towers") * 7_000;
        maker.place(id, name, &format!("{name}, mast compound"), (north, -260_000));
        let needs = match cores {
            [one] => Need::Node((*one).to_owned()),
            several => Need::Any(several.iter().map(|core| Need::Node((*core).to_owned())).collect()),
        };
        maker.tower(id, &format!("Tower {name}"), vec![needs]);
        for s in 1..=sectors {
            let sector = format!("{id}-sector-{s}");
            maker.sector(&sector, &format!("Sector {s} at {name}"), id);
            for _ in 0..clients {
                maker.client(&sector, false, None);
            }
        }
    }
    let lab = &mut maker.network().lab;
    lab.reports_to = Some(reports_to.into());
    // A demonstration does not wait for what a real router waits for.
    lab.defaults = LabHints {
        netwatch_every_ms: Some(2_000),
        netwatch_delay_ms: Some(10_000),
        session_timeout_ms: Some(5_000),
        boot_ms: Some(5_000),
        ..LabHints::default()
    };
    maker.network().policy.resolve_hold_ms = 10_000;
    maker.network().policy.recover_hold_ms = 30_000;
    maker.network().policy.blind_after_boot_ms = 15_000;
    maker.done()
}
