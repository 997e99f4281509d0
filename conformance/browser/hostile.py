"""An endpoint that answers everything with texts that try to become markup of a report: a page that shows them must not
run them. Prints its port."""

import http.server
import sys

# What would run where a text is not escaped: in an element, in an attribute, in a style, as a link, after a broken escape.
PAYLOADS = [
    "<script>window.injected = 'script'</script>",
    "<img src=x onerror=\"window.injected = 'image'\">",
    "\"><svg onload=\"window.injected = 'svg'\"></svg><a href=\"javascript:window.injected='link'\">x</a>",
    "' autofocus onfocus='window.injected = 1' x='",
    "</pre></details></style></title><script>window.injected = 'after'</script>",
    "</script><script>window.injected = 'inside'</script>",
    "<iframe src='https://example.invalid/'></iframe><link rel=stylesheet href='https://example.invalid/x.css'>",
    "\u202e txet desrever \u0007",
]
SOAP = "http://www.w3.org/2003/05/soap-envelope"
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"


def escape(text):
    legal = text.replace("\u0007", "")
    return legal.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def identify():
    vendor = escape(PAYLOADS[0])
    version = escape(PAYLOADS[1])
    return (
        f"<s:Envelope xmlns:s='{SOAP}' xmlns:i='{IDENTITY}'><s:Header/><s:Body><i:IdentifyResponse>"
        f"<i:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</i:ProtocolVersion>"
        f"<i:ProductVendor>{vendor}</i:ProductVendor><i:ProductVersion>{version}</i:ProductVersion>"
        f"</i:IdentifyResponse></s:Body></s:Envelope>"
    )


def fault(number):
    payload = PAYLOADS[number % len(PAYLOADS)]
    return (
        f"<s:Envelope xmlns:s='{SOAP}'><s:Header/><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value>"
        f"<s:Subcode><s:Value>{escape(payload)}</s:Value></s:Subcode></s:Code>"
        f"<s:Reason><s:Text xml:lang='en'>{escape(payload)}</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>"
    )


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answered = 0

    def answer(self):
        # What this cannot read is answered, too, and ends the connection.
        length = self.headers.get("Content-Length", "0")
        is_readable = length.isdecimal() and int(length) < 1 << 20 and "Transfer-Encoding" not in self.headers
        body = self.rfile.read(int(length)) if is_readable else b""
        Handler.answered += 1
        number = Handler.answered
        if b"Identify" in body:
            status, text = 200, identify()
        elif number % 3 == 0:
            # Markup that is neither XML nor harmless.
            status, text = 200, "".join(PAYLOADS)
        else:
            status, text = 500, fault(number)
        octets = text.encode()
        self.send_response(status, PAYLOADS[number % 7].replace("\n", " "))
        self.send_header("Content-Type", "application/soap+xml;charset=UTF-8")
        self.send_header("X-Hostile", PAYLOADS[number % 7])
        self.send_header("Content-Length", str(len(octets)))
        if not is_readable:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(octets)

    do_POST = do_GET = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit()
