"""The lab that clients meet: where it is, its machines, and small helpers to read answers."""

import base64
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
# Requests of clients that no package manager installs.
SHAPES = Path(__file__).parent / "shapes"
JOB_SECONDS_MAX = 180
JOB_COMPLETED = 7
# A header block that nobody understands and nobody has to: it makes a request some 500 KB large, below the server's
# limit of 512 KiB.
PADDING_OCTETS = 490_000
PADDING = "x" * PADDING_OCTETS
# What a client asks for when it wants a large answer, and what such an answer must have at least, written anew with
# fewer declarations of namespaces.
ENVELOPE_OCTETS_MAX = 512_000
LARGE_OCTETS_MIN = 450_000
LARGE_CLASS = "CIM_ManagedElement"


class Wrong(Exception):
    """The server's answer is not what the client needs."""


class Refused(Exception):
    """The server did not let the client in."""

    def __init__(self, status, text=""):
        super().__init__(f"HTTP {status} {text}".strip())
        self.status = status


@dataclass
class Machine:
    """A virtual machine that is ready for a failback."""

    guid: str
    name: str


@dataclass
class Lab:
    """A server, a user of it, and the way by which a client is to reach it."""

    host: str
    port: int
    user: str
    password: str
    scratch: Path
    # The word of cells.toml, and whether messages go over TLS and whether they are sealed by the login's keys.
    mechanism: str = "basic"
    tls: bool = False
    sealed: bool = False
    # PEM files: who signed the server's certificate, the user's certificate and its key.
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    realm: str = ""
    url: str = field(init=False)

    def __post_init__(self):
        self.url = f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/wsman"

    def basic(self):
        """The credentials as a Basic token."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Asking:
    """A client that can be told any request; how it sends one, and reads the answer's tree, is its `ask`."""

    def __init__(self, lab, machine):
        self.lab, self.machine, self.instance_id = lab, machine, None

    def ask(self, action, uri, selectors, body, padding=""):
        """Sends a request; the tree of its answer."""
        raise NotImplementedError

    def get(self, padding=""):
        check_service(self.ask(f"{TRANSFER}/Get", f"{WMI}/{SERVICE}", SERVICE_KEY, "", padding))

    def invoke(self):
        action = f"{WMI}/{SERVICE}/InitiateFailback"
        tree = self.ask(action, f"{WMI}/{SERVICE}", SERVICE_KEY, failback_input(self.machine))
        self.instance_id = job_of(tree)

    def job(self):
        check(self.instance_id, "no job")
        selectors = {"InstanceID": self.instance_id}
        follow(lambda: self.ask(f"{TRANSFER}/Get", f"{WMI}/Msvm_ConcreteJob", selectors, ""))

    def large_request(self):
        self.get(PADDING)

    def large_answer(self):
        body = (
            f'<n:Enumerate xmlns:n="{ENUMERATION}"><w:OptimizeEnumeration/>'
            "<w:MaxElements>32000</w:MaxElements></n:Enumerate>"
        )
        check_large(self.ask(f"{ENUMERATION}/Enumerate", f"{WMI}/{LARGE_CLASS}", {}, body))


def headers(action, uri, selectors, to, padding=""):
    """The header blocks of a plain request, with the prefixes a and w."""
    chosen = "".join(f'<w:Selector Name="{name}">{value}</w:Selector>' for name, value in selectors.items())
    selector_set = f"<w:SelectorSet>{chosen}</w:SelectorSet>" if chosen else ""
    block = f'<x:Padding xmlns:x="urn:padding">{padding}</x:Padding>' if padding else ""
    return (
        f"<a:To>{to}</a:To><w:ResourceURI>{uri}</w:ResourceURI><a:Action>{action}</a:Action>"
        f"<w:MaxEnvelopeSize>{ENVELOPE_OCTETS_MAX}</w:MaxEnvelopeSize>"
        f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID>"
        f"<a:ReplyTo><a:Address>{ANONYMOUS}</a:Address></a:ReplyTo>{selector_set}{block}"
    )


def envelope(action, uri, selectors, body, to, padding=""):
    """A plain request with the prefixes s, a and w."""
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>'
        f"{headers(action, uri, selectors, to, padding)}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
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


def check_large(tree):
    """The first page of everything that the server has."""
    octets = len(ElementTree.tostring(tree))
    check(octets >= LARGE_OCTETS_MIN, f"an answer of {octets} octets is not large")


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
