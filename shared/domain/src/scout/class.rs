//! What kind of box a neighbour seems to be, by what it says of itself.
//!
//! First by the model, because makers name their models for what they are sold for; then by what LLDP says that
//! it does. A model of which several things are made (an outdoor radio may be either end) is taken for what it
//! mostly is, and the reason says so: a person decides.

use super::neighbour::Neighbour;
use events::{DeviceClass, Tier};

/// Models by a part of their names, in lower case; the first that fits counts. Sources: the product lists of
/// MikroTik (mikrotik.com/products), Ubiquiti (ui.com) and Cambium, 2026.
const MODELS: [(&str, DeviceClass); 68] = [
    ("wapg-60ad", DeviceClass::Backhaul),
    ("wireless wire", DeviceClass::Backhaul),
    ("dynadish", DeviceClass::Backhaul),
    ("nray", DeviceClass::Backhaul),
    ("powerbridge", DeviceClass::Backhaul),
    ("airfiber", DeviceClass::Backhaul),
    ("ptp", DeviceClass::Backhaul),
    ("af-5x", DeviceClass::Backhaul),
    ("af60", DeviceClass::Backhaul),
    ("lhg", DeviceClass::Station),
    ("sxt", DeviceClass::Station),
    ("ldf", DeviceClass::Station),
    ("disc", DeviceClass::Station),
    ("qrt", DeviceClass::Station),
    ("litebeam", DeviceClass::Station),
    ("nanobeam", DeviceClass::Station),
    ("powerbeam", DeviceClass::Station),
    ("nanostation", DeviceClass::Station),
    ("airgrid", DeviceClass::Station),
    ("force 1", DeviceClass::Station),
    ("force 2", DeviceClass::Station),
    ("force 3", DeviceClass::Station),
    ("mantbox", DeviceClass::SectorAp),
    ("mant", DeviceClass::SectorAp),
    ("netmetal", DeviceClass::SectorAp),
    ("basebox", DeviceClass::SectorAp),
    ("netbox", DeviceClass::SectorAp),
    ("omnitik", DeviceClass::SectorAp),
    ("groove", DeviceClass::SectorAp),
    ("metal", DeviceClass::SectorAp),
    ("rb911", DeviceClass::SectorAp),
    ("rb912", DeviceClass::SectorAp),
    ("rb921", DeviceClass::SectorAp),
    ("rb922", DeviceClass::SectorAp),
    ("rocket", DeviceClass::SectorAp),
    ("liteap", DeviceClass::SectorAp),
    ("prismstation", DeviceClass::SectorAp),
    ("isostation", DeviceClass::SectorAp),
    ("epmp 3000", DeviceClass::SectorAp),
    ("wap", DeviceClass::SectorAp),
    ("cap", DeviceClass::SectorAp),
    ("crs", DeviceClass::Switch),
    ("css", DeviceClass::Switch),
    ("netpower", DeviceClass::Switch),
    ("fiberbox", DeviceClass::Switch),
    ("edgeswitch", DeviceClass::Switch),
    ("toughswitch", DeviceClass::Switch),
    ("catalyst", DeviceClass::Switch),
    ("ws-c", DeviceClass::Switch),
    ("ccr", DeviceClass::Router),
    ("chr", DeviceClass::Router),
    ("rb1100", DeviceClass::Router),
    ("rb2011", DeviceClass::Router),
    ("rb3011", DeviceClass::Router),
    ("rb4011", DeviceClass::Router),
    ("rb5009", DeviceClass::Router),
    ("rb450", DeviceClass::Router),
    ("rb750", DeviceClass::Router),
    ("rb760", DeviceClass::Router),
    ("rb941", DeviceClass::Router),
    ("rb951", DeviceClass::Router),
    ("rb952", DeviceClass::Router),
    ("rb962", DeviceClass::Router),
    ("rbd52", DeviceClass::Router),
    ("hex", DeviceClass::Router),
    ("hap", DeviceClass::Router),
    ("edgerouter", DeviceClass::Router),
    ("x86", DeviceClass::Router),
];

/// What it seems to be, and why.
pub(super) fn classify(neighbour: &Neighbour) -> (DeviceClass, String) {
    let said = [&neighbour.board, &neighbour.platform, &neighbour.description];
    for text in said.into_iter().flatten() {
        let lower = text.to_lowercase();
        if let Some((model, class)) = MODELS.iter().find(|(model, _)| has_word(&lower, model)) {
            return (*class, format!("taken for {} by its model, `{model}`", name_of(*class)));
        }
    }
    let does = |cap: &str| neighbour.caps.contains(cap);
    let (class, by) = if does("station-only") && !does("wlan-ap") {
        (DeviceClass::Station, "says that it is a station only")
    } else if does("wlan-ap") {
        (DeviceClass::SectorAp, "says that it is an access point")
    } else if does("router") {
        (DeviceClass::Router, "says that it routes")
    } else if does("bridge") {
        (DeviceClass::Switch, "says that it bridges and does not route")
    } else {
        return (DeviceClass::Other, "neither its model nor what it does tells what it is".into());
    };
    (class, format!("taken for {}: it {by}", name_of(class)))
}

