/** The npm package as its users get it: its types, its exports and its size. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { buildSync } from "esbuild";

const MOST = { "index.js": 8 * 1024, "react.js": 2 * 1024, "fallback.js": 2 * 1024 };
/** What each has from elsewhere, or loads only where it is needed. */
const EXTERNAL = {
  "index.js": ["./fallback.js"],
  "react.js": ["react", "./client.js"],
  "fallback.js": ["./protocol.js"],
};

const run = (command, ...values) => execFileSync(command, values, { stdio: ["ignore", "pipe", "inherit"] }).toString();

for (const [file, most] of Object.entries(MOST)) {
  const external = EXTERNAL[file];
  const options = { bundle: true, minify: true, format: "esm", write: false, external };
  const { outputFiles } = buildSync({ entryPoints: [`quart_realtime/static/${file}`], ...options });
  const size = gzipSync(outputFiles[0].contents).length;
  console.log(`${file}: ${size} of ${most} bytes, minified and gzipped`);
  if (size > most) process.exitCode = 1;
}

const folder = mkdtempSync(join(tmpdir(), "package-"));
try {
  const [packed] = JSON.parse(run("npm", "pack", "--json", "--pack-destination", folder));
  const tarball = join(folder, packed.filename);
  const unwanted = packed.files.map(({ path }) => path).filter((path) => /\.py|tests|example/.test(path));
  if (unwanted.length > 0) throw new Error(`these don't belong into the package: ${unwanted}`);
  console.log(run("npx", "--no-install", "publint", "run", tarball, "--strict"));
  console.log(run("npx", "--no-install", "attw", tarball, "--profile", "esm-only"));
} finally {
  rmSync(folder, { recursive: true });
}
