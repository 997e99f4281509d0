"""pywinrm: Protocol.send_message posts any envelope."""

import importlib.metadata

from winrm.exceptions import InvalidCredentialsError, WinRMTransportError
from winrm.protocol import Protocol

import credssp
import lab as of


class Pywinrm(of.Asking):
    """One Protocol object, kept for all steps."""

    def __init__(self, lab, machine):
        super().__init__(lab, machine)
        kerberos = lab.mechanism.startswith("kerberos")
        self.protocol = Protocol(
            endpoint=lab.url, transport=lab.mechanism.split(" ")[0],
            # With Kerberos the client takes the ticket of this name.
            username=f"{lab.user}@{lab.realm}" if kerberos else lab.user, password=None if kerberos else lab.password,
            message_encryption="always" if lab.sealed else "never",
            service="WSMAN" if "WSMAN" in lab.mechanism else "HTTP",
            send_cbt="unbound" not in lab.mechanism,
            ca_trust_path=str(lab.authority) if lab.tls else None,
            cert_pem=str(lab.certificate), cert_key_pem=str(lab.key),
        )

    @staticmethod
    def version():
        return importlib.metadata.version("pywinrm")

    def send(self, message):
        try:
            return of.parse(self.protocol.send_message(message))
        except InvalidCredentialsError as error:
            raise of.Refused(401, str(error)) from error
        except WinRMTransportError as error:
            if error.code in (401, 403):
                raise of.Refused(error.code, error.message) from error
            raise
        except Exception as error:
            if credssp.refusal(error):
                raise of.Refused(credssp.refusal(error), str(error)) from error
            raise

    def ask(self, action, uri, selectors, body, padding=""):
        # The client itself puts this constant into every request; the server must not compare it with its own name.
        return self.send(of.envelope(action, uri, selectors, body, "http://windows-host:5985/wsman", padding))

    def identify(self):
        of.check_identify(self.send(of.IDENTIFY))

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
