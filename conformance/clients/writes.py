"""What pypsrp does beside reading and calling: Put, Create, Delete, fragments, associations, and a subscription by
pull. Where the client has no call of its own, its transport sends an envelope as it is."""

import time
import xml.etree.ElementTree as ElementTree

import lab as of

EVENTING = "http://schemas.xmlsoap.org/ws/2004/08/eventing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
BINDING = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
ASSOCIATION_FILTER = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"
PULL_MODE = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull"
SETTINGS = "Msvm_ReplicationServiceSettingData"
ENTRY = "Msvm_ReplicationAuthorizationSettingData"
EVENT_SECONDS_MAX = 60


def instance(kind, **properties):
    """An instance as a body, with these properties alone."""
    root = ElementTree.Element(f"{{{of.WMI}/{kind}}}{kind}")
    for name, value in properties.items():
        ElementTree.SubElement(root, f"{{{of.WMI}/{kind}}}{name}").text = value
    return root


def of_class(tree, kind):
    """The instance of a class in an answer, as a body for a Put."""
    return of.element(tree, kind)


class Writes:
    """The steps; the client that inherits them has `wsman`, `ask`, `machine` and `selectors_of`."""

    def raw(self, action, uri, selectors, body, blocks=""):
        """Sends an envelope of our own through the client's transport; the tree of its answer."""
        text = of.envelope(action, uri, selectors, body, self.wsman.transport.endpoint)
        text = text.replace("</s:Header>", f"{blocks}</s:Header>")
        tree = of.parse(self.ask(self.wsman.transport.send, text.encode()))
        of.refuse_fault(tree)
        return tree

    def settings(self):
        """The settings of the service, as they are."""
        return of_class(self.ask(self.wsman.get, f"{of.WMI}/{SETTINGS}"), SETTINGS)

    def put(self):
        before = self.settings()
        changed = self.settings()
        interval = of.element(changed, "MonitoringInterval")
        old = interval.text
        interval.text = "21600" if old != "21600" else "43200"
        key = self.selectors_of({"InstanceID": of.text(before, "InstanceID")})
        answer = self.ask(self.wsman.put, f"{of.WMI}/{SETTINGS}", changed, selector_set=key)
        of.check(of.text(answer, "MonitoringInterval") == interval.text, "the answer does not show the change")
        of.check(of.text(self.settings(), "MonitoringInterval") == interval.text, "the change was not made")
        self.ask(self.wsman.put, f"{of.WMI}/{SETTINGS}", before, selector_set=key)
        of.check(of.text(self.settings(), "MonitoringInterval") == old, "the change was not taken back")

    def create(self):
        entry = instance(
            ENTRY, AllowedPrimaryHostSystem=f"{self.machine.name}.example", TrustGroup="clients",
            ReplicaStorageLocation="D:\\Replica",
        )
        tree = self.ask(self.wsman.create, f"{of.WMI}/{ENTRY}", entry)
        of.refuse_fault(tree)
        chosen = {selector.get("Name"): selector.text for selector in of.elements(tree, "Selector")}
        of.check("InstanceID" in chosen, "the reference to the new entry has no InstanceID")
        self.entry = chosen["InstanceID"]
        answer = self.ask(self.wsman.get, f"{of.WMI}/{ENTRY}", selector_set=self.selectors_of(self.entry_key()))
        of.check(of.text(answer, "TrustGroup") == "clients", "the new entry is another")

    def entry_key(self):
        """The key of the entry that was made."""
        of.check(getattr(self, "entry", None), "no entry was made")
        return {"InstanceID": self.entry}

    def delete(self):
        key = self.entry_key()
        self.ask(self.wsman.delete, f"{of.WMI}/{ENTRY}", selector_set=self.selectors_of(key))
        try:
            tree = self.ask(self.wsman.get, f"{of.WMI}/{ENTRY}", selector_set=self.selectors_of(key))
        except Exception as error:  # pypsrp raises its own kind for each sort of fault
            of.check("2150858752" in str(error) or "DestinationUnreachable" in str(error), f"another fault: {error}")
            return
        raise of.Wrong(f"the entry is still there: {ElementTree.tostring(tree)[:200]}")

    def fragment(self):
        fragment = '<w:FragmentTransfer s:mustUnderstand="true">Name/text()</w:FragmentTransfer>'
        tree = self.raw(f"{of.TRANSFER}/Get", f"{of.WMI}/{of.SERVICE}", of.SERVICE_KEY, "", fragment)
        whole = self.ask(self.wsman.get, f"{of.WMI}/{of.SERVICE}", selector_set=self.selectors_of(of.SERVICE_KEY))
        found = "".join(of.element(tree, "XmlFragment").itertext())
        of.check(found == of.text(of_class(whole, of.SERVICE), "Name"), f"the fragment holds {found!r}")

    def association(self):
        body = (
            f'<n:Enumerate xmlns:n="{of.ENUMERATION}" xmlns:b="{BINDING}"><w:OptimizeEnumeration/>'
            f'<w:MaxElements>100</w:MaxElements><w:Filter Dialect="{ASSOCIATION_FILTER}"><b:AssociatedInstances>'
            f"<b:Object>{of.reference(self.machine)}</b:Object>"
            "<b:ResultClassName>Msvm_ReplicationSettingData</b:ResultClassName></b:AssociatedInstances></w:Filter>"
            "</n:Enumerate>"
        )
        tree = self.raw(f"{of.ENUMERATION}/Enumerate", f"{of.WMI}/*", {}, body)
        found = of.elements(tree, "Msvm_ReplicationSettingData")
        of.check(len(found) == 1, f"{len(found)} settings belong to the machine")

    def subscribe(self):
        query = "SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance ISA 'Msvm_ConcreteJob'"
        body = (
            f'<e:Subscribe xmlns:e="{EVENTING}"><e:Delivery Mode="{PULL_MODE}"/><e:Expires>PT10M</e:Expires>'
            f'<w:Filter Dialect="{of.WQL}">{query}</w:Filter></e:Subscribe>'
        )
        tree = self.raw(f"{EVENTING}/Subscribe", f"{of.WMI}/*", {}, body)
        self.manager = of.element(of.element(tree, "SubscriptionManager"), "ReferenceParameters")
        self.events_context = of.text(tree, "EnumerationContext")

    def events(self):
        """The end of the machine's job is told; what was told of it before is its progress."""
        of.check(getattr(self, "events_context", None), "no subscription")
        of.check(self.instance_id, "no job")
        deadline, states = time.monotonic() + EVENT_SECONDS_MAX, []
        while "7" not in states:
            of.check(time.monotonic() < deadline, f"the end of the job was not told, only {states}")
            body = (
                f'<n:Pull xmlns:n="{of.ENUMERATION}"><n:EnumerationContext>{self.events_context}'
                "</n:EnumerationContext><n:MaxElements>20</n:MaxElements></n:Pull>"
            )
            tree = self.raw(f"{of.ENUMERATION}/Pull", f"{of.WMI}/*", {}, body)
            of.check(not of.elements(tree, "EndOfSequence"), "a subscription has no end of its own")
            self.events_context = of.text(tree, "EnumerationContext")
            for event in of.elements(tree, "TargetInstance"):
                if of.text(event, "InstanceID") == self.instance_id:
                    states.append(of.text(event, "JobState"))
        self.unsubscribe()

    def unsubscribe(self):
        """By the manager's reference alone: its parameters are header blocks."""
        uri, selectors, blocks = f"{of.WMI}/*", {}, ""
        for parameter in self.manager:
            if of.local(parameter) == "ResourceURI":
                uri = parameter.text
            elif of.local(parameter) == "SelectorSet":
                selectors = {selector.get("Name"): selector.text for selector in parameter}
            else:
                blocks += ElementTree.tostring(parameter, encoding="unicode")
        body = f'<e:Unsubscribe xmlns:e="{EVENTING}"/>'
        self.raw(f"{EVENTING}/Unsubscribe", uri, selectors, body, blocks)
        try:
            self.raw(
                f"{of.ENUMERATION}/Pull", f"{of.WMI}/*", {},
                f'<n:Pull xmlns:n="{of.ENUMERATION}"><n:EnumerationContext>{self.events_context}'
                "</n:EnumerationContext></n:Pull>",
            )
        except Exception as error:  # the transport raises for the status, ours for the fault
            of.check("InvalidEnumerationContext" in str(error) or "500" in str(error), f"another fault: {error}")
            return
        raise of.Wrong("the subscription still answers")
