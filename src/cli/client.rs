//! `client`: Identify, Get, Enumerate and Invoke against any WS-Management server.

use super::arguments::{parse_argument, parse_resource, parse_selector};
use super::follow;
use super::print;
use super::{Failure, Outcome, block_on};
use crate::client::{Client, Credentials, Enumeration, Instance, Item, Mode, Settings, Target, Trust};
use crate::soap::SelectorSet;
use clap::{Args, Subcommand, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

const HELP: &str = "\
The user and the password come from WSMAN_USER and WSMAN_PASSWORD; what is missing is asked for on a terminal.
A resource is a class name (with --namespace) or a full resource URI, and may carry selectors: Class?key=value&key=value
Selectors and parameters are key=value. A parameter may also be
  Name=epr:Class?key=value&key=value   a reference (write %26 for & and %25 for % inside a key's value)
  Name=@FILE                           the text of a file, for an embedded instance
  Name=$null                           null
and may be repeated for an array.";

/// What `client` takes.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Ask who the server is
    Identify {
        #[command(flatten)]
        common: Common,
    },
    /// Get one instance by its keys
    #[command(after_help = HELP)]
    Get {
        #[command(flatten)]
        common: Common,
        /// Class name or resource URI
        resource: String,
        /// Selectors, key=value
        selectors: Vec<String>,
    },
    /// List the instances of a class, or those that a WQL query takes
    #[command(after_help = HELP)]
    Enumerate {
        #[command(flatten)]
        common: Common,
        /// Class name or resource URI; not needed with --wql
        #[arg(required_unless_present = "wql")]
        resource: Option<String>,
        /// A WQL query, for example "SELECT * FROM Msvm_ConcreteJob WHERE JobState = 4"
        #[arg(long, value_name = "QUERY")]
        wql: Option<String>,
        /// What to list
        #[arg(long, value_enum, default_value_t = Shape::Object)]
        mode: Shape,
        /// The properties to show as columns, separated by commas
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        columns: Vec<String>,
        /// How many items to ask for at a time
        #[arg(long, value_name = "COUNT")]
        max_elements: Option<u32>,
    },
    /// Call a method
    #[command(after_help = HELP)]
    Invoke {
        #[command(flatten)]
        common: Common,
        /// Class name or resource URI; its selectors follow a question mark or --selector
        resource: String,
        /// The method's name
        method: String,
        /// Parameters, key=value
        parameters: Vec<String>,
        /// A selector of the instance whose method is called, key=value
        #[arg(short, long = "selector", value_name = "KEY=VALUE")]
        selectors: Vec<String>,
        /// Follow the job that the method started to its end
        #[arg(long)]
        wait: bool,
    },
}

/// What every operation needs.
#[derive(Debug, Args)]
struct Common {
    /// http://HOST[:5985][/wsman], https://HOST[:5986][/wsman], or unix:DATA_DIR/admin.sock on the server's machine
    #[arg(value_name = "URL")]
    target: Target,
    /// The CIM namespace of class names
    #[arg(long, value_name = "NAMESPACE", default_value = "root/virtualization/v2")]
    namespace: String,
    /// The user, instead of WSMAN_USER
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Trust the certificates, or the authority, in this PEM file
    #[arg(long, value_name = "FILE", group = "trust")]
    ca: Option<PathBuf>,
    /// Trust only the certificate with this SHA-256 fingerprint
    #[arg(long, value_name = "HEX", group = "trust")]
    fingerprint: Option<String>,
    /// Trust any certificate
    #[arg(long, group = "trust")]
    insecure: bool,
    /// How many seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print JSON
    #[arg(long, group = "output")]
    json: bool,
    /// Print the answers as they came
    #[arg(long, group = "output")]
    xml: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// Instances
    Object,
    /// References
    Epr,
    /// Both
    ObjectAndEpr,
}

/// Runs one operation.
pub fn run(arguments: Arguments) -> Outcome {
    block_on(async {
        match arguments.operation {
            Operation::Identify { common } => identify(&common).await,
            Operation::Get { common, resource, selectors } => get(&common, &resource, &selectors).await,
            Operation::Enumerate { common, resource, wql, mode, columns, max_elements } => {
                let listing = Listing { resource, wql, mode, columns, max_elements };
                enumerate(&common, listing).await
            }
            Operation::Invoke { common, resource, method, parameters, selectors, wait } => {
                let call = Call { resource, method, parameters, selectors, wait };
                invoke(&common, &call).await
            }
        }
    })
}

struct Listing {
    resource: Option<String>,
    wql: Option<String>,
    mode: Shape,
    columns: Vec<String>,
    max_elements: Option<u32>,
}

struct Call {
    resource: String,
    method: String,
    parameters: Vec<String>,
    selectors: Vec<String>,
    wait: bool,
}

async fn identify(common: &Common) -> Outcome {
    let with_user = common.user.is_some() || std::env::var_os("WSMAN_USER").is_some();
    let mut client = common.client(with_user)?;
    let identity = client.identify().await?;
    common.show(&identity);
    Ok(())
}

async fn get(common: &Common, resource: &str, selectors: &[String]) -> Outcome {
    let (uri, selectors) = common.resource(resource, selectors)?;
    let instance = common.client(true)?.get(&uri, &selectors).await?;
    common.show(&instance);
    Ok(())
}

async fn enumerate(common: &Common, listing: Listing) -> Outcome {
    let resource = listing.resource.as_deref().unwrap_or("*");
    let (resource_uri, selectors) = common.resource(resource, &[])?;
    let enumeration = Enumeration {
        resource_uri,
        selectors,
        wql: listing.wql,
        mode: match listing.mode {
            Shape::Object => Mode::Object,
            Shape::Epr => Mode::Epr,
            Shape::ObjectAndEpr => Mode::ObjectAndEpr,
        },
        page_items_max: listing.max_elements,
    };
    let mut items = Vec::new();
    let mut client = common.client(true)?;
    client.enumerate(&enumeration, |page| items.extend(page)).await?;
    if common.json {
        let list: serde_json::Value = items.iter().map(item_json).collect();
        print::line(&format!("{list:#}"));
    } else if !common.xml {
        print::line(&items_text(&items, &listing.columns));
    }
    Ok(())
}

async fn invoke(common: &Common, call: &Call) -> Outcome {
    let (uri, selectors) = common.resource(&call.resource, &call.selectors)?;
    let parameters: Vec<_> = call
        .parameters
        .iter()
        .map(|text| parse_argument(text, &common.namespace))
        .collect::<Result<_, _>>()
        .map_err(Failure::Usage)?;
    let mut client = common.client(true)?;
    let output = client.invoke(&uri, &selectors, &call.method, &parameters).await?;
    let Some(job) = output.reference("Job").filter(|_| call.wait && output.number("ReturnValue") == Some(4096)) else {
        common.show(&output);
        return match output.number("ReturnValue") {
            Some(0 | 4096) | None => Ok(()),
            Some(value) => Err(Failure::Refused(format!("{} answered {}", call.method, print::return_value(value)))),
        };
    };
    let bar = follow::Bar::new(&call.method);
    let followed = follow::follow(&mut client, job, None, &bar).await?;
    bar.finish(&followed.job);
    if common.json {
        let both = serde_json::json!({
            "output": print::instance_json(&output),
            "job": print::instance_json(&followed.job),
        });
        print::line(&format!("{both:#}"));
    } else {
        common.show(&output);
        common.show(&followed.job);
    }
    follow::judge(&mut client, job, &followed.job).await
}

impl Common {
    fn resource(&self, resource: &str, selectors: &[String]) -> Result<(String, SelectorSet), Failure> {
        let (uri, mut set) = parse_resource(resource, &self.namespace).map_err(Failure::Usage)?;
        for selector in selectors {
            set.0.push(parse_selector(selector, &self.namespace, false).map_err(Failure::Usage)?);
        }
        Ok((uri, set))
    }

    fn client(&self, signed_in: bool) -> Result<Client, Failure> {
        let credentials = if signed_in && !self.target.is_local_socket() { Some(self.credentials()?) } else { None };
        let settings = Settings {
            credentials,
            trust: self.trust()?,
            timeout: Duration::from_secs(self.timeout),
            ids: crate::server::random_id,
        };
        // Without a user only Identify is asked, at the place where servers tell it to anybody.
        let target = if signed_in { self.target.clone() } else { self.target.anonymous() };
        let mut client = Client::new(target, &settings)?;
        if self.xml {
            client.observe(print::line);
        }
        Ok(client)
    }

    fn trust(&self) -> Result<Trust, Failure> {
        if let Some(file) = &self.ca {
            return Ok(Trust::Authority(file.clone()));
        }
        if let Some(fingerprint) = &self.fingerprint {
            return Ok(Trust::parse_fingerprint(fingerprint)?);
        }
        Ok(if self.insecure { Trust::Anybody } else { Trust::System })
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let user = match self.user.clone().or_else(|| std::env::var("WSMAN_USER").ok()) {
            Some(user) => user,
            None => ask("User: ", "WSMAN_USER")?,
        };
        let password = match std::env::var("WSMAN_PASSWORD") {
            Ok(password) => password,
            Err(_) if std::io::stdin().is_terminal() => rpassword::prompt_password(format!("Password of {user}: "))
                .map_err(|error| Failure::Failed(format!("the password cannot be read: {error}")))?,
            Err(_) => return Err(Failure::Usage("set WSMAN_PASSWORD, or call this from a terminal".to_owned())),
        };
        Ok(Credentials { user, password: Zeroizing::new(password) })
    }

    fn show(&self, instance: &Instance) {
        if self.json {
            print::line(&format!("{:#}", print::instance_json(instance)));
        } else if !self.xml {
            print::line(&print::instance_text(instance));
        }
    }
}

/// Asks for one line on a terminal.
fn ask(question: &str, variable: &str) -> Result<String, Failure> {
    use std::io::Write;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("set {variable}, or call this from a terminal")));
    }
    let mut answer = String::new();
    let mut terminal = std::io::stderr();
    write!(terminal, "{question}")
        .and_then(|()| terminal.flush())
        .and_then(|()| std::io::stdin().read_line(&mut answer))
        .map_err(|error| Failure::from_error(&error))?;
    Ok(answer.trim().to_owned())
}

