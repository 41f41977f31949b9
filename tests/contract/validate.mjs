/** Says what AsyncAPI's own parser finds wrong with a document: one line a finding. */

import { readFileSync } from "node:fs";

import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { code, message, path } of diagnostics) console.log(code, path.join("/"), message);
if (document === undefined) process.exitCode = 1;
