"""curl, with envelopes from files."""

import subprocess

import lab as of


class Curl:
    """The curl command."""

    def __init__(self, lab, machine):
        self.lab, self.machine, self.instance_id = lab, machine, None

    def version(self):
        return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]

    def send(self, body, path="/wsman", with_user=True):
        source = self.lab.scratch / "curl.xml"
        source.write_text(body)
        user = ["--basic", "--user", f"{self.lab.user}:{self.lab.password}"] if with_user else []
        url = f"http://{self.lab.host}:{self.lab.port}{path}"
        header = "Content-Type: application/soap+xml;charset=UTF-8"
        command = ["curl", "--silent", "--show-error", *user, "-H", header, "--data-binary", f"@{source}", url]
        return of.parse(subprocess.run(command, capture_output=True, check=True).stdout)

    def ask(self, action, uri, selectors, body):
        return self.send(of.envelope(action, uri, selectors, body, self.lab.url))

    def identify(self):
        of.check_identify(self.send(of.IDENTIFY))
        of.check_identify(self.send(of.IDENTIFY, "/wsman-anon/identify", with_user=False))

    def get(self):
        of.check_service(self.ask(f"{of.TRANSFER}/Get", f"{of.WMI}/{of.SERVICE}", of.SERVICE_KEY, ""))

    def enumerate(self):
        body = f'<n:Enumerate xmlns:n="{of.ENUMERATION}"/>'
        tree = self.ask(f"{of.ENUMERATION}/Enumerate", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        self.context = of.text(tree, "EnumerationContext")
        of.check(self.context, "no enumeration context")

    def pull(self):
        body = (
            f'<n:Pull xmlns:n="{of.ENUMERATION}"><n:EnumerationContext>{self.context}</n:EnumerationContext>'
            "<n:MaxElements>1000</n:MaxElements></n:Pull>"
        )
        tree = self.ask(f"{of.ENUMERATION}/Pull", f"{of.WMI}/Msvm_ComputerSystem", {}, body)
        names = [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
        of.check(self.machine.guid in names, "the machine is not among the items")

    def invoke(self):
        action = f"{of.WMI}/{of.SERVICE}/InitiateFailback"
        body = of.failback_input(self.machine)
        self.instance_id = of.job_of(self.ask(action, f"{of.WMI}/{of.SERVICE}", of.SERVICE_KEY, body))

    def job(self):
        of.check(self.instance_id, "no job")
        selectors = {"InstanceID": self.instance_id}
        of.follow(lambda: self.ask(f"{of.TRANSFER}/Get", f"{of.WMI}/Msvm_ConcreteJob", selectors, ""))
