//! Tokens are shown to nobody.
//!
//! A script that pushes holds the router's token, and plans hold scripts: whatever is printed of them
//! passes through here. A token is known by its shape, so nobody has to remember to name it.

/// How a token of ours begins.
const START: &str = "mw_";
/// How long its public prefix is.
const PREFIX_LEN: usize = 12;

/// The text with the secret part of every token left out: `mw_abcdefghijkl_…`.
pub fn hidden(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(START) {
        let (before, token) = rest.split_at(at);
        shown.push_str(before);
        let open = START.len() + PREFIX_LEN + 1;
        let is_letter = |c: u8| c.is_ascii_alphanumeric();
        let prefix = token.as_bytes().get(START.len()..open);
        if prefix.is_some_and(|p| p[..PREFIX_LEN].iter().copied().all(is_letter) && p[PREFIX_LEN] == b'_') {
            let secret = token[open..].bytes().take_while(|c| is_letter(*c)).count();
            shown.push_str(&token[..open]);
            shown.push('…');
            rest = &token[open + secret..];
        } else {
            shown.push_str(START);
            rest = &token[START.len()..];
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::hidden;

    #[test]
    fn of_a_token_only_what_is_public_is_shown() {
        let text = "a mw_abcdefghijkl_0123xyz\" b mw_ mw_short_1 ümw_abcdefghijklü mw_abcdefghijkl_z";
        let shown = "a mw_abcdefghijkl_…\" b mw_ mw_short_1 ümw_abcdefghijklü mw_abcdefghijkl_…";
        assert_eq!(hidden(text), shown);
    }
}
