"""pypsrp's WSMan layer."""

import importlib.metadata
import xml.etree.ElementTree as ElementTree

from pypsrp.exceptions import AuthenticationError, WinRMTransportError
from pypsrp.wsman import OptionSet, SelectorSet, WSMan

import credssp
import lab as of
from writes import Writes


def selectors(pairs):
    """pypsrp's own SelectorSet."""
    chosen = SelectorSet()
    for name, value in pairs.items():
        chosen.add_option(name, value)
    return chosen


def options(pairs):
    """pypsrp's own OptionSet."""
    chosen = OptionSet()
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


class Pypsrp(Writes):
    """One WSMan object, kept for all steps. The client has no Identify."""

    def __init__(self, lab, machine):
        self.machine, self.instance_id, self.context = machine, None, None
        # With Kerberos alone the client takes the ticket and no password; CredSSP sends the password on.
        by_ticket = "Kerberos" in lab.mechanism and not lab.mechanism.startswith("credssp")
        by_ticket |= lab.mechanism.startswith("kerberos")
        inner = {"credssp (NTLM)": "ntlm", "credssp (Kerberos)": "kerberos"}.get(lab.mechanism, "auto")
        self.wsman = WSMan(
            lab.host, port=lab.port, ssl=lab.tls, auth=lab.mechanism.split(" ")[0],
            username=None if by_ticket else lab.user, password=None if by_ticket else lab.password,
            encryption="always" if lab.sealed else "never", max_envelope_size=of.ENVELOPE_OCTETS_MAX,
            cert_validation=str(lab.authority) if lab.tls else True,
            certificate_pem=str(lab.certificate), certificate_key_pem=str(lab.key),
            negotiate_service=next((word for word in ("WSMAN", "host") if word in lab.mechanism), "HTTP"),
            negotiate_send_cbt="unbound" not in lab.mechanism, credssp_auth_mechanism=inner,
        )

    # What the steps of writes.py need of this client.
    selectors_of = staticmethod(selectors)

    @staticmethod
    def version():
        return importlib.metadata.version("pypsrp")

    @staticmethod
    def ask(call, *arguments, **named):
        """A call of the client; what it says of a refusal becomes ours."""
        try:
            return call(*arguments, **named)
        except AuthenticationError as error:
            raise of.Refused(401, str(error)) from error
        except WinRMTransportError as error:
            if error.code in (401, 403):
                raise of.Refused(error.code, error.response_text) from error
            raise
        except Exception as error:
            if credssp.refusal(error):
                raise of.Refused(credssp.refusal(error), str(error)) from error
            raise

    def get(self):
        of.check_service(self.ask(self.wsman.get, f"{of.WMI}/{of.SERVICE}", selector_set=selectors(of.SERVICE_KEY)))

    def enumerate(self):
        tree = self.ask(
            self.wsman.enumerate, f"{of.WMI}/Msvm_ComputerSystem",
            enumeration("Enumerate", (WSMAN, "OptimizeEnumeration", None), (WSMAN, "MaxElements", "1")),
        )
        of.check(len(of.elements(tree, "Msvm_ComputerSystem")) == 1, "not one item")
        self.context = of.text(tree, "EnumerationContext")

    def pull(self):
        names = []
        for _ in range(1000):
            tree = self.ask(
                self.wsman.pull, f"{of.WMI}/Msvm_ComputerSystem",
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
        tree = self.ask(self.wsman.enumerate, f"{of.WMI}/*", request)
        of.check(of.text(tree, "ElementName") == self.machine.name, "another machine")

    def invoke(self):
        tree = self.ask(
            self.wsman.invoke, f"{of.WMI}/{of.SERVICE}/InitiateFailback", f"{of.WMI}/{of.SERVICE}",
            ElementTree.fromstring(of.failback_input(self.machine)),
            selector_set=selectors(of.SERVICE_KEY),
        )
        self.instance_id = of.job_of(tree)

    def job(self):
        of.check(self.instance_id, "no job")
        chosen = {"InstanceID": self.instance_id}
        of.follow(lambda: self.ask(self.wsman.get, f"{of.WMI}/Msvm_ConcreteJob", selector_set=selectors(chosen)))

    def large_request(self):
        padding = options({"Padding": of.PADDING})
        tree = self.ask(
            self.wsman.get, f"{of.WMI}/{of.SERVICE}", option_set=padding, selector_set=selectors(of.SERVICE_KEY)
        )
        of.check_service(tree)

    def large_answer(self):
        request = enumeration("Enumerate", (WSMAN, "OptimizeEnumeration", None), (WSMAN, "MaxElements", "32000"))
        of.check_large(self.ask(self.wsman.enumerate, f"{of.WMI}/{of.LARGE_CLASS}", request))
