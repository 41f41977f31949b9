import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const local = (path) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: local("."),
  base: "/static/react/",
  plugins: [react()],
  // In this repository the package is the files beside; elsewhere it comes from npm.
  resolve: {
    alias: [
      { find: /^quart-realtime$/, replacement: local("../../quart_realtime/static/index.js") },
      { find: /^quart-realtime\/react$/, replacement: local("../../quart_realtime/static/react.js") },
    ],
  },
  build: { outDir: local("../static/react"), emptyOutDir: true, assetsInlineLimit: 0 },
  // While developing, Quart serves everything else.
  server: { proxy: { "/auth": "http://localhost:8000", "/ws": { target: "http://localhost:8000", ws: true } } },
});
