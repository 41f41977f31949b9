/** The npm package in apps of other people: bundled, rendered on a server, and typechecked. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";

import { asHere, bin, copy, inFolder, install, pack, run } from "./apps.js";

const BESIDE = ["react", "react-dom", "@types/react", "vite", "@vitejs/plugin-react", "typescript"];

/** Run a command that fails if it has anything to say. */
async function silently(command, values, options) {
  const { stdout, stderr } = await run(command, values, options);
  if (stdout + stderr !== "") throw new Error(`${values.join(" ")} said:\n${stdout}${stderr}`);
}

/** The example's frontend as one would build it who has the package from npm. */
async function viteBuilds(folder) {
  copy("example_app/frontend", join(folder, "example_app/frontend"));
  copy("example_app/static", join(folder, "example_app/static"));
  const built = join(folder, "built");
  const options = { cwd: folder, env: { NODE_ENV: "production" } };
  await silently(bin(folder, "vite"), ["build", "--logLevel", "warn", "--outDir", built], options);
  assert(existsSync(join(built, "index.html")));
}

/** All hooks on a server, which is told nothing, opens nothing, and ends by itself. */
async function rendersOnServer(folder) {
  for (const mode of ["development", "production"]) {
    const { stdout, stderr } = await run(process.execPath, ["render.js"], {
      cwd: folder,
      env: { NODE_ENV: mode },
      seconds: 20,
    });
    assert.equal(stderr, "", mode);
    const html = "<p>disconnected connecting loading outside, nobody</p>";
    assert.deepEqual(stdout.trimEnd().split("\n"), Array(4).fill(html), mode);
  }
}

/** Programs that say with `@ts-expect-error` what must not compile. */
async function typechecks(folder) {
  const strictly = ["--strict", "--noEmit", "--target", "es2022", "--jsx", "react-jsx"];
  const modules = { bundler: "esnext", node16: "node16", nodenext: "nodenext" };
  for (const [resolution, module] of Object.entries(modules)) {
    const how = ["--moduleResolution", resolution, "--module", module];
    await silently(bin(folder, "tsc"), [...strictly, ...how, "client.ts", "program.tsx"], { cwd: folder });
  }
}

/** What the documentation shows for bundlers: it can be parsed, and what it imports is there. */
async function documentationBuilds(folder) {
  const pages = ["README.md", ...readdirSync("docs").filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
  let found = 0;
  for (const page of pages) {
    const text = readFileSync(page, "utf8");
    for (const [, mark, indent, language, code] of text.matchAll(EXAMPLE)) {
      if (mark !== undefined) continue;
      const extension = { jsx: "jsx", tsx: "tsx", typescript: "ts" }[language];
      const contents = code.replaceAll(`\n${indent}`, "\n").replace(indent, "");
      const stdin = { contents, loader: extension, resolveDir: folder, sourcefile: `${page}.${extension}` };
      await build({ stdin, bundle: true, write: false, format: "esm", jsx: "automatic", logLevel: "error" });
      found += 1;
    }
  }
  assert(found > 3);
}

const EXAMPLE = /^(?: *(<!-- not run: .+? -->)\n)?( *)```(jsx|tsx|typescript)\n(.*?)^ *```$/gms;

await inFolder(async (folder) => {
  copy("tests/js/consumer", folder);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  await install(folder, await pack(folder), ...BESIDE.map(asHere));
  for (const check of [viteBuilds, rendersOnServer, typechecks, documentationBuilds]) {
    const begun = Date.now();
    await check(folder);
    console.log(`${check.name}: ${((Date.now() - begun) / 1_000).toFixed(1)} s`);
  }
});
