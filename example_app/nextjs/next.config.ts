import type { NextConfig } from "next";

const QUART = process.env.QUART_URL ?? "http://localhost:8000";

const config: NextConfig = {
  // One origin for the browser. A rewrite carries websockets too, in `next dev` and in `next start`.
  rewrites: async () => [
    { source: "/ws", destination: `${QUART}/ws` },
    { source: "/static/:file*", destination: `${QUART}/static/:file*` },
  ],
  // The repository around this folder has a lock file too.
  turbopack: { root: import.meta.dirname },
};

export default config;
