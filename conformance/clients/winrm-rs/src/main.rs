//! Queries through the crate `winrm-rs`, as it is: it knows WQL and shells, and invokes no method.
//!
//! ```text
//! with-winrm-rs basic|ntlm http|https HOST PORT USER query NAMESPACE WQL [WQL…]
//! with-winrm-rs basic|ntlm http|https HOST PORT USER shell OCTETS
//! ```
//! The password is in WINRM_PASSWORD. A query prints the items of its answer; all of them go over one client, so that
//! the later ones take up the login of the first. `shell` asks for a shell whose environment is that large. An error
//! of the crate goes to standard error, with exit code 1.

use std::process::ExitCode;

use winrm_rs::{AuthMethod, WinrmClient, WinrmConfig, WinrmCredentials, WinrmError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> Result<(), WinrmError> {
    let [mechanism, scheme, host, port, user, operation @ ..] = arguments else { usage() };
    let password = std::env::var("WINRM_PASSWORD").unwrap_or_default();
    let mut config = WinrmConfig {
        auth_method: match *mechanism {
            "basic" => AuthMethod::Basic,
            "ntlm" => AuthMethod::Ntlm,
            _ => usage(),
        },
        use_tls: *scheme == "https",
        // The crate trusts the authorities of the web and takes no other.
        accept_invalid_certs: true,
        port: port.parse().unwrap_or_else(|_| usage()),
        max_envelope_size: 512_000,
        ..WinrmConfig::default()
    };
    let credentials = WinrmCredentials::new(*user, password, "");
    match operation {
        ["query", namespace, queries @ ..] => {
            let client = WinrmClient::new(config, credentials)?;
            for query in queries {
                println!("{}", client.run_wql(host, query, Some(namespace)).await?);
            }
        }
        ["shell", octets] => {
            let value = "x".repeat(octets.parse().unwrap_or_else(|_| usage()));
            config.env_vars = vec![("PADDING".to_owned(), value)];
            println!("{}", WinrmClient::new(config, credentials)?.create_shell(host).await?);
        }
        _ => usage(),
    }
    Ok(())
}

fn usage() -> ! {
    eprintln!("see the head of src/main.rs");
    std::process::exit(2)
}
