"""pywinrm: Protocol.send_message posts any envelope."""

import importlib.metadata

from winrm.protocol import Protocol

import lab as of


class Pywinrm:
    """One Protocol object, kept for all steps."""

    def __init__(self, lab, machine):
        self.lab, self.machine, self.instance_id, self.context = lab, machine, None, None
        self.protocol = Protocol(
            endpoint=lab.url, transport="basic", username=lab.user, password=lab.password, message_encryption="never"
        )

    def version(self):
        return importlib.metadata.version("pywinrm")

    def ask(self, action, uri, selectors, body):
        # The client itself puts this constant into every request; the server must not compare it with its own name.
        message = of.envelope(action, uri, selectors, body, "http://windows-host:5985/wsman")
        return of.parse(self.protocol.send_message(message))

    def identify(self):
        of.check_identify(of.parse(self.protocol.send_message(of.IDENTIFY)))

    def get(self):
        of.check_service(self.ask(f"{of.TRANSFER}/Get", f"{of.WMI}/{of.SERVICE}", of.SERVICE_KEY, ""))

    def enumerate(self):
        body = f'<n:Enumerate xmlns:n="{of.ENUMERATION}"/>'
        tree = self.ask(f"{of.ENUMERATION}/Enumerate", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        self.context = of.text(tree, "EnumerationContext")

    def pull(self):
        body = (
            f'<n:Pull xmlns:n="{of.ENUMERATION}"><n:EnumerationContext>{self.context}</n:EnumerationContext></n:Pull>'
        )
        tree = self.ask(f"{of.ENUMERATION}/Pull", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        of.check(len(of.elements(tree, "Msvm_ComputerSystem")) == 1, "a Pull without MaxElements brings one item")

    def invoke(self):
        action = f"{of.WMI}/{of.SERVICE}/InitiateFailback"
        body = of.failback_input(self.machine)
        self.instance_id = of.job_of(self.ask(action, f"{of.WMI}/{of.SERVICE}", of.SERVICE_KEY, body))

    def job(self):
        of.check(self.instance_id, "no job")
        selectors = {"InstanceID": self.instance_id}
        of.follow(lambda: self.ask(f"{of.TRANSFER}/Get", f"{of.WMI}/Msvm_ConcreteJob", selectors, ""))
