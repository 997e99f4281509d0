"""pypsrp's WSMan layer."""

import importlib.metadata
import xml.etree.ElementTree as ElementTree

from pypsrp.wsman import SelectorSet, WSMan

import lab as of


def selectors(pairs):
    """pypsrp's own SelectorSet."""
    chosen = SelectorSet()
    for name, value in pairs.items():
        chosen.add_option(name, value)
    return chosen


def enumeration(local, *children):
    """An element of WS-Enumeration with children as (namespace or none, name, text)."""
    root = ElementTree.Element(f"{{{of.ENUMERATION}}}{local}")
    for namespace, name, text in children:
        ElementTree.SubElement(root, f"{{{namespace}}}{name}").text = text
    return root


WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"


class Pypsrp:
    """One WSMan object, kept for all steps. The client has no Identify."""

    def __init__(self, lab, machine):
        self.machine, self.instance_id, self.context = machine, None, None
        self.wsman = WSMan(
            lab.host, port=lab.port, ssl=False, auth="basic", username=lab.user, password=lab.password,
            encryption="never",
        )

    def version(self):
        return importlib.metadata.version("pypsrp")

    def get(self):
        of.check_service(self.wsman.get(f"{of.WMI}/{of.SERVICE}", selector_set=selectors(of.SERVICE_KEY)))

    def enumerate(self):
        tree = self.wsman.enumerate(
            f"{of.WMI}/Msvm_ComputerSystem",
            enumeration("Enumerate", (WSMAN, "OptimizeEnumeration", None), (WSMAN, "MaxElements", "1")),
        )
        of.check(len(of.elements(tree, "Msvm_ComputerSystem")) == 1, "not one item")
        self.context = of.text(tree, "EnumerationContext")

    def pull(self):
        names = []
        for _ in range(1000):
            tree = self.wsman.pull(
                f"{of.WMI}/Msvm_ComputerSystem",
                enumeration(
                    "Pull",
                    (of.ENUMERATION, "EnumerationContext", self.context), (of.ENUMERATION, "MaxElements", "3"),
                ),
            )
            names += [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
            if of.elements(tree, "EndOfSequence"):
                break
            self.context = of.text(tree, "EnumerationContext")
        of.check(self.machine.guid in names, "the machine is not among the items")

    def query(self):
        request = enumeration("Enumerate", (WSMAN, "OptimizeEnumeration", None), (WSMAN, "MaxElements", "10"))
        dialect = ElementTree.SubElement(request, f"{{{WSMAN}}}Filter", Dialect=of.WQL)
        dialect.text = f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'"
        tree = self.wsman.enumerate(f"{of.WMI}/*", request)
        of.check(of.text(tree, "ElementName") == self.machine.name, "another machine")

    def invoke(self):
        tree = self.wsman.invoke(
            f"{of.WMI}/{of.SERVICE}/InitiateFailback",
            f"{of.WMI}/{of.SERVICE}",
            ElementTree.fromstring(of.failback_input(self.machine)),
            selector_set=selectors(of.SERVICE_KEY),
        )
        self.instance_id = of.job_of(tree)

    def job(self):
        of.check(self.instance_id, "no job")
        chosen = {"InstanceID": self.instance_id}
        of.follow(lambda: self.wsman.get(f"{of.WMI}/Msvm_ConcreteJob", selector_set=selectors(chosen)))