/// Whether a word of `text` is `model`, perhaps with two letters of a variant (`LHGG`, `SXTsq`; after a number any letters
/// are a variant's); or stands after the `rb` that MikroTik puts before boards.
fn has_word(text: &str, model: &str) -> bool {
    text.match_indices(model).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + model.len()..]);
        let begins = before.chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
        let variant = after.chars().take_while(char::is_ascii_alphabetic).count();
        (begins || before.ends_with("rb")) && (variant <= 2 || model.ends_with(|c: char| c.is_ascii_digit()))
    })
}

/// What people call it, with its article.
pub(super) fn name_of(class: DeviceClass) -> &'static str {
    match class {
        DeviceClass::Router => "a router",
        DeviceClass::Switch => "a switch",
        DeviceClass::SectorAp => "a sector",
        DeviceClass::Backhaul => "a backhaul",
        DeviceClass::Station => "a station",
        DeviceClass::Server => "a server",
        DeviceClass::Other => "another device",
    }
}

/// How far up it stands below something of the tier `above`; none: nothing is above it. Never above its parent.
pub(super) fn tier_of(class: DeviceClass, above: Option<Tier>) -> Tier {
    let own = match class {
        DeviceClass::Router if above.is_none() => Tier::Core,
        DeviceClass::Router | DeviceClass::Switch | DeviceClass::Server => Tier::Site,
        DeviceClass::SectorAp | DeviceClass::Backhaul => Tier::Sector,
        DeviceClass::Station => Tier::Station,
        DeviceClass::Other => match above {
            None | Some(Tier::Core) => Tier::Site,
            Some(Tier::Site) => Tier::Sector,
            Some(Tier::Sector | Tier::Station | Tier::Subscriber) => Tier::Station,
        },
    };
    // A device that a person has put below a subscriber is a station still.
    own.max(above.unwrap_or(Tier::Core)).min(Tier::Station)
}

/// What is kept first where there are too many: what others hang on.
pub(super) fn weight(class: DeviceClass) -> u8 {
    match class {
        DeviceClass::Router => 0,
        DeviceClass::Switch => 1,
        DeviceClass::Backhaul => 2,
        DeviceClass::SectorAp => 3,
        DeviceClass::Server => 4,
        DeviceClass::Station => 5,
        DeviceClass::Other => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::super::neighbour::{Row, neighbours};
    use super::*;

    fn class(platform: &str, board: &str, description: &str, caps: &str) -> DeviceClass {
        let row = Row {
            mac: "02:00:00:00:00:01".into(),
            platform: platform.into(),
            board: board.into(),
            description: description.into(),
            caps: caps.into(),
            ..Row::default()
        };
        let found = neighbours(&[row]);
        classify(&found["mac 02:00:00:00:00:01"]).0
    }

    #[test]
    fn a_box_is_taken_for_what_its_model_is_sold_for_and_then_for_what_it_does() {
        use DeviceClass::{Backhaul, Other, Router, SectorAp, Station, Switch};
        for (platform, board, description, caps, wanted) in [
            ("MikroTik", "RBLHG-5nD", "", "bridge,router", Station),
            ("MikroTik", "LHGG-60ad", "", "", Station),
            ("MikroTik", "RBSXTsq5nD", "", "", Station),
            ("MikroTik", "CCR2004-16G-2S+", "", "", Router),
            ("MikroTik", "CHR QEMU Standard PC", "", "", Router),
            ("MikroTik", "hEX S", "", "", Router),
            ("MikroTik", "hAP ac lite", "", "wlan-ap,bridge", Router),
            ("MikroTik", "CRS326-24G-2S+RM", "", "router", Switch),
            ("MikroTik", "RB921GS-5HPacD mANTBox 19s", "", "", SectorAp),
            ("MikroTik", "RB921GS-5HPacD-19S", "", "", SectorAp),
            ("MikroTik", "RB922UAGS-5HPacD", "", "", SectorAp),
            ("MikroTik", "RBD52G-5HacD2HnD", "", "", Router),
            ("MikroTik", "RBwAPG-60ad", "", "", Backhaul),
            ("MikroTik", "RBwAPG-5HacT2HnD", "", "", SectorAp),
            ("LiteBeam 5AC Gen2", "", "", "", Station),
            ("Rocket 5AC Lite", "", "", "", SectorAp),
            ("cisco WS-C2960-24TT-L", "", "", "", Switch),
            ("", "", "Ubiquiti NanoStation M5", "", Station),
            ("", "", "Linux 5.4", "bridge,router", Router),
            ("", "", "", "bridge", Switch),
            ("", "", "", "station-only", Station),
            ("", "", "", "wlan-ap,station-only", SectorAp),
            ("", "", "a chromecast", "", Other),
            ("", "", "", "telephone", Other),
        ] {
            let found = class(platform, board, description, caps);
            assert_eq!(found, wanted, "{platform} {board} {description} {caps}");
        }
    }

    #[test]
    fn nobody_stands_above_what_is_above_it() {
        for above in Tier::ALL {
            for class in
                [DeviceClass::Router, DeviceClass::SectorAp, DeviceClass::Station, DeviceClass::Other]
            {
                let tier = tier_of(class, Some(above));
                assert!(tier >= above.min(Tier::Station), "{class:?} below {above:?}: {tier:?}");
            }
        }
        assert_eq!(tier_of(DeviceClass::Router, None), Tier::Core);
        assert_eq!(tier_of(DeviceClass::SectorAp, Some(Tier::Core)), Tier::Sector);
    }
}
