"""The lab that clients meet: where it is, its machines, and small helpers to read answers."""

import base64
import http.client
import time
import uuid
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2"
DMTF = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
ALL_CLASSES = "http://schemas.dmtf.org/wbem/wscim/1/*"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
ANONYMOUS = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
SERVICE = "Msvm_ReplicationService"
# One key is enough to name the only replication service.
SERVICE_KEY = {"CreationClassName": SERVICE}
IDENTIFY = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">'
    "<s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>"
)
JOB_SECONDS_MAX = 180
JOB_COMPLETED = 7


class Wrong(Exception):
    """The server's answer is not what the client needs."""


@dataclass
class Machine:
    """A virtual machine that is ready for a failback."""

    guid: str
    name: str


@dataclass
class Lab:
    """The server and a user of it."""

    host: str
    port: int
    user: str
    password: str
    scratch: Path
    url: str = field(init=False)

    def __post_init__(self):
        self.url = f"http://{self.host}:{self.port}/wsman"

    def basic(self):
        """The credentials as a Basic token."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def post(self, body):
        """Sends an envelope; the tree of the answer. For the lab's own questions: no client is meant by it."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {"Authorization": "Basic " + self.basic(), "Content-Type": "application/soap+xml;charset=UTF-8"}
        connection.request("POST", "/wsman", body.encode(), headers)
        return parse(connection.getresponse().read())

    def machines(self):
        """The machines from which a failback may start: replicas, powered off, in a fitting state."""
        query = "SELECT * FROM Msvm_ComputerSystem WHERE ReplicationMode = 2 AND EnabledState = 3"
        body = (
            f'<n:Enumerate xmlns:n="{ENUMERATION}"><w:OptimizeEnumeration/><w:MaxElements>1000</w:MaxElements>'
            f'<w:Filter Dialect="{WQL}">{query}</w:Filter></n:Enumerate>'
        )
        tree = self.post(envelope(f"{ENUMERATION}/Enumerate", f"{WMI}/*", {}, body, self.url))
        refuse_fault(tree)
        found = []
        for item in elements(tree, "Msvm_ComputerSystem"):
            if text(item, "ReplicationState") in ("2", "3", "7", "8", "9"):
                found.append(Machine(text(item, "Name"), text(item, "ElementName")))
        return found


def envelope(action, uri, selectors, body, to):
    """A plain request with the prefixes s, a and w."""
    chosen = "".join(f'<w:Selector Name="{name}">{value}</w:Selector>' for name, value in selectors.items())
    selector_set = f"<w:SelectorSet>{chosen}</w:SelectorSet>" if chosen else ""
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>'
        f"<a:To>{to}</a:To><w:ResourceURI>{uri}</w:ResourceURI><a:Action>{action}</a:Action>"
        f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID>"
        f"<a:ReplyTo><a:Address>{ANONYMOUS}</a:Address></a:ReplyTo>{selector_set}"
        f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )


def reference(machine, family=WMI):
    """A machine's EPR: the children, each with its own namespace declarations."""
    namespace = "" if family == WMI else '<w:Selector Name="__cimnamespace">root/virtualization/v2</w:Selector>'
    return (
        f'<a:Address xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing">{ANONYMOUS}</a:Address>'
        '<a:ReferenceParameters xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing">'
        '<w:ResourceURI xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">'
        f"{family}/Msvm_ComputerSystem</w:ResourceURI>"
        '<w:SelectorSet xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">'
        '<w:Selector Name="CreationClassName">Msvm_ComputerSystem</w:Selector>'
        f'<w:Selector Name="Name">{machine.guid}</w:Selector>{namespace}</w:SelectorSet></a:ReferenceParameters>'
    )


def failback_input(machine, family=WMI):
    """The body of InitiateFailback for a machine."""
    return (
        f'<p:InitiateFailback_INPUT xmlns:p="{family}/{SERVICE}"><p:ComputerSystem>{reference(machine, family)}'
        "</p:ComputerSystem></p:InitiateFailback_INPUT>"
    )


def parse(octets):
    """The tree of an answer."""
    try:
        return ElementTree.fromstring(octets)
    except ElementTree.ParseError as error:
        raise Wrong(f"no XML: {error}: {octets[:200]!r}") from error


def local(element):
    """An element's name without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def elements(tree, name):
    """All elements of a local name, the root included."""
    return [element for element in tree.iter() if isinstance(element.tag, str) and local(element) == name]


def element(tree, name):
    """The first element of a local name."""
    found = elements(tree, name)
    if not found:
        refuse_fault(tree)
        raise Wrong(f"no {name} in the answer")
    return found[0]


def text(tree, name):
    """The text of the first element of a local name."""
    return "".join(element(tree, name).itertext()).strip()


def refuse_fault(tree):
    """Raises when the answer is a fault."""
    for fault in elements(tree, "Fault"):
        reason = " ".join("".join(reason.itertext()).strip() for reason in elements(fault, "Reason"))
        codes = " ".join(value.text or "" for value in elements(fault, "Value"))
        raise Wrong(f"fault {codes}: {reason}")


def check(holds, what):
    """Raises when a condition does not hold."""
    if not holds:
        raise Wrong(what)


def check_identify(tree):
    """Identify as every client reads it."""
    check(text(tree, "ProtocolVersion").startswith("http://schemas.dmtf.org/"), "no protocol version")
    check(text(tree, "ProductVersion"), "no product version")


def check_service(tree):
    """The replication service, as Get returns it."""
    check(text(element(tree, SERVICE), "CreationClassName") == SERVICE, "not the replication service")


def job_of(tree):
    """The InstanceID of the job that InitiateFailback started."""
    value = text(tree, "ReturnValue")
    check(value == "4096", f"ReturnValue {value}")
    job = element(tree, "Job")
    for selector in elements(job, "Selector"):
        if selector.get("Name") == "InstanceID":
            return selector.text
    raise Wrong("the Job reference has no InstanceID")


def follow(read):
    """Reads a job until it has ended; it must have completed."""
    deadline = time.monotonic() + JOB_SECONDS_MAX
    while True:
        job = read()
        state = int(text(job, "JobState"))
        if state >= JOB_COMPLETED:
            break
        check(time.monotonic() < deadline, f"the job is still in state {state}")
        time.sleep(0.2)
    check(state == JOB_COMPLETED, f"the job ended in state {state}: {description(job)}")
    check(text(job, "PercentComplete") == "100", "completed, but not 100 %")


def description(job):
    """What a failed job says of itself."""
    try:
        return text(job, "ErrorDescription")
    except Wrong:
        return "no description"
