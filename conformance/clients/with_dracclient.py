"""python-dracclient's WS-Man client: no Content-Type, a new connection for each call, optimized enumerations."""

import importlib.metadata

from dracclient.wsman import Client

import lab as of


class Dracclient:
    """The client has no Identify and no Get, and its parameters are text: the machine goes as a WMI object path."""

    def __init__(self, lab, machine):
        self.machine, self.instance_id = machine, None
        self.client = Client(lab.host, lab.user, lab.password, port=lab.port, path="/wsman", protocol="http")

    @staticmethod
    def version():
        return importlib.metadata.version("python-dracclient")

    def enumerate(self):
        tree = self.client.enumerate(f"{of.WMI}/Msvm_ComputerSystem")
        names = [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
        of.check(self.machine.guid in names, "the machine is not among the items")

    def pull(self):
        # Two at a time: the client pulls the rest by itself and joins the pages.
        tree = self.client.enumerate(f"{of.WMI}/Msvm_ComputerSystem", max_elems=2)
        names = [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
        of.check(self.machine.guid in names, "the machine is not among the items")

    def query(self):
        query = f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'"
        tree = self.client.enumerate(f"{of.WMI}/*", filter_query=query, filter_dialect="wql")
        of.check(of.text(tree, "ElementName") == self.machine.name, "another machine")

    def invoke(self):
        path = (
            r"\\.\root\virtualization\v2:Msvm_ComputerSystem."
            f'CreationClassName="Msvm_ComputerSystem",Name="{self.machine.guid}"'
        )
        tree = self.client.invoke(
            f"{of.WMI}/{of.SERVICE}", "InitiateFailback", of.SERVICE_KEY, {"ComputerSystem": path}
        )
        self.instance_id = of.job_of(tree)

    def job(self):
        of.check(self.instance_id, "no job")
        query = f"select * from Msvm_ConcreteJob where InstanceID = '{self.instance_id}'"
        of.follow(lambda: self.client.enumerate(f"{of.WMI}/*", filter_query=query, filter_dialect="wql"))
