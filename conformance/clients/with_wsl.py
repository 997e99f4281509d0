"""wsl, the shell scripts of Debian's package: they cut text out of one answer and paste it into the next request."""

import os
import subprocess

import lab as of


class Wsl:
    """Each command runs in a directory of its own and leaves response.xml there."""

    def __init__(self, lab, machine):
        self.lab, self.machine, self.instance_id = lab, machine, None
        self.directory = lab.scratch / "wsl"
        self.directory.mkdir()
        self.environment = {
            **os.environ,
            "HOME": str(self.directory),
            "WSENDPOINT": f"{lab.host}:{lab.port}",
            "WSUSER": lab.user,
            "WSPASS": lab.password,
            "WSNOSSL": "true",
            "OUTLEVEL": "1",
        }

    @staticmethod
    def version():
        query = ["dpkg-query", "--show", "--showformat=${Version}", "wsl"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout

    def wsl(self, *arguments):
        response = self.directory / "response.xml"
        response.unlink(missing_ok=True)
        done = subprocess.run(
            ["wsl", *arguments], cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )
        of.check(response.exists(), f"no answer: {done.stdout[-300:]} {done.stderr[-300:]}")
        tree = of.parse(response.read_bytes())
        of.refuse_fault(tree)
        of.check(done.returncode == 0, f"wsl says {done.returncode}: {done.stdout[-300:]}")
        return tree

    def identify(self):
        of.check_identify(self.wsl("id", "check"))

    def enumerate(self):
        tree = self.wsl("enum", f"{of.WMI}/Msvm_ComputerSystem")
        names = [of.text(item, "Name") for item in of.elements(tree, "Msvm_ComputerSystem")]
        of.check(self.machine.guid in names, "the machine is not among the items")

    def get(self):
        of.check_service(self.wsl("get", f"{of.WMI}/{of.SERVICE}", f"CreationClassName={of.SERVICE}"))

    def query(self):
        query = f"select * from Msvm_ComputerSystem where Name = '{self.machine.guid}'"
        tree = self.wsl("enum", f"{of.WMI}/*", "-mode", "epr", "-dialect", of.WQL, "-filter", query)
        of.check(len(of.elements(tree, "EndpointReference")) == 1, "not one EPR")
        (self.directory / "response.xml").rename(self.directory / "machine.xml")

    def invoke(self):
        machine = self.directory / "machine.xml"
        of.check(machine.exists(), "no EPR of the machine")
        tree = self.wsl("invoke", f"{of.WMI}/{of.SERVICE}", "InitiateFailback", f"ComputerSystem=FILE:{machine}")
        self.instance_id = of.job_of(tree)

    def job(self):
        of.check(self.instance_id, "no job")
        of.follow(lambda: self.wsl("get", f"{of.WMI}/Msvm_ConcreteJob", f"InstanceID={self.instance_id}"))
