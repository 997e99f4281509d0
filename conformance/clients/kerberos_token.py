"""A Kerberos client for tests of the server's side: makes tokens and seals messages as told, with pyspnego.

One JSON object a line on standard input, one a line on standard output; octets are in base64.

  {"do": "login", "service": …, "host": …, "user": …, "password": …, "binding": …, "flags": …} -> {"login": n, "token": …}
      user and password are absent for the ticket of KRB5CCNAME; binding is the application data, or absent; flags are
      those of spnego.ContextReq, or absent for its default
  {"do": "finish", "login": n, "token": …} -> {"complete": …}
  {"do": "seal", "login": n, "message": …} -> {"signature": …, "ciphertext": …}      as pypsrp and pywinrm do
  {"do": "wrap", "login": n, "message": …, "encrypt": …} -> {"token": …}             as other clients do
  {"do": "unseal", "login": n, "signature": …, "ciphertext": …} -> {"message": …}
  {"do": "sign", "login": n, "message": …} -> {"mic": …}
  {"do": "verify", "login": n, "message": …, "mic": …} -> {}

What fails is answered with {"error": …}.
"""

import base64
import json
import sys

import spnego
from spnego.channel_bindings import GssChannelBindings

LOGINS = []


def octets(request, name):
    """The octets of a field; none when it is absent."""
    return None if request.get(name) is None else base64.b64decode(request[name])


def text(value):
    """Octets for an answer."""
    return base64.b64encode(value).decode()


def login(request):
    """Begins a login; its first token."""
    binding = octets(request, "binding")
    context = spnego.client(
        username=request.get("user"),
        password=request.get("password"),
        hostname=request["host"],
        service=request["service"],
        channel_bindings=None if binding is None else GssChannelBindings(application_data=binding),
        context_req=spnego.ContextReq(request.get("flags", spnego.ContextReq.default)),
        protocol="kerberos",
    )
    token = context.step()
    LOGINS.append(context)
    return {"login": len(LOGINS) - 1, "token": text(token)}


def finish(request, context):
    """Takes the server's proof."""
    context.step(octets(request, "token"))
    return {"complete": context.complete}


def seal(request, context):
    """Seals a message for a part of multipart/encrypted."""
    sealed = context.wrap_winrm(octets(request, "message"))
    return {"signature": text(sealed.header), "ciphertext": text(sealed.data)}


def wrap(request, context):
    """Wraps a message into one token."""
    return {"token": text(context.wrap(octets(request, "message"), encrypt=request["encrypt"]).data)}


def unseal(request, context):
    """Opens a message of the server's."""
    return {"message": text(context.unwrap_winrm(octets(request, "signature"), octets(request, "ciphertext")))}


def sign(request, context):
    """Signs a message."""
    return {"mic": text(context.sign(octets(request, "message")))}


def verify(request, context):
    """Checks a signature."""
    context.verify(octets(request, "message"), octets(request, "mic"))
    return {}


STEPS = {"finish": finish, "seal": seal, "wrap": wrap, "unseal": unseal, "sign": sign, "verify": verify}


def answer(request):
    """What comes of one request."""
    try:
        if request["do"] == "login":
            return login(request)
        return STEPS[request["do"]](request, LOGINS[request["login"]])
    except Exception as error:  # pylint: disable=broad-except
        return {"error": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