fn item_json(item: &Item) -> serde_json::Value {
    match item {
        Item::Object(instance, None) => print::instance_json(instance),
        Item::Object(instance, Some(reference)) => {
            let (instance, reference) = (print::instance_json(instance), print::reference_json(reference));
            serde_json::json!({ "instance": instance, "reference": reference })
        }
        Item::Reference(reference) => print::reference_json(reference),
    }
}

/// The columns that tell most about the classes of a replica host.
const COLUMNS: [(&str, &[&str]); 5] = [
    (
        "Msvm_ComputerSystem",
        &["ElementName", "Name", "EnabledState", "ReplicationState", "ReplicationHealth", "ReplicationMode"],
    ),
    ("Msvm_ConcreteJob", &["InstanceID", "ElementName", "JobState", "PercentComplete", "ErrorCode", "JobStatus"]),
    ("Msvm_ReplicationRelationship", &["InstanceID", "ReplicationState", "ReplicationHealth", "ReplicationMode"]),
    ("Msvm_VirtualSystemSettingData", &["InstanceID", "ElementName", "VirtualSystemType", "CreationTime"]),
    ("Msvm_ReplicationProvider", &["ElementName", "Name", "InstanceID"]),
];
/// More properties than this do not fit beside each other.
const COLUMNS_MAX: usize = 6;

