"""Requests in the exact shape of clients that no package manager installs: wsmancli, omicli, Windows' CIM cmdlets.

The files in shapes/ hold a request's head and body as that client writes them, with @NAMES@ for what changes."""

import http.client
import socket
import uuid

import lab as of


CLASSES = "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*"
SETTINGS = "Msvm_ReplicationSettingData"


class Shape:
    """A client that is only its requests."""

    folder = ""
    family = of.WMI
    all_classes = f"{of.WMI}/*"
    charset = "UTF-8"
    meets_401_first = False

    def __init__(self, lab, machine):
        self.lab, self.machine, self.instance_id, self.context = lab, machine, None, None
        self.session_id = str(uuid.uuid4()).upper()

    @staticmethod
    def version():
        return "request shapes"

    def render(self, name, **values):
        """A request's head (without its end) and body, filled in."""
        head, body = (of.SHAPES / self.folder / f"{name}.http").read_text().split("\n\n", 1)
        values = {
            "HOST": self.lab.host, "PORT": str(self.lab.port), "BASIC": self.lab.basic(), "CHARSET": self.charset,
            "MESSAGE_ID": str(uuid.uuid4()).upper(), "OPERATION_ID": str(uuid.uuid4()).upper(),
            "SESSION_ID": self.session_id, "VM": self.machine.guid, "VM_URI": f"{self.family}/Msvm_ComputerSystem",
            **values,
        }
        for key, value in values.items():
            head, body = head.replace(f"@{key}@", value), body.replace(f"@{key}@", value)
        octets = body.encode("utf-16-le") if self.charset == "utf-16" else body.encode()
        if self.charset == "utf-16":
            octets = b"\xff\xfe" + octets
        head = head.replace("@LENGTH@", str(len(octets)))
        of.check("@" not in head + body, f"something is not filled in: {head}{body}")
        return head, octets

    def send(self, name, **values):
        """A connection, the request as octets (first without credentials where the client does so), the answer."""
        head, body = self.render(name, **values)
        with socket.create_connection((self.lab.host, self.lab.port), timeout=60) as connection:
            if self.meets_401_first:
                lines = [line for line in head.split("\n") if not line.startswith("Authorization:")]
                status, headers, _ = self.exchange(connection, "\n".join(lines), body)
                of.check(status == 401, f"expected 401 first, came {status}")
                schemes = headers.get_all("WWW-Authenticate") or []
                of.check(any(scheme.startswith("Basic ") for scheme in schemes), f"schemes {schemes}")
            status, headers, answer = self.exchange(connection, head, body)
        tree = of.parse(answer)
        of.refuse_fault(tree)
        of.check(status == 200, f"HTTP {status}")
        if self.charset == "utf-16":
            of.check("utf-16" in headers.get("Content-Type", "").lower(), "answered in another encoding")
        return tree

    @staticmethod
    def exchange(connection, head, body):
        """Octets out, an answer in: on the same connection each time."""
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = response.read()
        return response.status, response.headers, answer

    def get(self):
        uri = f"{self.family}/{of.SERVICE}"
        of.check_service(self.send("get", URI=uri, KEY="CreationClassName", VALUE=of.SERVICE))

    def enumerate(self):
        uri = f"{self.family}/Msvm_ComputerSystem"
        tree = self.send("enumerate", URI=uri)
        self.items = of.elements(tree, "Msvm_ComputerSystem")
        contexts = of.elements(tree, "EnumerationContext")
        self.context = contexts[0].text if contexts else None
        of.check(self.items or self.context, "neither items nor a context")

    def pull(self):
        names = [of.text(item, "Name") for item in self.items]
        while self.context:
            tree = self.send("pull", URI=f"{self.family}/Msvm_ComputerSystem", CONTEXT=self.context)
            names += [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
            ended = of.elements(tree, "EndOfSequence")
            self.context = None if ended else of.text(tree, "EnumerationContext")
        of.check(self.machine.guid in names, "the machine is not among the items")

    def read_query(self, query):
        """The first page of a query, pulled where the client did not ask for optimization."""
        tree = self.send("query", URI=self.all_classes, QUERY=query)
        if of.elements(tree, "Items"):
            return tree
        return self.send("pull", URI=self.all_classes, CONTEXT=of.text(tree, "EnumerationContext"))

    def query(self):
        tree = self.read_query(f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'")
        of.check(of.text(tree, "ElementName") == self.machine.name, "another machine")

    def invoke(self):
        uri = f"{self.family}/{of.SERVICE}"
        tree = self.send("invoke", URI=uri, KEY="CreationClassName", VALUE=of.SERVICE)
        of.check(of.element(tree, "InitiateFailback_OUTPUT").tag.startswith("{" + uri + "}"), "another namespace")
        job_uri = of.text(of.element(tree, "Job"), "ResourceURI")
        of.check(job_uri == f"{self.family}/Msvm_ConcreteJob", f"the job is a {job_uri}")
        self.instance_id = of.job_of(tree)

    def job(self):
        of.check(self.instance_id, "no job")
        uri = f"{self.family}/Msvm_ConcreteJob"
        of.follow(lambda: self.send("get", URI=uri, KEY="InstanceID", VALUE=self.instance_id))


class Wsmancli(Shape):
    """Openwsman's command: every run first meets a 401."""

    folder = "wsmancli"
    meets_401_first = True

    def identify(self):
        of.check_identify(self.send("identify"))

    def subscribe(self):
        """To what becomes of jobs, to be pulled."""
        query = "select * from __InstanceOperationEvent within 1 where TargetInstance isa 'Msvm_ConcreteJob'"
        tree = self.send("subscribe", URI=self.all_classes, QUERY=query)
        self.subscription = of.text(tree, "EnumerationContext")

    def events(self):
        """What was told of the job meanwhile, an event a pull."""
        tree = self.send("pull", URI=self.all_classes, CONTEXT=self.subscription)
        told = [of.local(event) for event in of.element(tree, "Items")]
        of.check(told == ["__InstanceCreationEvent"], f"events {told}")


class WsmancliUtf16(Wsmancli):
    """The same with `-j utf-16`."""

    charset = "utf-16"


class Omicli(Shape):
    """OMI's command: DMTF URIs, the machine as an embedded instance, /wsman/ with a slash."""

    folder = "omicli"
    family = of.DMTF


class CimCmdlets(Shape):
    """Windows' CIM cmdlets: Get-CimInstance, -Query and Invoke-CimMethod."""

    folder = "cimcmdlets"
    family = of.DMTF
    all_classes = of.ALL_CLASSES

    def job(self):
        of.check(self.instance_id, "no job")
        query = f"select * from Msvm_ConcreteJob where InstanceID = '{self.instance_id}'"
        of.follow(lambda: self.read_query(query))

    def classes(self):
        """Get-CimClass: of all classes, and of one, with what Invoke-CimMethod needs to know of a method."""
        tree = self.send("classes")
        names = [found.get("NAME") for found in tree.iter("CLASS")]
        context = of.elements(tree, "EnumerationContext")
        while context and context[0].text:
            tree = self.send("pull", URI=CLASSES, CONTEXT=context[0].text)
            names += [found.get("NAME") for found in tree.iter("CLASS")]
            context = [] if of.elements(tree, "EndOfSequence") else of.elements(tree, "EnumerationContext")
        of.check(of.SERVICE in names and "CIM_ManagedElement" in names, f"only the classes {names}")
        of.check(len(names) == len(set(names)), "a class came twice")
        (one,) = self.send("class", CLASS=of.SERVICE).iter("CLASS")
        of.check(one.get("DERIVATION", "").startswith("CIM_Service,"), f"derived from {one.get('DERIVATION')}")
        methods = {method.get("NAME"): method for method in one.iter("METHOD")}
        parameters = [part.get("NAME") for part in methods["InitiateFailback"] if part.tag.startswith("PARAMETER")]
        expected = ["ComputerSystem", "ReplicationSettingData", "RecoveryPointIdentifier", "Job"]
        of.check(parameters == expected, f"parameters {parameters}")

    def association(self):
        """Get-CimAssociatedInstance: the settings of the machine."""
        tree = self.send("associated", URI=of.ALL_CLASSES, RESULT=SETTINGS)
        found = of.elements(tree, SETTINGS)
        of.check(len(found) == 1, f"{len(found)} settings")
        self.settings = of.text(found[0], "InstanceID")
        of.check(self.machine.guid.upper() in self.settings.upper(), "the settings of another machine")

    def put(self):
        """Set-CimInstance: one property changes, and the others, whatever stands there, do not."""
        uri = f"{self.family}/{SETTINGS}"
        changed = {"CLASS": SETTINGS, "KEY": "InstanceID", "VALUE": self.settings, "MODIFIED": "RecoveryHistory"}
        tree = self.send("put", URI=uri, NEW="9", **changed)
        of.check(of.text(tree, "RecoveryHistory") == "9", "the property did not change")
        of.check("not among" not in (of.elements(tree, "Caption")[0].text or ""), "another property changed")
