// One request through npm's winrm-client, its transport as it is. The package only knows shells; its function that logs
// in and sends takes any envelope. Standard input is JSON; the answer, which the package parses, is written as XML again.
"use strict";
const { readFileSync } = require("node:fs");
const { XMLBuilder } = require("fast-xml-parser");
const { sendHttp } = require("winrm-client/dist/src/utils/http");

// The package's parser puts attributes into a group and marks their names; its writer knows the group only.
function unmark(node) {
  if (Array.isArray(node)) return node.map(unmark);
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([name, value]) => {
      if (name !== "$") return [name, unmark(value)];
      return [name, Object.fromEntries(Object.entries(value).map(([mark, text]) => [mark.replace("@_", ""), text]))];
    }),
  );
}

const order = JSON.parse(readFileSync(0, "utf8"));
sendHttp(
  order.envelope, order.host, order.port, "/wsman", order.user, order.password, order.mechanism, undefined, order.tls,
  true,
)
  .then((answer) => {
    const builder = new XMLBuilder({
      ignoreAttributes: false, attributesGroupName: "$", textNodeName: "_", suppressBooleanAttributes: false,
    });
    process.stdout.write(builder.build(unmark(answer)));
  })
  .catch((error) => {
    process.stderr.write(`${error.message}\n`);
    // The package leaves the connection of a refused request open, which would keep the process.
    process.exit(1);
  });
