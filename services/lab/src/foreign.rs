//! What an operator had on a router before anybody else came.
//!
//! Lines of his own in the same profile, entries of his own in the same menus: none of it is to be
//! touched by who comes later.

use domain::plan::script::Says;

use crate::netwatch::Text;
use crate::network::RouterIndex;
use crate::router::Attributes;
use crate::router::menu;
use crate::state::State;

/// His line in the on-up script.
const ON_UP: &str = "# who came\n:log info (\"hello \" . $user)\n";
/// His line in the on-down script, without a line break at its end.
const ON_DOWN: &str = ":log info (\"goodbye \" . $user)";

/// Rows of his own: menu, and attributes.
const ROWS: &[(&str, &[(&str, &str)])] = &[
    (
        "/tool/netwatch",
        &[("host", "127.0.0.1"), ("comment", "the office"), ("down-script", ":log warning \"the office\"")],
    ),
    ("/system/script", &[("name", "nightly"), ("source", ":log info \"good night\"")]),
    ("/ip/firewall/address-list", &[("list", "blocked"), ("address", "192.0.2.66"), ("comment", "spammer")]),
    ("/queue/simple", &[("name", "office"), ("target", "192.0.2.0/28"), ("max-limit", "50M/50M")]),
    ("/ppp/profile", &[("name", "gold"), ("rate-limit", "20M/100M"), ("on-up", ":log info \"gold\"")]),
];

/// What runs his script at night. A board in the mode `home` has no scheduler for it.
const TASK: &[(&str, &str)] = &[("name", "nightly"), ("interval", "1d"), ("on-event", "nightly")];

impl State {
    /// Puts an operator's own configuration on a router that has been lived in.
    pub(crate) fn place_foreign(&mut self, router: RouterIndex) {
        if !self.habits(router).is_lived_in {
            return;
        }
        for (path, attributes) in ROWS {
            let menu = menu::at(path).expect("the lab has every menu that an operator uses");
            self.place(router, menu, &Attributes::from(*attributes));
        }
        if self.routers[router.at()].device_mode.allows_push() {
            let menu = menu::at("/system/scheduler").expect("the lab has a scheduler");
            self.place(router, menu, &Attributes::from(TASK));
        }
        let placed = self.pusher(router).filter(|_| self.habits(router).reports_sessions);
        let with_ours = |theirs: &str, says| match &placed {
            Some(pusher) => format!("{theirs}\n{}", pusher.session(says)),
            None => theirs.to_owned(),
        };
        let (on_up, on_down) = (with_ours(ON_UP, Says::Up), with_ours(ON_DOWN, Says::Down));
        for profile in self.router(router).profiles.values_mut().filter(|profile| profile.is_default()) {
            profile.on_up = Text::own(&on_up);
            profile.on_down = Text::own(&on_down);
        }
    }
}