fn items_text(items: &[Item], wanted: &[String]) -> String {
    let objects: Vec<&Instance> = items
        .iter()
        .filter_map(|item| if let Item::Object(instance, _) = item { Some(instance) } else { None })
        .collect();
    if objects.len() < items.len() {
        let lines: Vec<String> = items
            .iter()
            .filter_map(|item| if let Item::Reference(reference) = item { Some(reference) } else { None })
            .map(print::reference_text)
            .collect();
        return lines.join("\n");
    }
    let Some(first) = objects.first() else { return "nothing found".to_owned() };
    let columns = columns_of(first, wanted);
    if columns.is_empty() {
        let blocks: Vec<String> =
            objects.iter().map(|instance| format!("{}\n{}", instance.class, print::instance_text(instance))).collect();
        return blocks.join("\n\n");
    }
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|instance| {
            columns.iter().map(|name| instance.get(name).map(print::value_text).unwrap_or_default()).collect()
        })
        .collect();
    print::table(&columns, &rows)
}

/// The columns of a listing; none when each instance is better told at length.
fn columns_of<'i>(first: &'i Instance, wanted: &'i [String]) -> Vec<&'i str> {
    if !wanted.is_empty() {
        return wanted.iter().map(String::as_str).collect();
    }
    let names = || first.properties.iter().map(|(name, _)| name.as_str());
    if names().count() <= COLUMNS_MAX {
        return names().collect();
    }
    COLUMNS
        .iter()
        .find(|(class, _)| *class == first.class)
        .map(|(_, columns)| columns.iter().copied().filter(|name| first.get(name).is_some()).collect())
        .unwrap_or_default()
}
