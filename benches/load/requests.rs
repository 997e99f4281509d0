//! The requests that are measured, and just enough reading of answers to make the next one.

use crate::Failure;

/// These hexadecimal digits of the message id change with every request.
pub(crate) const MESSAGE_SLOT: &str = "7c0ffee00000";
/// Their number.
pub(crate) const MESSAGE_DIGITS: usize = MESSAGE_SLOT.len();

/// Instances that the measured enumeration answers: the VMs of the lab and their host.
pub(crate) const INSTANCES: usize = 100;

const NAMESPACE: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2";
const TRANSFER_GET: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get";
const ENUMERATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const IDENTITY: &str = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd";
const WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";

/// One request with what its answer must hold.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    wanted: &'static str,
    wanted_count: usize,
}

impl Exchange {
    pub(crate) fn identify() -> Exchange {
        let body = format!(
            "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:i=\"{IDENTITY}\">\
             <s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>"
        );
        Exchange { name: "Identify", body, wanted: "IdentifyResponse>", wanted_count: 1 }
    }

    pub(crate) fn get_job(job: &str) -> Exchange {
        let resource = format!("{NAMESPACE}/Msvm_ConcreteJob");
        let body = envelope(TRANSFER_GET, &resource, Some(("InstanceID", job)), "");
        Exchange { name: "Get of a job", body, wanted: "JobState>", wanted_count: 2 }
    }

    pub(crate) fn query_job(job: &str) -> Exchange {
        let query = format!("select * from Msvm_ConcreteJob where InstanceID = '{job}'");
        Exchange { wanted: "JobState>", wanted_count: 2, ..Exchange::query("WQL poll of a job", &query, INSTANCES) }
    }

    /// The first `items` of what a query finds.
    pub(crate) fn query(name: &'static str, query: &str, items: usize) -> Exchange {
        let query = query.replace('<', "&lt;");
        let filter = format!("<w:Filter Dialect=\"{WQL}\">{query}</w:Filter>");
        let body = envelope(ENUMERATE, &format!("{NAMESPACE}/*"), None, &enumerate(&filter, items));
        Exchange { name, body, wanted: "EnumerateResponse>", wanted_count: 2 }
    }

    /// The beginning of an enumeration that is read by Pulls.
    pub(crate) fn enumerate(class: &str) -> Exchange {
        let body = envelope(
            ENUMERATE,
            &format!("{NAMESPACE}/{class}"),
            None,
            &format!("<n:Enumerate xmlns:n=\"{ENUMERATION}\"/>"),
        );
        Exchange { name: "Enumerate", body, wanted: "EnumerationContext>", wanted_count: 2 }
    }

    /// The next page of one.
    pub(crate) fn pull(class: &str, context: &str, items: usize) -> Exchange {
        let pull = format!(
            "<n:Pull xmlns:n=\"{ENUMERATION}\"><n:EnumerationContext>{context}</n:EnumerationContext>\
             <n:MaxElements>{items}</n:MaxElements></n:Pull>"
        );
        let body = envelope(&format!("{ENUMERATION}/Pull"), &format!("{NAMESPACE}/{class}"), None, &pull);
        Exchange { name: "Pull", body, wanted: "PullResponse>", wanted_count: 2 }
    }

    pub(crate) fn enumerate_systems() -> Exchange {
        let resource = format!("{NAMESPACE}/Msvm_ComputerSystem");
        let body = envelope(ENUMERATE, &resource, None, &enumerate("", INSTANCES));
        Exchange { name: "Enumerate of 100", body, wanted: "Msvm_ComputerSystem>", wanted_count: INSTANCES }
    }

    /// InitiateFailback: the first one makes a job. Sent again when that has ended, the VM's state refuses it, so it is
    /// parsed, checked and admitted or not without changing anything.
    pub(crate) fn invoke(vm: &str) -> Exchange {
        let resource = format!("{NAMESPACE}/Msvm_ReplicationService");
        let input = format!(
            "<p:InitiateFailback_INPUT xmlns:p=\"{resource}\"><p:ComputerSystem>\
             <a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
             <a:ReferenceParameters><w:ResourceURI>{NAMESPACE}/Msvm_ComputerSystem</w:ResourceURI>\
             <w:SelectorSet><w:Selector Name=\"CreationClassName\">Msvm_ComputerSystem</w:Selector>\
             <w:Selector Name=\"Name\">{vm}</w:Selector></w:SelectorSet></a:ReferenceParameters>\
             </p:ComputerSystem></p:InitiateFailback_INPUT>"
        );
        let body = envelope(&format!("{resource}/InitiateFailback"), &resource, None, &input);
        Exchange { name: "Invoke, refused by state", body, wanted: "ReturnValue>32775<", wanted_count: 1 }
    }

    /// Whether `answer` is what was asked for.
    pub(crate) fn check(&self, answer: &str) -> Result<(), Failure> {
        let found = answer.matches(self.wanted).count();
        if found >= self.wanted_count {
            return Ok(());
        }
        let (name, wanted, count) = (self.name, self.wanted, self.wanted_count);
        let shown: String = answer.chars().take(2000).collect();
        Err(format!("{name}: {wanted:?} stands {found} times in the answer, wanted {count}: {shown}").into())
    }
}

fn enumerate(filter: &str, items: usize) -> String {
    format!(
        "<n:Enumerate xmlns:n=\"{ENUMERATION}\"><w:OptimizeEnumeration/><w:MaxElements>{items}</w:MaxElements>\
         {filter}</n:Enumerate>"
    )
}

fn envelope(action: &str, resource: &str, selector: Option<(&str, &str)>, body: &str) -> String {
    let mut selector_set = String::new();
    if let Some((name, value)) = selector {
        let selector = format!("<w:Selector Name=\"{name}\">{value}</w:Selector>");
        selector_set = format!("<w:SelectorSet>{selector}</w:SelectorSet>");
    }
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"><s:Header><a:To>http://127.0.0.1/wsman</a:To>\
         <w:ResourceURI s:mustUnderstand=\"true\">{resource}</w:ResourceURI><a:ReplyTo><a:Address \
         s:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
         </a:ReplyTo><a:Action s:mustUnderstand=\"true\">{action}</a:Action><w:MaxEnvelopeSize \
         s:mustUnderstand=\"true\">2097152</w:MaxEnvelopeSize>\
         <a:MessageID>uuid:11111111-2222-4333-8444-{MESSAGE_SLOT}</a:MessageID>{selector_set}\
         <w:OperationTimeout>PT60S</w:OperationTimeout></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// The text of the first element of that local name.
pub(crate) fn element_text<'t>(answer: &'t str, local: &str) -> Option<&'t str> {
    let (_, rest) = answer.split_once(&format!(":{local}>"))?;
    rest.split_once('<').map(|(text, _)| text)
}

/// The `Name` of the Msvm_ComputerSystem whose `ElementName` is `name`.
pub(crate) fn vm_named(answer: &str, name: &str) -> Option<String> {
    let mut instances = answer.split(":Msvm_ComputerSystem ").skip(1);
    let instance = instances.find(|instance| element_text(instance, "ElementName") == Some(name))?;
    element_text(instance, "Name").map(str::to_owned)
}

/// The InstanceID in the reference to a job.
pub(crate) fn job_of(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("Name=\"InstanceID\">")?;
    rest.split_once('<').map(|(text, _)| text.to_owned())
}
