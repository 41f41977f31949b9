/**
 * Build example_app/nextjs in another folder, with the npm package as it would be published:
 *
 *     node tests/js/build_nextjs.js FOLDER
 *
 * A warning is an error.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { bin, copy, install, pack, run } from "./apps.js";

const [folder] = process.argv.slice(2);

copy("example_app/nextjs", folder);
await install(folder, await pack(folder));
const settings = () => readFileSync(join(folder, "tsconfig.json"), "utf8");
const before = settings();
const env = { NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" };
const { stderr } = await run(bin(folder, "next"), ["build"], { cwd: folder, env, seconds: 180 });
assert.equal(stderr, "", "next build warns");
assert.equal(settings(), before, "next build has to mend tsconfig.json");
