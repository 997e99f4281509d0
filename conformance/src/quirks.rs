//! `quirks`: a small server that answers as known peers do, mistakes included, each a switch. Makers of clients can
//! test against it without the peer; and the suite's own tests hold that its cases catch what they are about.

mod answer;
mod canned;
mod header;
mod server;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use clap::Args;

pub(crate) use self::server::Server;
pub(crate) use self::table::{QUIRKS, Quirks};
use crate::{say, serve};

/// What `quirks` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// List the quirks: name, who has it, what it is
    #[arg(long)]
    list: bool,
    /// The quirks to have, separated by commas; none: as the rules want it
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    with: Vec<String>,
    /// All quirks of a peer that --list names, besides those of --with
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5985")]
    listen: SocketAddr,
    /// Want Basic authentication with this user and the password of WSMAN_SINK_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password for --user
    #[arg(long, env = "WSMAN_SINK_PASSWORD", hide_env_values = true, value_name = "SECRET", default_value = "")]
    password: String,
}

/// Lists the quirks, or serves until the process ends.
pub(crate) fn work(arguments: &Arguments) -> Result<(), String> {
    if arguments.list {
        for quirk in QUIRKS {
            say(&format!("{:<32} {:<12} {} [{}]", quirk.name, quirk.peer, quirk.text, quirk.rules.join(", ")));
        }
        return Ok(());
    }
    let mut names = arguments.with.clone();
    if let Some(peer) = &arguments.peer {
        let of_peer = QUIRKS.iter().filter(|quirk| quirk.peer.eq_ignore_ascii_case(peer));
        let before = names.len();
        names.extend(of_peer.map(|quirk| quirk.name.to_owned()));
        if names.len() == before {
            return Err(format!("no quirk of {peer:?} is known; --list tells whose are"));
        }
    }
    let quirks = Quirks::of(&names)?;
    let login = arguments.user.clone().map(|user| (user, arguments.password.clone()));
    let server = Server::new(quirks, login);
    let address = serve::listen(arguments.listen, move |request| server.handle(request));
    let address = address.map_err(|error| format!("{}: {error}", arguments.listen))?;
    say(&format!(
        "http://{address}/wsman, with {}",
        if names.is_empty() { "no quirk".to_owned() } else { names.join(", ") }
    ));
    loop {
        std::thread::park();
    }
}
