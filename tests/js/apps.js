/** What the checks share that use the npm package as others do: packed, and installed elsewhere. */

import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What is neither source nor small. */
const GENERATED = new Set(["node_modules", ".next", "next-env.d.ts", "package-lock.json"]);

/**
 * Run a command to its end, or to that of its time; whatever it started ends with it.
 *
 * @param {string} command
 * @param {string[]} values
 * @param {{ cwd: string, env?: Record<string, string>, seconds?: number }} options
 * @returns {Promise<{ stdout: string, stderr: string }>} Rejects where it fails.
 */
export function run(command, values, { cwd, env = {}, seconds = 60 }) {
  const called = [basename(command), ...values].join(" ");
  return new Promise((resolve, reject) => {
    const options = { cwd, env: { ...process.env, ...env }, detached: true };
    const child = spawn(command, values, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const said = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text) => (said.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (said.stderr += text));
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), seconds * 1_000);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const how = signal === null ? `ended with ${code}` : `was ended after ${seconds} s`;
      if (code === 0) resolve(said);
      else reject(new Error(`${called}: ${how}\n${said.stdout}${said.stderr}`));
    });
  });
}

/**
 * Let `work` use a folder outside of this repository, which is gone afterwards.
 *
 * @param {(folder: string) => Promise<void>} work
 */
export async function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), "app-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Copy a folder of this repository, without what was made from it. */
export function copy(path, to) {
  cpSync(join(ROOT, path), to, { recursive: true, filter: (file) => !GENERATED.has(basename(file)) });
}

/** The file that `npm publish` would send, made in `folder`. */
export async function pack(folder) {
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: ROOT });
  return join(folder, JSON.parse(stdout)[0].filename);
}

/** Install what the project in `folder` depends on, and `packages`. */
export async function install(folder, ...packages) {
  const quietly = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"];
  await run("npm", ["install", "--include=dev", ...quietly, ...packages], { cwd: folder, seconds: 180 });
}

/** `name` in the version that this repository is developed with. */
export function asHere(name) {
  const { version } = JSON.parse(readFileSync(join(ROOT, "node_modules", name, "package.json"), "utf8"));
  return `${name}@${version}`;
}

/** The command `name` of a package that is installed in `folder`. */
export const bin = (folder, name) => join(folder, "node_modules", ".bin", name);
