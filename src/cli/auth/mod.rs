//! `failbackd auth doctor`: what is offered to clients, what is missing, and how a given client is to connect.

mod clients;
mod facts;
mod report;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::Failure;
use crate::config::{PlaceFlags, load};
use facts::Facts;

/// The `auth` subcommand.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct AuthArgs {
    /// Where the configuration is.
    #[command(flatten)]
    place: PlaceFlags,
    /// What to do.
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum AuthCommand {
    /// Explain what is offered, what is missing, and how clients should connect
    Doctor {
        /// A client, for how it should connect: curl, pypsrp, pywinrm, ansible, winrm, powershell, wsman, omicli, ruby,
        /// go, npm, dracclient, wsl, failbackd
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// The user who is to connect
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The name by which clients reach this host
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
    },
}

/// Runs `auth`; the result is the text to print. Nothing is changed, and no server needs to run.
pub fn auth(args: &AuthArgs, environment: &BTreeMap<String, String>) -> Result<String, Failure> {
    let loaded = load(&args.place.clone().into(), environment).map_err(|error| Failure::Usage(error.to_string()))?;
    let AuthCommand::Doctor { client, user, host } = &args.command;
    let facts = Facts::gather(&loaded.config);
    if let Some(user) = user
        && facts.users.as_ref().is_ok_and(|users| !users.iter().any(|known| known.name.eq_ignore_ascii_case(user)))
    {
        return Err(Failure::Usage(format!("there is no user {user}: failbackd user add {user}")));
    }
    let who = clients::Who { user: user.as_deref(), host: host.as_deref() };
    let Some(name) = client else { return Ok(report::overview(&facts)) };
    let client = clients::find(name).ok_or_else(|| {
        let known = clients::names().collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("{name:?} is no client that is known here; known are {known}"))
    })?;
    Ok(report::connect(&facts, client, &who))
}
